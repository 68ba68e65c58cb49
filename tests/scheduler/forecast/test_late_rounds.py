"""Rounds that are chosen late: how they are forecast before anybody knows who goes on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitcast.scheduler.forecast.draws import Draws, Groups
from fitcast.scheduler.forecast.eta import forecast, plan_for
from fitcast.scheduler.forecast.late_rounds import LateRound, late_rounds, typical_of
from fitcast.scheduler.forecast.sweep_forecast import forecast_sweep
from fitcast.scheduler.plan.events import LateFit, NextChosen
from fitcast.scheduler.plan.pools import WorkerSize
from fitcast.scheduler.plan.simulator import SimulatedBackend
from fitcast.sizing.learning.model import SizingModel
from tests.scheduler.making import MIB, estimate, submitted
from tests.trainer.sweep.test_rounds import searched

ONE = WorkerSize("one", "small", 1, 4000 * MIB)
NOBODY = Groups({}, {})


def sure(runtime_s):
    return estimate(runtime_s, sd=1e-3)


def a_round(number, runs, *costs_s):
    fits = {n: {f"r{number}c{n}": LateFit(sure(cost_s))} for n, cost_s in enumerate(costs_s)}
    return LateRound(fits, runs)


def eta_of(first_s, *later, workers=(ONE,), **how):
    sweep = submitted(*map(sure, first_s), rounds=len(later), process_start_s=0.0)
    return forecast(plan_for(workers, sweep), NOBODY, later={"w": later}, **how)["w"]


def test_all_rounds_are_counted():
    later = [a_round(1, 3, *[20.0] * 9), a_round(2, 1, *[40.0] * 9), a_round(3, 1, *[80.0] * 9)]
    eta = eta_of([10.0] * 9, *later)
    assert eta.p50_s == pytest.approx(90 + 60 + 40 + 80, rel=0.01)
    assert eta.p90_s - eta.p10_s < 2.0


def test_it_is_not_known_whether_the_dear_ones_go_on():
    eta = eta_of([1.0] * 4, a_round(1, 2, 10.0, 20.0, 30.0, 40.0))
    assert eta.p10_s == pytest.approx(4 + 30, rel=0.02)
    assert eta.p50_s == pytest.approx(4 + 50, rel=0.1)
    assert eta.p90_s == pytest.approx(4 + 70, rel=0.02)


def test_whoever_is_the_best_has_gone_on_before():
    first, last = a_round(1, 1, 1.0, 100.0), a_round(2, 1, 1.0, 100.0)
    eta = eta_of([1.0, 1.0], first, last)
    assert eta.p10_s == pytest.approx(4.0, rel=0.02)  # the cheap one twice
    assert eta.p90_s == pytest.approx(202.0, rel=0.02)  # or the dear one twice, never one of each


def test_rounds_that_were_chosen_are_not_to_come():
    first, last = a_round(1, 1, 50.0), a_round(2, 1, 7.0)
    sweep = submitted(sure(1.0), rounds=1, process_start_s=0.0)
    eta = forecast(plan_for([ONE], sweep), NOBODY, later={"w": [first, last]})["w"]
    assert eta.p50_s == pytest.approx(8.0, rel=0.02)


def test_many_rounds_are_played_a_few_times_and_bounded():
    later = [a_round(1, 400, *[2.0] * 1200), a_round(2, 130, *[4.0] * 1200)]
    eta = eta_of([1.0] * 1200, *later)
    assert eta.p50_s == pytest.approx(1200 + 800 + 520, rel=0.1)


costs = st.lists(st.floats(0.1, 50.0), min_size=2, max_size=6)


@settings(max_examples=40, deadline=None)
@given(costs, st.data())
def test_what_is_drawn_is_what_a_search_may_do(costs_s, data):
    count = len(costs_s)
    runs = sorted(data.draw(st.lists(st.integers(1, count), min_size=1, max_size=3)))[::-1]
    later = [a_round(number, n, *costs_s) for number, n in enumerate(runs)]
    plan = plan_for([ONE], submitted(*map(sure, costs_s), rounds=len(later)))
    draws = Draws(plan, NOBODY, {"w": later}, 0.0)
    assert draws.count == count + sum(runs)
    drawn = draws.sample(np.random.default_rng(data.draw(st.integers(0, 99))))
    before = set(range(count))
    for number, (places, n) in enumerate(zip(drawn.rounds["w"], runs, strict=True)):
        names = [draws.late[place][0] for place in places.tolist()]
        chosen = {int(name.removeprefix(f"r{number}c")) for name in names}
        assert len(names) == len(chosen) == n
        assert chosen <= before
        before = chosen


@settings(max_examples=40, deadline=None)
@given(costs, st.permutations(range(6)), st.integers(1, 3))
def test_the_eta_covers_what_any_search_takes(costs_s, order, runs):
    """Whoever goes on: no run takes less than the least forecast, nor more than the most."""
    runs = min(runs, len(costs_s))
    later = [a_round(0, runs, *costs_s), a_round(1, 1, *costs_s)]
    order = [origin for origin in order if origin < len(costs_s)]
    rounds = iter([order[:runs], order[:1]])
    plan = plan_for([ONE], submitted(*map(sure, costs_s), rounds=2, process_start_s=0.0))

    def choose(workflow_id):
        number, chosen = 2 - plan.workflows["w"].rounds, next(rounds)
        fits = {k: v for origin in chosen for k, v in later[number].candidates[origin].items()}
        return NextChosen(workflow_id, fits)

    backend = SimulatedBackend(
        plan, lambda key, _: plan.state.fit(key).estimate.runtime_s_p50, choose_next=choose
    )
    backend.carry_out(plan.place(0.0))
    took_s = backend.run()["w"]
    cheap, dear = sorted(costs_s), sorted(costs_s)[::-1]
    least_s = sum(costs_s) + sum(cheap[:runs]) + cheap[0]
    most_s = sum(costs_s) + sum(dear[:runs]) + dear[0]
    assert least_s - 1e-6 <= took_s <= most_s + 1e-6
    eta = eta_of(costs_s, *later)
    assert 0.98 * least_s <= eta.p10_s <= eta.p50_s <= eta.p90_s <= 1.02 * most_s


def test_typical_fits_are_as_many_as_will_run():
    rounds = [a_round(1, 3, *range(1, 10)), a_round(2, 1, *range(1, 10))]
    assert [one.runtime_s_p50 for one in typical_of(rounds)] == [2, 5, 8, 5]
    assert [one.count for one in rounds] == [3, 1]
    assert rounds[0].bound_s(cpus=5) == 8  # the longest
    assert rounds[0].bound_s(cpus=1) == 15
    thin = rounds[0].thinned(3)
    assert (len(thin.candidates), thin.runs) == (3, 1)


def test_a_search_counts_what_will_run():
    submission = searched().submission
    cast = forecast_sweep(SizingModel.prior(), submission, [ONE])
    assert len(cast.to_run()) == 2 * (4 + 2 + 1) + 1
    assert [one.runs for one in cast.later] == [2, 1, 1]
    assert [len(one.candidates) for one in cast.later] == [4, 4, 4]
    told = cast.submitted("w")
    assert (len(told.estimates), told.rounds) == (8, 3)
    eta, placed = cast.plan([ONE])
    assert set(placed) == set(told.estimates)
    sums = [one.runtime_s_p50 for one in cast.to_run()]
    assert eta.p90_s > sum(sums[:8])
    refit = [fit_id for fits in cast.later[-1].candidates.values() for fit_id in fits]
    assert refit == [f"c{8 + origin:04d}-refit" for origin in range(4)]


def test_rounds_that_were_begun_have_their_candidates():
    submission = searched().submission
    every = {fit.fit_id: sure(1.0) for fit in submission.fits}
    refits = {origin: sure(2.0) for origin in range(4)}
    done = {"c0005-f2"}
    rounds = late_rounds(submission, every, refits, {}, begun=[5, 6], done=done)
    assert [sorted(one.candidates) for one in rounds] == [[1, 2], [1, 2], [1, 2]]
    assert list(rounds[0].candidates[1]) == ["c0005-f3"]
