"""Which fits of a sweep have work in common, and how much it is forecast to be.

Only finds it: whether it pays to run such fits in one process is decided in
:mod:`fitcast.scheduler.plan.batching`, the sharing itself is done in
:mod:`fitcast.trainer.reuse`.
"""

from collections import Counter
from collections.abc import Mapping
from statistics import median

from fitcast.history.records import Estimate
from fitcast.scheduler.plan.events import CommonWork
from fitcast.sizing.laws.features import describe
from fitcast.sizing.laws.prior import bins_share, steps_share
from fitcast.trainer.attempt.spec import Measured
from fitcast.trainer.reuse import BINS
from fitcast.trainer.sweep.submission import Submission

ENOUGH_SEEN = 3
"""So many fits that shared work say how much it is."""

_FOLD = " fold "


def common_work(submission: Submission, estimates: Mapping[str, Estimate]) -> dict[str, CommonWork]:
    """Return the work that fits have in common with others, by fit_id, where there is any.

    Pipelines whose first steps are equal share them on the same rows, boostings that bin rows
    equally the bins: of each fit the longest such beginning counts.
    """
    if submission.is_weighted:
        return {}  # steps and bins may be made with weights, and aren't shared
    chains = submission.work_names
    counted = Counter(name for chain in chains.values() for name in chain)
    found: dict[str, CommonWork] = {}
    shares: dict[int, float] = {}
    for fit in submission.fits:
        index = fit.candidate.index
        common = [name for name in chains.get(index, ()) if counted[name] > 1]
        if not common or fit.fit_id not in estimates:
            continue
        if index not in shares:
            runtime_s = estimates[fit.fit_id].runtime_s_p50
            described = describe(fit.request)
            steps = sum(not name.startswith(BINS) for name in common)
            shares[index] = steps_share(described, steps, runtime_s) if steps else 0.0
            if len(common) > steps:
                shares[index] += bins_share(described, runtime_s)
        found[fit.fit_id] = CommonWork(f"{common[-1]}{_FOLD}{fit.fold}", shares[index])
    return found


def corrected(
    work: Mapping[str, CommonWork], measured: Mapping[str, Measured], process_start_s: float
) -> dict[str, CommonWork]:
    """Return the work in common with its share as fits have shown it, by fit_id.

    Parameters
    ----------
    work
        As it was forecast, by fit_id.
    measured
        Fits that ended; what their `shared_s` says includes the start of a process.
    process_start_s
        How much that is, in seconds.
    """
    seen: dict[str, list[float]] = {}
    for fit_id, one in measured.items():
        alone_s = one.runtime_s + one.shared_s - process_start_s
        if fit_id in work and one.shared_s > 0 and alone_s > 0:
            share = (one.shared_s - process_start_s) / alone_s
            seen.setdefault(_steps(work[fit_id]), []).append(min(max(share, 0.0), 1.0))
    shares = {name: median(all_of) for name, all_of in seen.items() if len(all_of) >= ENOUGH_SEEN}
    return {
        fit_id: CommonWork(one.name, shares[_steps(one)])
        for fit_id, one in work.items()
        if _steps(one) in shares
    }


def _steps(work: CommonWork) -> str:
    return work.name.rpartition(_FOLD)[0]
