"""Rounds of a sweep that are chosen late: what may run in each, and how much of it will.

A round's candidates are those that the one before leaves, the refit's the best of the last; nobody
knows them before. Each that may run is as likely as any other.

In: what plan and forecast are told of such rounds. Not in: who is chosen
(:mod:`fitcast.scheduler.run.next_round`), drawing who might be
(:mod:`fitcast.scheduler.forecast.draws`).
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from fitcast.history.records import Estimate
from fitcast.scheduler.plan.events import CommonWork, LateFit
from fitcast.trainer.sweep.submission import Fit, Submission


@dataclass(frozen=True, slots=True)
class LateRound:
    """A round that isn't chosen yet.

    Attributes
    ----------
    candidates : mapping
        What of each candidate would be run in it, by fit_id; the candidates by their index in the
        first round, so that those of several rounds are known again.
    runs : int
        How many of the candidates will run in it.
    """

    candidates: Mapping[int, Mapping[str, LateFit]]
    runs: int

    @property
    def count(self) -> int:
        """How many fits will run, about."""
        fits = sum(len(fits) for fits in self.candidates.values())
        return round(fits * self.runs / max(1, len(self.candidates)))

    def typical(self) -> list[Estimate]:
        """Return forecasts of as many fits as will run: evenly spaced from cheap to dear."""
        by_cost = sorted(
            self.candidates.values(),
            key=lambda fits: sum(one.estimate.runtime_s_p50 for one in fits.values()),
        )
        spaced = (int((number + 0.5) * len(by_cost) / self.runs) for number in range(self.runs))
        return [one.estimate for place in spaced for one in by_cost[place].values()]

    def bound_s(self, cpus: int) -> float:
        """Return what it takes at the least: all work on all cores, or the longest fit."""
        runtimes = [one.runtime_s_p50 for one in self.typical()]
        return max(sum(runtimes) / cpus, max(runtimes, default=0.0))

    def thinned(self, step: int) -> "LateRound":
        """Return it with every so manieth candidate, of which as many fewer run."""
        some = dict(list(self.candidates.items())[::step])
        return replace(self, candidates=some, runs=min(len(some), max(1, round(self.runs / step))))


def late_fit(
    fit: Fit,
    estimate: Estimate,
    submission: Submission,
    work: Mapping[str, CommonWork],
    attempts: Mapping[str, int],
) -> LateFit:
    """Return what a plan is told of a fit that is chosen late."""
    if fit.fold < 0:
        return LateFit(estimate, attempt=attempts.get(fit.fit_id, 0))
    return LateFit(
        estimate,
        fold=fit.fold,
        candidate=submission.origin(fit.candidate.index),
        common_work=work.get(fit.fit_id),
        attempt=attempts.get(fit.fit_id, 0),
    )


def late_rounds(
    submission: Submission,
    estimates: Mapping[str, Estimate],
    refits: Mapping[int, Estimate],
    work: Mapping[str, CommonWork],
    *,
    done: AbstractSet[str] = frozenset(),
    begun: Iterable[int] = (),
    attempts: Mapping[str, int] | None = None,
) -> tuple[LateRound, ...]:
    """Return the rounds of a sweep after the first, the refit being the last.

    Parameters
    ----------
    submission
        The sweep.
    estimates
        Of all fits that may run, by fit_id; those of the refit apart.
    refits
        What the refit would cost by who is the best, as an index in the first round; empty if
        there is none to come.
    work
        What fits have in common.
    done
        Fits that aren't run again.
    begun
        Candidates of later rounds that were chosen.
    attempts
        Made already, by fit_id.
    """
    chosen: dict[int, set[int]] = {}
    for index in begun:
        chosen.setdefault(submission.round_of(index), set()).add(index)
    among = set(range(submission.rounds[0].potential)) if submission.rounds else set(refits)
    rounds = []
    for number, one in list(enumerate(submission.rounds))[1:]:
        if len(chosen.get(number, ())) == one.runs:
            among = set(map(submission.origin, chosen[number]))
        candidates = {
            origin: {
                fit.fit_id: late_fit(fit, estimates[fit.fit_id], submission, work, attempts or {})
                for fit in submission.fits_of(one.first + origin)
                if fit.fit_id not in done and fit.fit_id in estimates
            }
            for origin in sorted(among)
        }
        rounds.append(LateRound(candidates, one.runs))
    if refits:
        last = submission.rounds[-1].first if submission.rounds else 0
        finalists = sorted(among & refits.keys()) or list(refits)
        costs = {
            origin: {f"c{last + origin:04d}-refit": LateFit(refits[origin])} for origin in finalists
        }
        rounds.append(LateRound(costs, 1))
    return tuple(rounds)


def typical_of(rounds: Sequence[LateRound]) -> list[Estimate]:
    """Return forecasts of as many fits as will run in these rounds."""
    return [estimate for one in rounds for estimate in one.typical()]
