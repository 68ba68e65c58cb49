"""Runtimes as they may turn out: samples of all open fits of a plan at once.

In: who errs together, what a fit that runs already may still take. Not in: what a plan makes of
the runtimes (:mod:`fitcast.scheduler.forecast.eta`). It knows distributions, no rules.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from fitcast.history.records import Estimate
from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.events import FitKey
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


class Draws:
    """Draws runtimes of the open fits of a plan.

    Parameters
    ----------
    decisions : Decisions
        The plan as it stands.
    groups : Groups
        Which fits share errors; those drawn together are drawn once.
    finals : mapping of str to Estimate
        By workflow, the estimate of the last fit, which isn't in the plan yet.
    now_s : float
        The time in seconds, on the plan's own clock.
    """

    def __init__(
        self,
        decisions: Decisions,
        groups: Groups,
        finals: Mapping[str, Estimate],
        now_s: float,
    ) -> None:
        fits = [
            fit
            for workflow in decisions.workflows.values()
            for fit in workflow.fits.values()
            if fit.outcome is None
        ]
        last = [
            FitState(final_key(workflow_id), finals[workflow_id])
            for workflow_id, workflow in decisions.workflows.items()
            if workflow.final and workflow_id in finals
        ]
        every = [*fits, *last]
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
        self._elapsed = np.array(elapsed) / np.array(ratio)
        self._cpu_ratio = np.array(ratio) * np.array(threads)
        self._is_final = np.arange(len(every)) >= len(fits)
        self._cpus = max(1, decisions.state.cpus)

    def sample(self, rng: np.random.Generator) -> Array:
        """Return how long each fit takes in all with one thread, in seconds, by `place`."""
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

    def bound_s(self, drawn: Array) -> float:
        """Return what no plan beats: all work on all cores, or the longest fit; then the finals."""
        left = np.maximum(drawn - self._elapsed, 0.0)[~self._is_final]
        work = left * self._cpu_ratio[~self._is_final]
        longest = float(left.max(initial=0.0))
        return max(float(work.sum()) / self._cpus, longest) + float(drawn[self._is_final].sum())


def final_key(workflow_id: str) -> FitKey:
    """Return the key under which the last fit of a workflow is drawn."""
    return FitKey(workflow_id, "refit")


def _numbered(names: Iterable[Hashable]) -> Places:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)
