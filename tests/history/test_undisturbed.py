"""What a fit would have taken alone: pure arithmetic, held against made-up machines."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitcast.history.undisturbed import (
    DISTURBED_SD,
    availability_of,
    disturbed_sd,
    stolen_s,
    undisturbed_s,
    whole_wait_s,
)
from tests.history import examples

seconds = st.floats(0.0, 1e6)


@given(work_s=st.floats(0.01, 1e5), own_s=seconds, waited_s=seconds)
def test_of_one_thread_all_waiting_for_a_core_is_taken_off_and_no_other(work_s, own_s, waited_s):
    runtime_s = work_s + own_s + waited_s
    alone_s = undisturbed_s(runtime_s, work_s, waited_s, threads=1)
    assert alone_s == pytest.approx(work_s + own_s, rel=1e-6)


@given(work_s=st.floats(0.01, 1e5), share=st.floats(0.05, 1.0), threads=st.integers(1, 64))
def test_threads_that_wait_side_by_side_lose_the_time_once(work_s, share, threads):
    runtime_s = work_s / share
    cpu_s, waited_s = work_s * threads, (runtime_s - work_s) * threads
    assert undisturbed_s(runtime_s, cpu_s, waited_s, threads) == pytest.approx(work_s, rel=1e-6)


@given(runtime_s=seconds, cpu_s=seconds, waited_s=seconds, threads=st.integers(0, 64))
def test_it_is_never_more_than_was_measured_and_never_less_than_the_work(
    runtime_s, cpu_s, waited_s, threads
):
    alone_s = undisturbed_s(runtime_s, cpu_s, waited_s, threads)
    assert min(runtime_s, cpu_s / max(1, threads)) <= alone_s <= runtime_s


def test_threads_that_a_fit_makes_beyond_its_own_are_no_disturbance():
    # 64 threads on the two cores that it was given, and nobody else there
    assert undisturbed_s(10.0, 20.0, 620.0, threads=2) == 10.0


@given(cpu_s=st.none() | st.just(math.nan) | seconds, waited_s=st.none() | st.just(math.nan))
def test_without_a_measurement_it_is_what_was_measured(cpu_s, waited_s):
    assert undisturbed_s(3.0, cpu_s, waited_s, 1) == 3.0


def test_the_more_was_lost_the_less_sure_is_the_rest():
    assert disturbed_sd(10.0, 10.0) == 0.0
    assert disturbed_sd(10.0, 5.0) == pytest.approx(DISTURBED_SD / 2)
    assert disturbed_sd(0.0, 0.0) == 0.0


def test_threads_that_ended_unseen_waited_as_the_others_did():
    assert whole_wait_s(2.0, 1.0, 6.0) == 3.0
    assert whole_wait_s(2.0, 1.0, 1.9) == 1.0
    assert whole_wait_s(0.0, 0.0, 5.0) == 0.0
    # one that only looked on while its children worked says little of them
    assert whole_wait_s(0.001, 0.001, 1e6) < 1.0


def test_what_the_hypervisor_took_is_shared_out_by_work():
    assert stolen_s(4.0, stolen=10.0, busy=40.0) == 1.0
    assert stolen_s(4.0, stolen=0.0, busy=40.0) == 0.0


def test_a_record_says_what_it_would_have_taken():
    quiet = replace(examples.record(), runtime_s=4.0, cpu_s=4.0, shared_s=1.0, cpu_wait_s=0.0)
    busy = replace(quiet, runtime_s=8.0, shared_s=2.0, cpu_wait_s=4.0)
    assert quiet.undisturbed_s == busy.undisturbed_s == 5.0
    assert quiet.disturbed_sd == 0.0 < busy.disturbed_sd
    assert (quiet.availability, busy.availability) == (1.0, 0.5)
    old = replace(busy, cpu_wait_s=None)
    assert (old.undisturbed_s, old.disturbed_sd, old.availability) == (10.0, 0.0, None)
    assert availability_of(0.0, 1.0) is None
