"""Runtimes as they may turn out: samples of all open fits of a plan at once.

In: who errs together, what a fit that runs already may still take, who might go on to the rounds
that are chosen late. Not in: what a plan makes of
the runtimes (:mod:`fitcast.scheduler.forecast.eta`). It knows distributions, no rules.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from fitcast.scheduler.forecast.availability import NO_LOAD, OthersLoad
from fitcast.scheduler.forecast.late_rounds import LateRound
from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.events import FitKey, LateFit
from fitcast.scheduler.plan.fit_state import FitState

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

LONGEST_S = 1e9
"""Longest runtime that is drawn: a hopelessly unsure forecast stays a date."""

_CERTAIN = 0.999  # a fit that has run longer than this quantile goes on for who knows how long


@dataclass(frozen=True, slots=True)
class Groups:
    """Which fits share forecasting errors: the algorithm and the candidate of each."""

    algorithm: Mapping[FitKey, str]
    candidate: Mapping[FitKey, str]


@dataclass(frozen=True, slots=True)
class Drawn:
    """What might happen.

    Attributes
    ----------
    runtimes_s : ndarray
        What each fit takes in all with one thread, by its place.
    rounds : mapping
        By workflow, the places of the fits in each round that is still to be chosen.
    """

    runtimes_s: Array
    rounds: Mapping[str, Sequence[Places]]


@dataclass(frozen=True, slots=True)
class _Open:
    """Rounds of a workflow that are still to be chosen."""

    candidates: Places  # all that may go on to any of them
    places: list[dict[int, Places]]  # of the fits of each candidate, round by round
    runs: list[int]

    def draw(self, rng: np.random.Generator) -> list[Places]:
        """Draw who goes on: those of a round out of those of the one before."""
        order = rng.permutation(self.candidates).tolist()
        rounds = []
        for places, runs in zip(self.places, self.runs, strict=True):
            chosen = [places[candidate] for candidate in order if candidate in places][:runs]
            rounds.append(np.concatenate(chosen) if chosen else np.zeros(0, dtype=np.int64))
        return rounds


class Draws:
    """Draws runtimes of the open fits of a plan.

    Parameters
    ----------
    decisions : Decisions
        The plan as it stands.
    groups : Groups
        Which fits share errors; those drawn together are drawn once.
    later : mapping
        By workflow, the rounds that are chosen late; the first of them may have been already.
    now_s : float
        The time in seconds, on the plan's own clock.
    load : OthersLoad
        What others want of the workers' machines.
    """

    def __init__(
        self,
        decisions: Decisions,
        groups: Groups,
        later: Mapping[str, Sequence[LateRound]],
        now_s: float,
        load: OthersLoad = NO_LOAD,
    ) -> None:
        fits = [
            fit
            for workflow in decisions.workflows.values()
            for fit in workflow.fits.values()
            if fit.outcome is None
        ]
        self.late: dict[int, tuple[str, LateFit]] = {}  # fits not in the plan yet, by place
        late: list[FitState] = []
        self._open: dict[str, _Open] = {}
        for workflow_id, workflow in decisions.workflows.items():
            rounds = _to_come(workflow.rounds, later.get(workflow_id, ()))
            places: list[dict[int, Places]] = []
            for one in rounds:
                places.append({})
                for candidate, its in one.candidates.items():
                    first = len(fits) + len(late)
                    late += (FitState(FitKey(workflow_id, i), f.estimate) for i, f in its.items())
                    self.late |= dict(enumerate(its.items(), first))
                    places[-1][candidate] = np.arange(first, first + len(its), dtype=np.int64)
            who = dict.fromkeys(candidate for one in rounds for candidate in one.candidates)
            runs = [one.runs for one in rounds]
            self._open[workflow_id] = _Open(np.array(list(who), dtype=np.int64), places, runs)
        every = [*fits, *late]
        self.place = {fit.key: number for number, fit in enumerate(every)}
        estimates = [fit.estimate for fit in every]
        self._mean = np.log([max(one.runtime_s_p50, 1e-6) for one in estimates])
        self._sd = np.array(
            [
                (
                    one.runtime_log_sd_algorithm,
                    one.runtime_log_sd_candidate,
                    max(one.runtime_log_sd_fit, 1e-3),
                )
                for one in estimates
            ]
        ).reshape(-1, 3)
        self._algorithm = _numbered(groups.algorithm.get(fit.key, fit.fit_id) for fit in every)
        self._candidate = _numbered(
            (fit.key.workflow_id, groups.candidate.get(fit.key, fit.fit_id)) for fit in every
        )
        # A follower's turn may not have come: only of a leader is it known since when it runs.
        leads = [fit.running_on is not None and fit.follows is None for fit in every]
        elapsed = [
            max(0.0, now_s - fit.started_s) if lead else 0.0
            for fit, lead in zip(every, leads, strict=True)
        ]
        ratio = [fit.process_ratio if lead else 1.0 for fit, lead in zip(every, leads, strict=True)]
        threads = [fit.threads if lead else 1 for fit, lead in zip(every, leads, strict=True)]
        # Beside others less of its work is done than the clock says.
        own = decisions.state.cpus_in_use
        slower = [
            load.slowdown(fit.running_on or "", own) if lead else 1.0
            for fit, lead in zip(every, leads, strict=True)
        ]
        self._elapsed = np.array(elapsed) / np.array(ratio) / np.array(slower)
        self._ratio = np.array(ratio)
        self._cpu_ratio = self._ratio * np.array(threads)
        self._there = len(fits)
        self._cpus = max(1, decisions.state.cpus)

    def sample(self, rng: np.random.Generator) -> Drawn:
        """Draw how long each fit takes, and who goes on."""
        runtimes_s = self._runtimes_s(rng)
        return Drawn(runtimes_s, {name: one.draw(rng) for name, one in self._open.items()})

    def _runtimes_s(self, rng: np.random.Generator) -> Array:
        algorithm = rng.standard_normal(int(self._algorithm.max(initial=-1)) + 1)
        candidate = rng.standard_normal(int(self._candidate.max(initial=-1)) + 1)
        mean = (
            self._mean
            + self._sd[:, 0] * algorithm[self._algorithm]
            + self._sd[:, 1] * candidate[self._candidate]
        )
        z = rng.standard_normal(mean.size)
        runs = np.flatnonzero(self._elapsed > 0.0)
        late = np.zeros(0, dtype=np.int64)
        if runs.size:
            # It has run this long already: draw from what is left of the distribution.
            below = ndtr((np.log(self._elapsed[runs]) - mean[runs]) / self._sd[runs, 2])
            uniform = rng.uniform(1e-6, 1.0 - 1e-6, runs.size)
            z[runs] = ndtri(np.minimum(below + (1.0 - below) * uniform, 1.0 - 1e-12))
            late = runs[below > _CERTAIN]
        drawn: Array = np.exp(np.minimum(mean + self._sd[:, 2] * z, 50.0))
        if late.size:
            drawn[late] = self._elapsed[late] * (1.0 + 0.1 * rng.exponential(size=late.size))
        return np.minimum(drawn, LONGEST_S)

    def bound_s(self, drawn: Drawn) -> float:
        """Return what no plan beats: all work on all cores, or the longest fit; round by round."""
        there = slice(self._there)
        left = np.maximum(drawn.runtimes_s[there] - self._elapsed[there], 0.0)
        bound_s = self._bound_s(left, left * self._cpu_ratio[there])
        for rounds in drawn.rounds.values():
            for places in rounds:
                took = drawn.runtimes_s[places]
                bound_s += self._bound_s(took, took)
        return bound_s

    def _bound_s(self, took_s: Array, work_s: Array) -> float:
        return max(float(work_s.sum()) / self._cpus, float(took_s.max(initial=0.0)))

    def left_s(self, key: FitKey, drawn: Drawn) -> float:
        """Return what the process of a running leader still takes where nothing else runs."""
        place = self.place[key]
        left_s = float(drawn.runtimes_s[place] - self._elapsed[place])
        return max(0.0, left_s) * float(self._ratio[place])

    @property
    def count(self) -> int:
        """How many fits will run, about."""
        typical = (len(p) and sum(map(len, p.values())) * r // len(p) for p, r in self._rounds())
        return self._there + sum(typical)

    def _rounds(self) -> Iterable[tuple[dict[int, Places], int]]:
        for one in self._open.values():
            yield from zip(one.places, one.runs, strict=True)


def _to_come(count: int, later: Sequence[LateRound]) -> Sequence[LateRound]:
    return later[max(0, len(later) - count) :] if count else ()


def _numbered(names: Iterable[Hashable]) -> Places:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)
