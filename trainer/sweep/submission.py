"""A prepared sweep as plain data: all that planning, dispatching and keeping results need.

In: what a submission says, and what of it follows from the rest. Not in: its form on disk
(:mod:`fitcast.trainer.sweep.submission_file`), the user's objects that its fits run on
(:mod:`fitcast.trainer.sweep.prepared`), which nothing that works with a submission ever opens.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fitcast.history.records import REFIT_FOLD, ParamValue, Request


@dataclass(frozen=True, slots=True, eq=False)
class SubmittedCandidate:
    """One model with one setting of hyper-parameters, as anyone may read of it.

    Attributes
    ----------
    index : int
        Its place in the sweep.
    label : str
        Unique in its sweep, such as ``"xgb max_depth=3"``.
    model : str
        The model's name in the sweep.
    algorithm : str
        Import path of the class that does the work.
    params : mapping
        Hyper-parameters, flattened to plain values.
    """

    index: int
    label: str
    model: str
    algorithm: str
    params: Mapping[str, ParamValue]


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """One candidate on one split: the unit that is sized, placed, measured and retried.

    Attributes
    ----------
    fit_id : str
        ``"c0007-f3"``; ``"c0007-refit"`` for the fit on all rows.
    candidate : SubmittedCandidate
        Which candidate.
    fold : int
        Which split; ``REFIT_FOLD`` for the fit on all rows.
    request : Request
        What it asks for, with one thread: the plan decides how many.
    """

    fit_id: str
    candidate: SubmittedCandidate
    fold: int
    request: Request


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Submission:
    """A sweep that was found good, as plain data.

    Attributes
    ----------
    name : str
        What the workflow is called.
    digest : str
        Equal for sweeps that would do the very same: data, jobs, splits and settings.
    dataset : str
        Fingerprint of the dataset's shape and content.
    dataset_bytes : int
        Of all that a worker holds: X, y, columns, splits, attachments.
    rows : int
        Of the dataset.
    rows_nonzeros : int
        Of X in all rows, for the refit's request.
    n_splits : int
        Number of folds.
    candidates : tuple of SubmittedCandidate
        In order.
    fits : tuple of Fit
        Candidate by candidate, fold by fold; without refits.
    scorer_names : tuple of str
        ``("score",)`` for a single scorer.
    names_from_fits : bool
        Whether a callable may give scores of other names, known once it ran.
    refit : bool or str
        Whether the best candidate is fitted on all rows; the score that decides, if it was named.
    rule : str
        What the user's own code that chooses the best candidate is called; empty without one.
    return_train_score : bool
        Whether there are scores on training rows.
    error_score : float
        Score of a fit that failed.
    deadline_s : float or None
        Seconds that an attempt may take at most.
    memory_bytes : int or None
        Bytes that a fit may take at most.
    work_names : mapping
        Names of the work that a fit begins with, by candidate: equal names, equal work.
    is_weighted : bool
        Whether fits have sample weights, with which steps may be made.
    """

    name: str
    digest: str
    dataset: str
    dataset_bytes: int
    rows: int
    rows_nonzeros: int
    n_splits: int
    candidates: tuple[SubmittedCandidate, ...]
    fits: tuple[Fit, ...] = field(repr=False)
    scorer_names: tuple[str, ...]
    names_from_fits: bool
    refit: bool | str
    rule: str
    return_train_score: bool
    error_score: float
    deadline_s: float | None
    memory_bytes: int | None
    work_names: Mapping[int, list[str]] = field(repr=False)
    is_weighted: bool

    @property
    def has_rule(self) -> bool:
        """Whether the user's own code chooses the best candidate."""
        return bool(self.rule)

    def fit(self, candidate: int, fold: int) -> Fit:
        """Return the fit of a candidate on a fold."""
        return self.fits[candidate * self.n_splits + fold]

    def refit_fit(self, candidate: int) -> Fit:
        """Return the fit of a candidate on all rows."""
        any_fold = self.fit(candidate, 0)
        request = _on_all_rows(any_fold.request, self.rows, self.rows_nonzeros)
        return Fit(f"c{candidate:04d}-refit", any_fold.candidate, REFIT_FOLD, request)


def _on_all_rows(request: Request, rows: int, nonzeros: int) -> Request:
    return replace(request, rows_train=rows, rows_test=0, nonzeros=nonzeros)
