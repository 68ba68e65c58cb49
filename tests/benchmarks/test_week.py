"""The simulated week in small: everything ends, and fair share is fairer than the order."""

import pytest

from benchmarks.week_play import Played, Week
from benchmarks.week_trace import priced, trace
from benchmarks.workloads.week import jain, run, slowdowns
from fitcast.scheduler.broker.resources import Resources
from fitcast.scheduler.broker.sharers import NO_LIMITS


def hour(*got, due=1.0):
    return {number: (one, due, 3600.0) for number, one in enumerate(got)}


def test_jains_index_is_one_where_all_had_the_same():
    assert jain(Played(shares=[hour(0.7, 0.7, 0.7)])) == pytest.approx(1.0)
    assert jain(Played(shares=[hour(1.0, 0.0)])) == pytest.approx(0.5)
    assert jain(Played(shares=[hour(1.0, 1.0), hour(1.0, 0.0)])) == pytest.approx(0.75)


@pytest.mark.slow
def test_everything_ends_in_both_ways_and_nobody_is_quicker_than_alone():
    capacity = Resources(16, 64 * 2**30)
    flows = trace(priced(quick=True), capacity, users=10, seed=3, days=1)
    for limits in (NO_LIMITS, None):
        played = Week(flows, capacity, limits).play()
        assert played.ended_s.keys() == {flow.name for flow in flows}
        assert slowdowns(flows, played).min() >= 1.0 - 1e-6
        assert played.busy_cpu_s == pytest.approx(sum(flow.needs.cpu_s for flow in flows))


@pytest.mark.slow
def test_the_small_week_gives_its_tables():
    report = run(quick=True)
    text = report.text()
    assert "Jain's index" in text and "in P10–P90" in text
    assert len(report.goals) == 4
