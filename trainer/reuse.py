"""Work that several fits of one process have in common: which it is, and doing it once.

In: what two estimators share on equal rows, what a fit takes from the one before it and leaves to
the one after it. Not in: which fits run in one process (:mod:`fitcast.scheduler.plan.batching`),
how steps and bins are handed on (:mod:`fitcast.trainer.reused_steps`,
:mod:`fitcast.trainer.reused_bins`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fitcast.trainer.reused_bins import ReusedBins, bins_key, has_bins
from fitcast.trainer.reused_steps import ReusedSteps

BINS = "bins "
"""How the name of binned rows begins; others are of fitted steps."""


def may_reuse(estimator: Any) -> bool:
    """Return whether there may be work that an estimator has in common with others of its kind."""
    return _is_pipeline(estimator) or has_bins(estimator)


def work_names(estimator: Any, fold: int) -> list[str]:
    """Return a name for each beginning of a fit: equal names, equal work.

    They stand for the fitted steps of a pipeline before its last, and for the bins of a boosting
    that is its last or alone. Empty for a pipeline whose user set a memory himself.
    """
    names: list[str] = []
    name, last = str(fold), estimator
    if _is_pipeline(estimator):
        if estimator.memory is not None:
            return []
        last = estimator.steps[-1][1]
        for _, step in estimator.steps[:-1]:
            if step is None or isinstance(step, str):  # passes rows on unchanged
                continue
            name = _hash((name, type(step).__qualname__, step))
            names.append(name)
    bins = bins_key(last)
    return names if bins is None else [*names, f"{BINS}{_hash((name, *bins))}"]


def _is_pipeline(estimator: Any) -> bool:
    from sklearn.pipeline import Pipeline

    return type(estimator) is Pipeline


def _hash(content: Any) -> str:
    import cloudpickle
    from joblib import hash as hash_of

    try:
        return str(hash_of(content))
    except Exception:  # classes of a notebook, which came by value
        return str(hash_of(cloudpickle.dumps(content)))


def names_in_common(some: Sequence[str], others: Sequence[str]) -> int:
    """Return how many names two fits begin with in common."""
    count = 0
    for one, other in zip(some, others, strict=False):
        if one != other:
            break
        count += 1
    return count


class ReusedWork:
    """What a fit has in common with the one before it and the one after it.

    Parameters
    ----------
    names : sequence of str
        What :func:`work_names` says of it.
    keep : int
        How many of them the next fit has too.
    before : ReusedWork, optional
        That of the fit before.
    is_seen : bool
        Whether code of the user's sees the model once it is fitted: then its steps are copies.
    """

    def __init__(
        self,
        names: Sequence[str],
        keep: int,
        before: "ReusedWork | None" = None,
        *,
        is_seen: bool = False,
    ) -> None:
        steps = [name for name in names if not name.startswith(BINS)]
        bins = names[-1] if len(names) > len(steps) else None
        steps_before = None if before is None else before._steps
        bins_before = None if before is None else before._bins
        self._steps: ReusedSteps = ReusedSteps(
            steps, min(keep, len(steps)), steps_before, copied=is_seen
        )
        self._bins: ReusedBins = ReusedBins(bins, keep > len(steps), bins_before)

    @property
    def saved_s(self) -> float:
        """How much longer the fit would have taken without the one before, in seconds."""
        return self._steps.saved_s + self._bins.saved_s

    @property
    def kept_s(self) -> float:
        """How long that took, in seconds, which the next fit needn't do."""
        return self._steps.kept_s + self._bins.kept_s

    @property
    def gave_something(self) -> bool:
        """Whether the fit worked with what another one made."""
        return self._steps.gave_something or self._bins.gave_something

    @contextmanager
    def given_to(self, estimator: Any) -> Iterator[None]:
        """Let an estimator be fitted on what is known."""
        model = estimator
        if _is_pipeline(estimator):
            estimator.memory = self._steps
            model = estimator.steps[-1][1]
        try:
            with self._bins.given_to(model):
                yield
        finally:
            if _is_pipeline(estimator):
                estimator.memory = None  # as it was: a pipeline with one of its own shares nothing

    def apply_once(self, estimator: Any, X_test: Any) -> None:
        """Let the steps that fits share transform the fold's test rows once."""
        if _is_pipeline(estimator):
            self._steps.apply_once(estimator, X_test)

    def end(self) -> None:
        """Count what was saved."""
        self._steps.end()
