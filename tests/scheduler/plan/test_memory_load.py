"""The memory that fits need together: less than the sum of their worst cases."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitcast.scheduler.plan.memory_load import (
    OVERFLOW_PROBABILITY,
    MemoryDemand,
    MemoryLoad,
    demand_of,
)
from tests.scheduler.making import estimate

GIB = 2**30
SD = math.log(1.3) / 1.6448536269514722  # of logarithms: P95 is 1.3 times the median


def forecast(median_gib=1.0, ratio=1.3):
    return estimate(1.0, int(median_gib * GIB), p95_ratio=ratio)


def test_one_fit_needs_its_own_p95():
    load = MemoryLoad()
    load.add(demand_of(forecast(), "a"))
    assert load.upper_bytes() == pytest.approx(1.3 * GIB, rel=0.01)


def test_many_that_err_apart_need_less_than_the_sum_of_their_p95s():
    load = MemoryLoad()
    for number in range(16):
        load.add(demand_of(forecast(), number))
    assert 16.0 * GIB < load.upper_bytes() < 16 * 1.12 * GIB


def test_folds_of_one_candidate_err_together():
    together, apart = MemoryLoad(), MemoryLoad()
    for number in range(5):
        together.add(demand_of(forecast(), "candidate"))
        apart.add(demand_of(forecast(), number))
    assert together.upper_bytes() == pytest.approx(5 * 1.3 * GIB, rel=0.02)
    assert apart.upper_bytes() < 0.92 * together.upper_bytes()


def test_the_sum_is_exceeded_as_seldom_as_stated():
    random = np.random.default_rng(0)
    medians = random.uniform(0.2, 3.0, 12)
    load = MemoryLoad()
    for number, median in enumerate(medians):
        load.add(demand_of(forecast(median), number))
    drawn = (medians * GIB * np.exp(SD * random.standard_normal((20_000, 12)))).sum(axis=1)
    exceeded = float((drawn > load.upper_bytes()).mean())
    assert exceeded == pytest.approx(OVERFLOW_PROBABILITY, abs=0.012)


@given(
    st.lists(st.tuples(st.floats(1.0, 1e10), st.floats(0.0, 1e10), st.integers(0, 3)), max_size=20),
    st.randoms(use_true_random=False),
)
def test_what_is_removed_leaves_no_trace(demands, random):
    load = MemoryLoad()
    made = [MemoryDemand(*one) for one in demands]
    for demand in made:
        before = load.upper_with(demand)
        load.add(demand)
        assert load.upper_bytes() == pytest.approx(before)
        assert load.upper_bytes() >= 0.0
    random.shuffle(made)
    for demand in made:
        load.remove(demand)
    assert load.upper_bytes() == 0.0
