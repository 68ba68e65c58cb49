"""What the fits gave → scikit-learn's ``cv_results_``, the best candidate, predictions.

Not in: the result that users hold (the scheduler room), and the fits themselves.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from fitcast.errors import InvalidSweepError
from fitcast.history.records import Outcome
from fitcast.trainer.attempt.spec import Measured
from fitcast.trainer.sweep.spelling import nearest
from fitcast.trainer.sweep.submission import Submission

CvResults = dict[str, Any]
Columns: TypeAlias = tuple[CvResults, CvResults]
"""Of ``cv_results_``, what is numbers: times, then scores and ranks."""

Floats = npt.NDArray[np.float64]


def tabulate(
    submission: Submission,
    measured: Mapping[str, Measured],
    params: Sequence[dict[str, Any]],
    candidates: Sequence[int] | None = None,
) -> CvResults:
    """Return ``cv_results_`` with scikit-learn's keys, order and arrays.

    Parameters
    ----------
    submission
        The sweep.
    measured
        Fit id → last attempt. What is absent or didn't succeed gets the sweep's ``error_score``.
    params
        The grid's setting of each candidate.
    candidates
        Which ones, in this order; by default all.

    Returns
    -------
    dict
        Arrays with an entry per candidate; ``params`` is a list. Times are in seconds; those of
        fits that never ran are NaN.
    """
    if candidates is None:
        return cv_results(columns(submission, measured), params)
    some = [params[index] for index in candidates]
    return cv_results(columns(submission, measured, candidates), some)


def cv_results(measured: Columns, params: Sequence[dict[str, Any]]) -> CvResults:
    """Return ``cv_results_`` of what was measured and the grid's setting of each candidate."""
    times, scores = measured
    return {**times, **_param_columns(params), "params": list(params), **scores}


def scored(submission: Submission, measured: Mapping[str, Measured]) -> CvResults:
    """Return what of ``cv_results_`` is numbers: times, scores and ranks."""
    times, scores = columns(submission, measured)
    return {**times, **scores}


def columns(
    submission: Submission,
    measured: Mapping[str, Measured],
    candidates: Sequence[int] | None = None,
) -> Columns:
    """Return times, and scores with their ranks; see `tabulate`."""
    which = range(len(submission.candidates)) if candidates is None else candidates
    grid = [[measured.get(fit.fit_id) for fit in submission.fits_of(index)] for index in which]
    times: CvResults = {}
    results: CvResults = {}
    for key, attribute in (("fit_time", "fit_time_s"), ("score_time", "score_time_s")):
        _store(
            times,
            key,
            [[np.nan if m is None else getattr(m, attribute) for m in row] for row in grid],
        )
    error = submission.error_score
    for name in _names(submission, grid):
        for kind, wanted in (("test", True), ("train", submission.return_train_score)):
            if wanted:
                scores = [[_score(m, kind, name, error) for m in row] for row in grid]
                _store(results, f"{kind}_{name}", scores, splits=True, rank=kind == "test")
    return times, results


def best_candidate(refit: Any, cv_results: Mapping[str, Any]) -> int:
    """Return the index of the best candidate, as GridSearchCV's ``best_index_``.

    Parameters
    ----------
    refit
        As the sweep has it. The score that it names decides, of one scorer that one, else the
        first; a callable is asked.
    cv_results
        As scikit-learn's.
    """
    ranked = score_names(cv_results)
    candidates = len(cv_results[f"rank_test_{ranked[0]}"])
    if callable(refit):
        best = refit(cv_results)
        if not isinstance(best, int | np.integer) or not 0 <= best < candidates:
            raise InvalidSweepError(
                f"refit, called with cv_results_, returned {best!r}: it must return the index of a "
                f"candidate, from 0 to {candidates - 1}."
            )
        return int(best)
    name = ranked[0]
    if isinstance(refit, str) and ranked != ["score"]:
        if refit not in ranked:
            raise InvalidSweepError(
                f"refit={refit!r} is none of the scores {', '.join(map(repr, ranked))}"
                f"{nearest(refit, ranked)}"
            )
        name = refit
    return int(np.argmin(cv_results[f"rank_test_{name}"]))


def score_names(cv_results: Mapping[str, Any]) -> list[str]:
    """Return the names of the scores: what a callable returned is known from its fits only."""
    return [key.removeprefix("rank_test_") for key in cv_results if key.startswith("rank_test_")]


class Predicted(Protocol):
    """What a fit predicted, wherever it is."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array, without opening it."""

    def load(self) -> npt.NDArray[Any]:
        """Return the array."""


class OutOfFold(Mapping[str, npt.NDArray[Any]]):
    """Per candidate's label, the predictions for every row by a model that hasn't seen it.

    Rows without a prediction (their fit failed, or no fold tests them) hold NaN, None where
    predictions are no numbers. Of rows that several folds test, the last fold's counts. Candidates
    without any prediction are left out. Each is put together when it is asked for, and not kept.

    Parameters
    ----------
    submission
        The sweep.
    test_rows
        The rows that each fold tests.
    predicted
        Returns what a fit predicted by its id; None if it didn't.
    """

    def __init__(
        self,
        submission: Submission,
        test_rows: Sequence[npt.NDArray[np.intp]],
        predicted: Callable[[str], Predicted | None],
    ) -> None:
        self._rows = submission.rows
        self._parts: dict[str, list[tuple[npt.NDArray[np.intp], Predicted]]] = {}
        for candidate in submission.candidates:
            parts = []
            for fit in submission.fits_of(candidate.index):
                test = test_rows[fit.fold]
                given = predicted(fit.fit_id)
                if given is not None and given.shape and given.shape[0] == len(test):
                    parts.append((test, given))
            if parts and (len({p.shape[1:] for _, p in parts}) == 1 or _are_lists(parts)):
                self._parts[candidate.label] = parts

    def __getitem__(self, label: str) -> npt.NDArray[Any]:
        parts = [(test, given.load()) for test, given in self._parts[label]]
        if len({part.shape[1:] for _, part in parts}) > 1:
            parts = [(test, _as_rows(part)) for test, part in parts]
        return _assemble(parts, self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __repr__(self) -> str:
        return f"OutOfFold({list(self._parts)!r})"


def _are_lists(parts: Sequence[tuple[Any, Predicted]]) -> bool:
    """Tell whether folds whose shapes differ hold label lists, of one object per row."""
    return len({_as_rows(given.load()).shape[1:] for _, given in parts}) == 1


def _as_rows(predictions: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return label lists, which happened to be equally long in one fold, as one object per row."""
    if predictions.ndim != 2 or predictions.dtype.kind not in "OUS":
        return predictions
    rows = np.empty(len(predictions), dtype=object)
    rows[:] = predictions.tolist()
    return rows


def _assemble(
    parts: Sequence[tuple[npt.NDArray[np.intp], npt.NDArray[Any]]], rows: int
) -> npt.NDArray[Any]:
    try:
        dtype = np.result_type(*(part.dtype for _, part in parts))
    except TypeError:  # numbers in one fold, times in another
        dtype = np.dtype(object)
    seen = np.zeros(rows, dtype=bool)
    for test, _ in parts:
        seen[test] = True
    fill: Any = 0
    if not seen.all():
        if dtype.kind in "biu":
            dtype = np.dtype(np.float64)
        elif dtype.kind not in "fc":
            dtype = np.dtype(object)
        fill = np.nan if dtype.kind in "fc" else None
    whole = np.full((rows, *parts[0][1].shape[1:]), fill, dtype=dtype)
    for test, part in parts:
        whole[test] = part
    return whole


def _names(submission: Submission, grid: Sequence[Sequence[Measured | None]]) -> tuple[str, ...]:
    # What a callable returns is known only once it ran: a number, or a dict of several.
    if submission.names_from_fits:
        names = dict.fromkeys(
            name
            for row in grid
            for attempt in row
            if attempt is not None and attempt.outcome == Outcome.SUCCEEDED
            for name in attempt.scores
        )
        if names:
            return tuple(names)
    return submission.scorer_names


def _score(attempt: Measured | None, kind: str, name: str, error: float) -> float:
    if attempt is None or attempt.outcome != Outcome.SUCCEEDED:
        return error
    scores = attempt.scores if kind == "test" else attempt.train_scores
    return float(scores.get(name, error))


def _store(
    results: CvResults,
    key: str,
    values: Sequence[Sequence[float]],
    *,
    splits: bool = False,
    rank: bool = False,
) -> None:
    array = np.array(values, dtype=np.float64)
    if splits:
        for fold in range(array.shape[1]):
            results[f"split{fold}_{key}"] = array[:, fold]
    with np.errstate(invalid="ignore"):
        means = np.average(array, axis=1)
        results[f"mean_{key}"] = means
        results[f"std_{key}"] = np.sqrt(np.average((array - means[:, np.newaxis]) ** 2, axis=1))
    if rank:
        results[f"rank_{key}"] = _ranks(means)


def _ranks(means: Floats) -> npt.NDArray[np.int32]:
    """Rank as scikit-learn does: candidates without a mean share the last place."""
    if np.isnan(means).all():
        return np.ones_like(means, dtype=np.int32)
    # Infinities as nan_to_num has them, so that ties fall alike.
    filled = np.nan_to_num(means, nan=np.nanmin(means) - 1)
    from scipy.stats import rankdata  # half a second that only looking at workflows does without

    ranks: npt.NDArray[np.int32] = rankdata(-filled, method="min").astype(np.int32)
    return ranks


def _param_columns(params: Sequence[Mapping[str, Any]]) -> CvResults:
    """Return a masked array per hyper-parameter; masked where a candidate doesn't have it."""
    columns: dict[str, dict[int, Any]] = {}
    for index, setting in enumerate(params):
        for name, value in setting.items():
            columns.setdefault(f"param_{name}", {})[index] = value
    arrays: CvResults = {}
    for key, column in columns.items():
        dtype = _dtype(list(column.values()))
        array = np.ma.MaskedArray(np.empty(len(params), dtype=dtype), mask=True)
        for index, value in column.items():
            array[index] = value
        arrays[key] = array
    return arrays


def _dtype(values: list[Any]) -> np.dtype[Any]:
    try:
        array = np.array(values)
    except Exception:  # sequences of different lengths, or objects that can't be looked at
        return np.dtype(object)
    return array.dtype if array.dtype.kind != "U" and array.ndim == 1 else np.dtype(object)
