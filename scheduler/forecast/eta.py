"""When will it be done: quantiles from simulating the plan over sampled runtimes.

The simulator runs the decisions of the live scheduler, so the forecast can't drift from what the
scheduler does. Errors of the sizing model are drawn together where they are shared: by all fits
of an algorithm, by the folds of a candidate; drawing each fit alone would make the interval far
too narrow.

Playing a large plan many times would take too long. There it is played a few times, which tells by
how much it exceeds its bound (all work on all cores, or the longest fit); many more draws then
give the bound alone. The ratio hardly varies between draws, the bound does.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from fitcast.scheduler.forecast.availability import NO_LOAD, OthersLoad, Slowed
from fitcast.scheduler.forecast.draws import LONGEST_S, Drawn, Draws, Groups
from fitcast.scheduler.forecast.late_rounds import LateRound
from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.events import FitKey, NextChosen, Submitted
from fitcast.scheduler.plan.pools import WorkerSize
from fitcast.scheduler.plan.simulator import SimulatedBackend

FIT_EVENTS_PER_FORECAST = 6_000
"""Simulated attempts that a forecast may cost: many samples of small workflows, few of large."""

FEWEST_SAMPLES = 8
MOST_SAMPLES = 200
FEWEST_PLAYS = 2

_UNSLOWED = Slowed({}, None, math.inf)


@dataclass(frozen=True, slots=True)
class Eta:
    """When a workflow will be done, in seconds from when it was asked.

    Attributes
    ----------
    p10_s, p50_s, p90_s : float
        Quantiles of the seconds that remain.
    finish_at : datetime
        The median as a time of day, UTC.
    note : str
        What else there is to say of it: that other processes keep the cores busy, for one.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> eta = Eta(p10_s=90.0, p50_s=200.0, p90_s=5400.0, finish_at=datetime(2026, 1, 1, tzinfo=UTC))
    >>> print(eta)
    3 min 20 s (1 min 30 s to 1 h 30 min)
    """

    p10_s: float
    p50_s: float
    p90_s: float
    finish_at: datetime
    note: str = ""

    def later(self, seconds: float) -> "Eta":
        """Return the ETA of what begins so many seconds later."""
        return Eta(
            self.p10_s + seconds,
            self.p50_s + seconds,
            self.p90_s + seconds,
            self.finish_at + timedelta(seconds=seconds),
            self.note,
        )

    def left_at(self, now: datetime) -> "Eta":
        """Return what is left of it as time passes.

        Parameters
        ----------
        now : datetime
            A moment, UTC; one from before it was asked changes nothing.

        Returns
        -------
        Eta
            In seconds from `now`, never fewer than zero; its `finish_at` isn't before `now`. One of
            which nothing is known (NaN) stays so.
        """
        if math.isnan(self.p50_s):
            return self
        asked_at = self.finish_at - timedelta(seconds=self.p50_s)
        gone_s = max(0.0, (now - asked_at).total_seconds())
        p10_s, p50_s, p90_s = (max(0.0, s - gone_s) for s in (self.p10_s, self.p50_s, self.p90_s))
        return Eta(p10_s, p50_s, p90_s, max(self.finish_at, now), self.note)

    def __call__(self) -> "Eta":
        """Return itself: ``workflow.eta()`` and ``workflow.eta`` are the same."""
        return self

    def __str__(self) -> str:
        said = f"{span(self.p50_s)} ({span(self.p10_s)} to {span(self.p90_s)})"
        return f"{said}; {self.note}" if self.note else said


def span(seconds: float) -> str:
    """Return a duration as people write it: ``41 s``, ``3 min 20 s``; ``-`` for NaN.

    Examples
    --------
    >>> span(200.4)
    '3 min 20 s'
    >>> span(3 * 86_400)
    '3.0 days'
    """
    if math.isnan(seconds):
        return "-"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    if whole < 5400:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 172_800:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole / 86_400:,.1f} days"


def _finishes(
    decisions: Decisions,
    draws: Draws,
    drawn: Drawn,
    now_s: float,
    overhead_s: float,
    slowed: Slowed,
) -> dict[str, float]:
    """Play the plan once and return when each workflow is done."""
    plan = decisions.copy()
    runtime_by_key: dict[FitKey, float] = dict(
        zip(draws.place, drawn.runtimes_s.tolist(), strict=True)
    )

    def runtime_s(key: FitKey, threads: int) -> float:
        alone_s = runtime_by_key[key]
        if threads <= 1:
            return alone_s
        fit = plan.state.fit(key)
        return alone_s * fit.runtime_s(threads) / max(fit.runtime_s(1), 1e-9)

    rounds = {name: iter(places) for name, places in drawn.rounds.items()}

    def choose_next(workflow_id: str) -> NextChosen:
        places = next(rounds[workflow_id], None)
        fits = None if places is None else dict(draws.late[place] for place in places.tolist())
        return NextChosen(workflow_id, fits)

    def took_s(at_s: float, work_s: float, worker: str) -> float:
        return slowed.took_s(at_s, work_s, worker, plan.state.cpus_in_use)

    backend = SimulatedBackend(
        plan, runtime_s, choose_next=choose_next, overhead_s=overhead_s, now_s=now_s, took_s=took_s
    )
    running = list(decisions.running())
    backend.carry_out(plan.place(now_s))
    ends_s = {
        fit.key: now_s + took_s(now_s, draws.left_s(fit.key, drawn), fit.running_on or "")
        for fit in running
        if fit.follows is None and fit.outcome is None
    }
    for fit in sorted(running, key=lambda one: one.follows is None):  # followers first
        backend.resume(fit.key, fit.attempt, ends_s.get(fit.follows or fit.key, now_s))
    backend.answer_pending()
    return backend.run()


def forecast(
    decisions: Decisions,
    groups: Groups,
    *,
    later: Mapping[str, Sequence[LateRound]] | None = None,
    load: OthersLoad = NO_LOAD,
    now_s: float = 0.0,
    overhead_s: float = 0.0,
    samples: int | None = None,
    plays: int | None = None,
    seed: int = 0,
) -> dict[str, Eta]:
    """Forecast when each workflow of a plan will be done.

    Parameters
    ----------
    decisions : Decisions
        The plan as it stands; it isn't changed.
    groups : Groups
        Which fits share forecasting errors.
    later : mapping, optional
        By workflow, the rounds that are chosen late, the refit being the last; the first of them
        may have been chosen already.
    load : OthersLoad
        What others want of the workers' machines now.
    now_s : float
        The time in seconds, on the plan's own clock.
    overhead_s : float
        Seconds that a slot stays idle between two attempts.
    samples : int, optional
        How many draws are made; by default as many as a fixed effort allows.
    plays : int, optional
        For how many of them the plan is played at most; the others scale its bound.
    seed : int
        Seed of the draws; the same plan and seed give the same forecast.

    Returns
    -------
    dict of str to Eta
        By workflow.
    """
    draws = Draws(decisions, groups, later or {}, now_s, load)
    affordable = FIT_EVENTS_PER_FORECAST // max(1, draws.count)
    if samples is None:
        samples = max(FEWEST_SAMPLES, min(MOST_SAMPLES, affordable))
    if plays is None:
        plays = max(FEWEST_PLAYS, affordable)
    plays = min(samples, plays)
    rng = np.random.default_rng(seed)
    remaining: dict[str, list[float]] = {workflow_id: [] for workflow_id in decisions.workflows}
    bounds = []
    cpus = decisions.state.cpus

    def again() -> float:
        slowed = load.draw(rng, now_s) if load.is_felt else _UNSLOWED
        return _bound_s(draws, draws.sample(rng), now_s, slowed, cpus)

    for _ in range(plays):
        drawn = draws.sample(rng)
        slowed = load.draw(rng, now_s) if load.is_felt else _UNSLOWED
        finishes = _finishes(decisions, draws, drawn, now_s, overhead_s, slowed)
        bounds.append(max(_bound_s(draws, drawn, now_s, slowed, cpus), 1e-9))
        for workflow_id, sampled in remaining.items():
            sampled.append(finishes.get(workflow_id, now_s + LONGEST_S) - now_s)
    if plays < samples:
        more = np.array([again() for _ in range(MOST_SAMPLES)])
        for workflow_id, sampled in remaining.items():
            ratio = float(np.mean(np.divide(sampled, bounds)))
            remaining[workflow_id] = list(more * ratio)
    asked_at = datetime.now(UTC)
    etas = {}
    for workflow_id, sampled in remaining.items():
        p10, p50, p90 = (float(q) for q in np.quantile(sampled, (0.1, 0.5, 0.9)))
        finish_at = asked_at + timedelta(seconds=p50)
        etas[workflow_id] = Eta(p10, p50, p90, finish_at, load.said(cpus))
    return etas


def _bound_s(draws: Draws, drawn: Drawn, now_s: float, slowed: Slowed, cpus: int) -> float:
    worker = next(iter(slowed.others), "")
    return slowed.took_s(now_s, draws.bound_s(drawn), worker, cpus)


def plan_for(workers: Sequence[WorkerSize], submitted: Submitted) -> Decisions:
    """Return the plan of one workflow on workers that are there and have nothing else to do."""
    decisions = Decisions()
    for worker in workers:
        decisions.join(worker)
    decisions.submit(replace(submitted, sealed=True, own_workers=False))
    return decisions
