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
        Which split of the dataset; ``REFIT_FOLD`` for the fit on all rows.
    request : Request
        What it asks for, with one thread: the plan decides how many.
    """

    fit_id: str
    candidate: SubmittedCandidate
    fold: int
    request: Request


@dataclass(frozen=True, slots=True)
class Round:
    """A round of a search that eliminates candidates: who may run in it, and how many will.

    Attributes
    ----------
    first : int
        Index of the first of its candidates; the others follow it.
    potential : int
        How many candidates may run in it: as many in each round, in the same order.
    runs : int
        How many of them will, chosen once the round before is done.
    first_split : int
        Number of its first fold among the dataset's splits.
    resource : str
        What later rounds have more of: ``"n_samples"``, or a parameter.
    amount : int
        How much of it this one has.
    """

    first: int
    potential: int
    runs: int
    first_split: int
    resource: str
    amount: int

    @property
    def indices(self) -> range:
        """The candidates that may run in it."""
        return range(self.first, self.first + self.potential)


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
        Number of folds of each candidate.
    candidates : tuple of SubmittedCandidate
        In order; with rounds, round by round, all that may run.
    fits : tuple of Fit
        Candidate by candidate, fold by fold; without refits. With rounds, all that may run.
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
    rounds : tuple of Round
        The first one and those that follow; empty where all candidates run.
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
    rounds: tuple[Round, ...] = ()

    @property
    def has_rule(self) -> bool:
        """Whether the user's own code chooses the best candidate."""
        return bool(self.rule)

    @property
    def wants_refit(self) -> bool:
        """Whether the best candidate is fitted on all rows."""
        return bool(self.refit) or self.has_rule

    @property
    def late_rounds(self) -> int:
        """How many rounds are chosen late, the refit being one."""
        return max(0, len(self.rounds) - 1) + self.wants_refit

    @property
    def first_fits(self) -> tuple[Fit, ...]:
        """The fits that run whatever is chosen later."""
        return self.fits if not self.rounds else self.round_fits(0)

    @property
    def fits_to_run(self) -> int:
        """How many fits run in all; without the refit."""
        if not self.rounds:
            return len(self.fits)
        return self.n_splits * sum(one.runs for one in self.rounds)

    def round_fits(self, number: int) -> tuple[Fit, ...]:
        """Return all fits that may run in a round."""
        first, last = self.rounds[number].first, self.rounds[number].indices.stop
        return self.fits[first * self.n_splits : last * self.n_splits]

    def round_of(self, candidate: int) -> int:
        """Return the number of a candidate's round; 0 without rounds."""
        return candidate // self.rounds[0].potential if self.rounds else 0

    def origin(self, candidate: int) -> int:
        """Return the candidate of the first round that a candidate has come from."""
        return candidate % self.rounds[0].potential if self.rounds else candidate

    def fits_of(self, candidate: int) -> tuple[Fit, ...]:
        """Return the fits of a candidate, fold by fold."""
        return self.fits[candidate * self.n_splits : (candidate + 1) * self.n_splits]

    def fit(self, candidate: int, fold: int) -> Fit:
        """Return the fit of a candidate on one of its folds, counted from 0."""
        return self.fits[candidate * self.n_splits + fold]

    def fit_named(self, fit_id: str) -> Fit | None:
        """Return a fit by its name, also a refit; None if there is none."""
        candidate, _, fold = fit_id.removeprefix("c").partition("-")
        if not candidate.isdecimal() or int(candidate) >= len(self.candidates):
            return None
        if fold == "refit":
            return self.refit_fit(int(candidate))
        return next((fit for fit in self.fits_of(int(candidate)) if fit.fit_id == fit_id), None)

    def refit_fit(self, candidate: int) -> Fit:
        """Return the fit of a candidate on all rows."""
        any_fold = self.fit(candidate, 0)
        request = _on_all_rows(any_fold.request, self.rows, self.rows_nonzeros)
        return Fit(f"c{candidate:04d}-refit", any_fold.candidate, REFIT_FOLD, request)


def _on_all_rows(request: Request, rows: int, nonzeros: int) -> Request:
    return replace(request, rows_train=rows, rows_test=0, nonzeros=nonzeros)
