"""A sweep forecast before it runs: estimates, ETA, and where the plan would put each fit.

In: what `Client.submit` starts from. Not in: what `Client.estimate` answers
(:mod:`fitcast.scheduler.forecast.sweep_estimate`), forecasts of what is running
(:mod:`fitcast.scheduler.run.live_eta`), the sizing itself (:mod:`fitcast.sizing`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from fitcast.errors import FitTooLargeError
from fitcast.history.records import Estimate, Record
from fitcast.scheduler.forecast.availability import NO_LOAD, OthersLoad
from fitcast.scheduler.forecast.common_work import common_work
from fitcast.scheduler.forecast.draws import Groups
from fitcast.scheduler.forecast.eta import Eta, forecast, plan_for
from fitcast.scheduler.forecast.late_rounds import LateRound, late_rounds, typical_of
from fitcast.scheduler.forecast.what_if import (
    MANY_FITS,
)
from fitcast.scheduler.plan.events import CommonWork, FitKey, Submitted
from fitcast.scheduler.plan.pools import WorkerSize
from fitcast.scheduler.plan.simulator import SimulatedBackend
from fitcast.sizing.laws.prior import process_start_s
from fitcast.sizing.learning.correction import SweepCorrection
from fitcast.sizing.learning.model import SizingModel
from fitcast.trainer.sweep.submission import Fit, Submission

REFITS_FORECAST = 100
"""Of how many candidates the refit is forecast; of more, evenly spaced ones in grid order."""

QUICK_PLAYS = 2
"""How often the plan is played for each of many choices of workers."""

OVERHEAD_S = 0.03
"""Seconds that a slot stays idle between attempts before any were seen: fork and round trip."""

_THIS = "this"


class Placed(NamedTuple):
    """Where the median plan puts a fit."""

    threads: int
    pool: str
    share_bytes: int


@dataclass(frozen=True)
class SweepForecast:
    """A sweep's forecasts, as submission and estimate both need them."""

    submission: Submission
    correction: SweepCorrection | None  # None where it isn't to be run
    estimates: dict[str, Estimate]  # by fit
    final: Estimate | None  # what the refit is expected to cost, whoever is the best
    process_start_s: float  # that a fit is spared in the process of another
    done: frozenset[str] = frozenset()  # fits whose results are kept already
    attempts: Mapping[str, int] = field(default_factory=dict)  # made already, by fit
    begun: frozenset[int] = frozenset()  # candidates of later rounds that were chosen
    refits: Mapping[int, Estimate] = field(default_factory=dict)  # cost of the refit by who is best
    load: OthersLoad = NO_LOAD  # what others want of the workers' machines

    @cached_property
    def work(self) -> dict[str, CommonWork]:
        """What fits have in common."""
        return common_work(self.submission, self.estimates)

    @cached_property
    def later(self) -> tuple[LateRound, ...]:
        """The rounds that are chosen late, the refit being the last."""
        refits: Mapping[int, Estimate] = {}
        if self.final is not None:
            refits = self.refits or {0: self.final}
        return late_rounds(
            self.submission,
            self.estimates,
            refits,
            self.work,
            done=self.done,
            begun=self.begun,
            attempts=self.attempts,
        )

    def to_run(self) -> list[Estimate]:
        """Return the forecasts of all that is still to be run; of late rounds, typical ones."""
        fits = self.submission.first_fits
        left = [self.estimates[fit.fit_id] for fit in fits if fit.fit_id not in self.done]
        return left + typical_of(self.later)

    def least_bytes(self, fit: Fit) -> int:
        """Return what a worker must have at least for a fit, the dataset included."""
        bound = self.submission.memory_bytes
        return self.submission.dataset_bytes + (
            bound or self.estimates[fit.fit_id].peak_memory_bytes_p50
        )

    def submitted(self, workflow_id: str, *, own_workers: bool = False) -> Submitted:
        """Return what the plan is told of the sweep: of the fits that are still to be run."""
        submission = self.submission
        left = [fit for fit in submission.first_fits if fit.fit_id not in self.done]
        return Submitted(
            workflow_id=workflow_id,
            estimates={fit.fit_id: self.estimates[fit.fit_id] for fit in left},
            dataset_bytes=submission.dataset_bytes,
            folds={fit.fit_id: fit.fold for fit in left},
            candidates={fit.fit_id: submission.origin(fit.candidate.index) for fit in left},
            common_work=self.work,
            attempts=self.attempts,
            process_start_s=self.process_start_s,
            memory_bytes=submission.memory_bytes,
            deadline_s=submission.deadline_s,
            rounds=len(self.later),
            own_workers=own_workers,
        )

    def plan(
        self, workers: Sequence[WorkerSize], ready_in_s: float = 0.0
    ) -> tuple[Eta, dict[str, Placed]]:
        """Return the ETA on idle workers, and where the median plan puts each fit."""
        submitted = self.submitted(_THIS)
        plan = plan_for(workers, replace(submitted, rounds=0))
        median = SimulatedBackend(plan, lambda key, threads: plan.state.fit(key).runtime_s(threads))
        median.carry_out(plan.place(0.0))
        median.run()
        placed = {}
        for _, start in median.starts:
            for key in (start.key, *(one.key for one in start.followers)):
                placed[key.fit_id] = Placed(start.threads, start.pool, start.share_bytes)
        slower = self.load.slowdown("", 1.0)  # one process imports what its worker needs
        return self._eta(workers, submitted).later(slower * ready_in_s), placed

    def quick_eta(self, workers: Sequence[WorkerSize]) -> Eta:
        """Return the ETA on idle workers from playing the plan once or twice.

        Of very many fits every second, third … is played, on as much fewer workers, and what the
        others add is told by the bounds: all work on all cores, or the longest fit.
        """
        submitted = self.submitted(_THIS)
        every = submitted.estimates
        step = len(every) // MANY_FITS
        if step < 2:
            return self._eta(workers, submitted, plays=QUICK_PLAYS)
        fewer = [group[0] for group in _in_groups(workers, step)]
        some = dict(list(every.items())[::step])
        later = [one.thinned(step) for one in self.later]
        eta = self._eta(fewer, replace(submitted, estimates=some), later, QUICK_PLAYS)
        ratio = _bound_s(workers, every, self.later) / _bound_s(fewer, some, later)
        longer_s = (ratio - 1.0) * eta.p50_s
        finish_at = eta.later(longer_s).finish_at
        return Eta(ratio * eta.p10_s, ratio * eta.p50_s, ratio * eta.p90_s, finish_at, eta.note)

    def _eta(
        self,
        workers: Sequence[WorkerSize],
        submitted: Submitted,
        later: Sequence[LateRound] | None = None,
        plays: int | None = None,
    ) -> Eta:
        etas = forecast(
            plan_for(workers, submitted),
            groups_of(_THIS, self.submission),
            later={_THIS: self.later if later is None else later},
            load=self.load,
            overhead_s=OVERHEAD_S,
            plays=plays,
        )
        return etas[_THIS]


def _bound_s(
    workers: Sequence[WorkerSize],
    estimates: Mapping[str, Estimate],
    later: Sequence[LateRound],
) -> float:
    runtimes = [one.runtime_s_p50 + OVERHEAD_S for one in estimates.values()]
    cpus = sum(worker.cpus for worker in workers)
    first_s = max(sum(runtimes) / cpus, max(runtimes, default=0.0))
    return first_s + sum(one.bound_s(cpus) for one in later)


def _in_groups(workers: Sequence[WorkerSize], size: int) -> list[list[WorkerSize]]:
    """Return the workers of each pool in groups of up to so many, full ones if there is any."""
    by_pool: dict[str, list[WorkerSize]] = {}
    for worker in workers:
        by_pool.setdefault(worker.pool, []).append(worker)
    return [
        own[at : at + size]
        for own in by_pool.values()
        for at in range(0, max(1, round(len(own) / size)) * size, size)
    ]


def forecast_sweep(
    model: SizingModel,
    submission: Submission,
    workers: Sequence[WorkerSize],
    seen: Sequence[tuple[str, Record]] = (),
    done: frozenset[str] = frozenset(),
) -> SweepForecast:
    """Forecast the fits of a sweep that was found good.

    Parameters
    ----------
    model
        What forecasts.
    submission
        The sweep.
    workers
        Those that it may have.
    seen
        Fits of it and what attempts at them cost already; that corrects the forecasts of the rest.
    done
        Fits whose results are kept already, so that they aren't run again.

    Raises
    ------
    FitTooLargeError
        No worker could hold a fit.
    """
    correction = SweepCorrection(
        model,
        {fit.fit_id: fit.request for fit in submission.fits},
        dataset=submission.dataset,
        candidates={fit.fit_id: submission.origin(fit.candidate.index) for fit in submission.fits},
    )
    for fit_id, record in seen:
        correction.observe(fit_id, record)
    estimates = correction.estimates()
    most = max(worker.memory_bytes for worker in workers)
    refits = _refit_estimates(model, submission)
    final = _median(refits)
    start_s = process_start_s(model.machine_speed)
    attempts: dict[str, int] = {}
    for fit_id, record in seen:
        attempts[fit_id] = max(record.attempt, attempts.get(fit_id, 0))
    later = {fit.candidate.index for fit in submission.fits if fit.fit_id in attempts}
    begun = frozenset(index for index in later if submission.round_of(index))
    known = submission, correction, estimates, final, start_s, done, attempts, begun
    cast = SweepForecast(*known, refits)
    for fit in _sure(cast):
        if (least := cast.least_bytes(fit)) > most:
            need = least - submission.dataset_bytes
            raise FitTooLargeError(
                f"{fit.candidate.label!r} needs about {need / 2**30:.2f} GiB beside a dataset "
                f"of {submission.dataset_bytes / 2**30:.2f} GiB; the largest worker has "
                f"{most / 2**30:.2f} GiB. Give a larger pool, or a smaller dataset or model."
            )
    return cast


def groups_of(workflow_id: str, submission: Submission) -> Groups:
    """Return algorithm and candidate of fits, for drawing shared errors together."""
    algorithm: dict[FitKey, str] = {}
    candidate: dict[FitKey, str] = {}
    for one in submission.candidates:
        fits = submission.fits_of(one.index)
        name = str(submission.origin(one.index))
        for fit_id in (*(fit.fit_id for fit in fits), f"c{one.index:04d}-refit"):
            key = FitKey(workflow_id, fit_id)
            algorithm[key], candidate[key] = fits[0].request.algorithm, name
    return Groups(algorithm, candidate)


def _sure(cast: SweepForecast) -> Iterator[Fit]:
    """Yield fits that are run, or one that needs no more than another in its place."""
    submission = cast.submission
    for fit in submission.first_fits:
        if fit.fit_id not in cast.done:
            yield fit
    for number in range(1, len(submission.rounds)):
        left = [fit for fit in submission.round_fits(number) if fit.fit_id not in cast.done]
        if left:
            yield min(left, key=cast.least_bytes)


def _refit_estimates(model: SizingModel, submission: Submission) -> dict[int, Estimate]:
    """Return what the refit would cost for each candidate that may win; none without a refit."""
    if not submission.wants_refit:
        return {}
    last = submission.rounds[-1].indices if submission.rounds else submission.candidates
    step = max(1, len(last) // REFITS_FORECAST)
    first = submission.rounds[-1].first if submission.rounds else 0
    spaced = range(0, len(last), step)
    requests = [submission.refit_fit(first + origin).request for origin in spaced]
    estimates = model.estimate(requests, dataset=submission.dataset)
    return {origin: estimates[origin // step] for origin in range(len(last))}


def _median(refits: Mapping[int, Estimate]) -> Estimate | None:
    ordered = sorted(refits.values(), key=lambda estimate: estimate.runtime_s_p50)
    return ordered[len(ordered) // 2] if ordered else None
