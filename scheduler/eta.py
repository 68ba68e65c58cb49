"""When will it be done: quantiles from simulating the plan over sampled runtimes.

The simulator runs the decisions of the live scheduler, so the forecast can't drift from what the
scheduler does. Errors of the sizing model are drawn together where they are shared: by all fits
of an algorithm, by the folds of a candidate; drawing each fit alone would make the interval far
too narrow.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from scipy.special import ndtr, ndtri

from fitcast.history.records import Estimate
from fitcast.scheduler.backends.simulated import SimulatedBackend
from fitcast.scheduler.decisions import Decisions
from fitcast.scheduler.events import FinalChosen, FitKey, Submitted
from fitcast.scheduler.pools import WorkerSize

FIT_EVENTS_PER_FORECAST = 6_000
"""Simulated attempts that a forecast may cost: many samples of small workflows, few of large."""

FEWEST_SAMPLES = 8
MOST_SAMPLES = 200
_LONGEST_S = 1e9  # keeps a hopelessly unsure forecast a date


@dataclass(frozen=True, slots=True)
class Eta:
    """When a workflow will be done, in seconds from when it was asked.

    Attributes
    ----------
    p10_s, p50_s, p90_s : float
        Quantiles of the seconds that remain.
    finish_at : datetime
        The median as a time of day, UTC.
    """

    p10_s: float
    p50_s: float
    p90_s: float
    finish_at: datetime

    def later(self, seconds: float) -> "Eta":
        """Return the ETA of what begins so many seconds later."""
        return Eta(
            self.p10_s + seconds,
            self.p50_s + seconds,
            self.p90_s + seconds,
            self.finish_at + timedelta(seconds=seconds),
        )

    def __str__(self) -> str:
        return f"{span(self.p50_s)} ({span(self.p10_s)} to {span(self.p90_s)})"


def span(seconds: float) -> str:
    """Return a duration as people write it: ``41 s``, ``3 min 20 s``, ``5 h 02 min``."""
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


@dataclass(frozen=True, slots=True)
class Groups:
    """Which fits share forecasting errors: the algorithm and the candidate of each."""

    algorithm: Mapping[FitKey, str]
    candidate: Mapping[FitKey, str]


class _Draw:
    """One sample of all runtimes; shared errors are drawn once for all who share them."""

    def __init__(self, rng: np.random.Generator, groups: Groups) -> None:
        self._rng = rng
        self._groups = groups
        self._shared: dict[str, float] = {}

    def _z(self, group: str) -> float:
        if group not in self._shared:
            self._shared[group] = float(self._rng.standard_normal())
        return self._shared[group]

    def runtime_s(self, key: FitKey, estimate: Estimate, longer_than_s: float = 0.0) -> float:
        algorithm = self._groups.algorithm.get(key, key.fit_id)
        candidate = self._groups.candidate.get(key, key.fit_id)
        mean = math.log(max(estimate.runtime_s_p50, 1e-6))
        mean += estimate.runtime_log_sd_algorithm * self._z(f"algorithm {algorithm}")
        mean += estimate.runtime_log_sd_candidate * self._z(f"{key.workflow_id} {candidate}")
        sd = max(estimate.runtime_log_sd_fit, 1e-3)
        z = float(self._rng.standard_normal())
        if longer_than_s > 0.0:
            # It has run this long already: draw from what is left of the distribution.
            below = float(ndtr((math.log(longer_than_s) - mean) / sd))
            if below > 0.999:
                return longer_than_s * (1.0 + 0.1 * float(self._rng.exponential()))
            z = float(ndtri(below + (1.0 - below) * float(self._rng.uniform(1e-6, 1.0 - 1e-6))))
        return min(math.exp(min(mean + sd * z, 50.0)), _LONGEST_S)


def _finishes(
    decisions: Decisions,
    groups: Groups,
    finals: Mapping[str, Estimate],
    rng: np.random.Generator,
    now_s: float,
    overhead_s: float,
) -> dict[str, float]:
    """Play the plan once and return when each workflow is done."""
    draw = _Draw(rng, groups)
    plan = decisions.copy()

    def runtime_s(key: FitKey, threads: int) -> float:
        estimate = plan.workflows[key.workflow_id].fits[key.fit_id].estimate
        fraction = estimate.parallel_fraction
        return draw.runtime_s(key, estimate) * (1.0 - fraction + fraction / threads)

    def choose_final(workflow_id: str) -> FinalChosen:
        estimate = finals.get(workflow_id)
        return FinalChosen(workflow_id, None if estimate is None else "refit", estimate)

    backend = SimulatedBackend(
        plan, runtime_s, choose_final=choose_final, overhead_s=overhead_s, now_s=now_s
    )
    backend.carry_out(plan.place(now_s))
    for fit in decisions.running():
        fraction = fit.estimate.parallel_fraction
        speed_up = 1.0 - fraction + fraction / fit.threads
        elapsed_s = max(0.0, now_s - fit.started_s)
        total_s = draw.runtime_s(fit.key, fit.estimate, elapsed_s / speed_up) * speed_up
        backend.resume(fit.key, fit.attempt, max(now_s, fit.started_s + total_s))
    return backend.run()


def forecast(
    decisions: Decisions,
    groups: Groups,
    *,
    finals: Mapping[str, Estimate] | None = None,
    now_s: float = 0.0,
    overhead_s: float = 0.0,
    samples: int | None = None,
    seed: int = 0,
) -> dict[str, Eta]:
    """Forecast when each workflow of a plan will be done.

    Parameters
    ----------
    decisions : Decisions
        The plan as it stands; it isn't changed.
    groups : Groups
        Which fits share forecasting errors.
    finals : mapping of str to Estimate, optional
        By workflow, what the last fit (the refit) is expected to cost.
    now_s : float
        The time in seconds, on the plan's own clock.
    overhead_s : float
        Seconds that a slot stays idle between two attempts.
    samples : int, optional
        How often the plan is played; by default as often as a fixed effort allows.
    seed : int
        Seed of the draws; the same plan and seed give the same forecast.

    Returns
    -------
    dict of str to Eta
        By workflow.
    """
    open_fits = sum(workflow.unsettled for workflow in decisions.workflows.values())
    if samples is None:
        samples = FIT_EVENTS_PER_FORECAST // max(1, open_fits)
        samples = max(FEWEST_SAMPLES, min(MOST_SAMPLES, samples))
    rng = np.random.default_rng(seed)
    remaining: dict[str, list[float]] = {workflow_id: [] for workflow_id in decisions.workflows}
    for _ in range(samples):
        finishes = _finishes(decisions, groups, finals or {}, rng, now_s, overhead_s)
        for workflow_id, sampled in remaining.items():
            sampled.append(finishes.get(workflow_id, now_s + _LONGEST_S) - now_s)
    asked_at = datetime.now(UTC)
    etas = {}
    for workflow_id, sampled in remaining.items():
        p10, p50, p90 = (float(q) for q in np.quantile(sampled, (0.1, 0.5, 0.9)))
        etas[workflow_id] = Eta(p10, p50, p90, asked_at + timedelta(seconds=p50))
    return etas


def plan_for(workers: Sequence[WorkerSize], submitted: Submitted) -> Decisions:
    """Return the plan of one workflow on workers that have nothing else to do."""
    decisions = Decisions()
    # The workflow first: a worker that joined an empty plan would start the fits at once.
    decisions.handle(submitted, 0.0)
    for worker in workers:
        decisions.join(worker)
    return decisions
