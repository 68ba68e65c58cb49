"""This machine looked at beside real load: shares of cores, never seconds."""

import os

import pytest

from fitcast.scheduler.backends import host_load
from fitcast.scheduler.backends.host_load import HostLoad
from fitcast.trainer.attempt.task_waits import counts
from tests.busy import busy_beside

pytestmark = pytest.mark.skipif(not counts(), reason="this kernel doesn't count waiting")


@pytest.fixture
def one_core():
    """Hold this process, and so its probes, to one core."""
    before = os.sched_getaffinity(0)
    core = max(before)
    os.sched_setaffinity(0, {core})
    yield core
    os.sched_setaffinity(0, before)


def test_others_are_found_and_a_second_look_costs_no_second_probe(one_core, monkeypatch):
    load = HostLoad(cores=1)
    with busy_beside(one_core, 3):
        others = load.before(1)
        assert others.slowdown(1) > 1.5
        assert others.busy_cores > 0.5
        monkeypatch.setattr(host_load, "_spinning", lambda: pytest.fail("it probed again"))
        assert load.before(1).threads > 0.0


def test_more_others_are_more(one_core):
    with busy_beside(one_core, 1):
        few = HostLoad(cores=1).before(1)
    with busy_beside(one_core, 6):
        many = HostLoad(cores=1).before(1)
    assert many.threads > few.threads


def test_probes_that_cannot_be_started_or_say_nothing_leave_it_unknown(monkeypatch):
    monkeypatch.setattr(host_load, "_others_run", lambda: True)
    monkeypatch.setattr(host_load.sys, "executable", "/nowhere/python")
    assert HostLoad(cores=1).before(1) is None


def test_where_nothing_is_counted_nothing_is_known(monkeypatch):
    monkeypatch.setattr(host_load, "counts", lambda: False)
    load = HostLoad(cores=1)
    assert load.before(1) is None
    assert load.now() is None


def test_a_quiet_machine_is_not_probed(monkeypatch):
    monkeypatch.setattr(host_load, "_running", lambda: 1)
    monkeypatch.setattr(host_load, "_pressure", lambda: 0.0)
    monkeypatch.setattr(host_load, "_spinning", lambda: pytest.fail("it probed"))
    assert HostLoad(cores=1).before(1) is None


def test_the_machine_is_read():
    assert host_load._running() >= 1
    assert host_load._own_running() >= 1
    assert 0.0 <= host_load._pressure() <= 100.0
