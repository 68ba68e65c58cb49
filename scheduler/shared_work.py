"""Which fits of a sweep have work in common, and how much it is forecast to be.

Only finds it: whether it pays to run such fits in one process is decided in
:mod:`fitcast.scheduler.batching`, the sharing itself is done in :mod:`fitcast.trainer.sharing`.
"""

from collections import Counter
from collections.abc import Mapping

from sklearn.pipeline import Pipeline

from fitcast.history.records import Estimate
from fitcast.scheduler.events import SharedWork
from fitcast.sizing.features import describe
from fitcast.sizing.prior import steps_share
from fitcast.trainer.jobs import WEIGHTS
from fitcast.trainer.sharing import step_names
from fitcast.trainer.sweep import PreparedSweep


def shared_work(
    prepared: PreparedSweep, estimates: Mapping[str, Estimate]
) -> dict[str, SharedWork]:
    """Return the work that fits have in common with others, by fit_id, where there is any.

    Pipelines whose first steps are equal share them on the same rows: of each pipeline the longest
    such beginning counts.
    """
    if WEIGHTS in prepared.content.columns:
        return {}  # steps may be fitted with weights, and aren't shared
    chains = {
        candidate.index: step_names(candidate.configured(), 0)
        for candidate in prepared.candidates
        if isinstance(candidate.estimator, Pipeline)
    }
    counted = Counter(name for chain in chains.values() for name in chain)
    found: dict[str, SharedWork] = {}
    shares: dict[int, float] = {}
    for fit in prepared.fits:
        index = fit.candidate.index
        common = [name for name in chains.get(index, ()) if counted[name] > 1]
        if not common:
            continue
        if index not in shares:
            shares[index] = steps_share(describe(fit.request), len(common))
        runtime_s = shares[index] * estimates[fit.fit_id].runtime_s_p50
        found[fit.fit_id] = SharedWork(f"{common[-1]}-{fit.fold}", runtime_s)
    return found
