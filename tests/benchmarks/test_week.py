"""The simulated week in small: everything ends, and fair share is fairer than the order."""

import numpy as np
import pytest

from benchmarks.week_play import Played, Week
from benchmarks.week_trace import Flow, priced, trace
from benchmarks.workloads.week import eta_row, jain, run, slowdowns
from fitcast.scheduler.broker.queue_errors import Judged, corrected
from fitcast.scheduler.broker.resources import Demand, Resources
from fitcast.scheduler.broker.sharers import NO_LIMITS


def hour(*got, due=1.0):
    return {number: (one, due, 3600.0) for number, one in enumerate(got)}


def test_jains_index_is_one_where_all_had_the_same():
    assert jain(Played(shares=[hour(0.7, 0.7, 0.7)])) == pytest.approx(1.0)
    assert jain(Played(shares=[hour(1.0, 0.0)])) == pytest.approx(0.5)
    assert jain(Played(shares=[hour(1.0, 1.0), hour(1.0, 0.0)])) == pytest.approx(0.75)


def certain(number, at_s, count, runtime_s):
    """A workflow of equal fits that take what was forecast."""
    demand = Demand(cpu_s=count * runtime_s, most=Resources(float(count), float(count)))
    alone_s = runtime_s * max(1.0, count / 8)
    return Flow(
        name=f"w{number}",
        user=f"u{number % 6}",
        at_s=at_s,
        runtime_s=[runtime_s] * count,
        cpus=[1] * count,
        memory_bytes=[1.0] * count,
        said_s=np.full(count, runtime_s),
        demand=demand,
        forecast_s=(alone_s,) * 3,
        needs=demand,
        alone_s=alone_s,
    )


def test_etas_are_corrected_by_what_had_ended_and_by_nothing_else():
    rng = np.random.default_rng(1)
    flows = [
        certain(number, 300.0 * number, int(rng.integers(2, 20)), float(rng.integers(60, 600)))
        for number in range(60)
    ]
    played = Week(flows, Resources(8.0, 1e3), NO_LIMITS, ask=lambda _: True).play()
    ends_s = sorted((end_s, name) for name, end_s in played.ended_s.items())
    asked = {one.flow.name: one for one in played.asked}
    assert len(asked) == 60
    for one in played.asked:
        known = [
            Judged(
                said_s=asked[name].played_s,
                took_s=end_s - asked[name].flow.at_s,
                was_full=asked[name].was_full,
            )
            for end_s, name in ends_s
            if end_s < one.flow.at_s
        ]
        assert one.end_s == corrected(one.played_s, one.was_full, known)
    later = [number >= 20 for number in range(60)]
    raw, told = (eta_row("", played, later, raw=given) for given in (True, False))
    assert told["in P10–P90"] > raw["in P10–P90"] + 0.2


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
