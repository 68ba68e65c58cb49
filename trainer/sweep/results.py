"""What the fits gave → scikit-learn's ``cv_results_``, the best candidate, predictions.

Not in: the result that users hold (the scheduler room), and the fits themselves.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from fitcast.errors import InvalidSweepError
from fitcast.history.records import Outcome
from fitcast.trainer.attempt.spec import Measured
from fitcast.trainer.sweep.models import nearest
from fitcast.trainer.sweep.prepared import PreparedSweep

CvResults = dict[str, Any]
Floats = npt.NDArray[np.float64]


def tabulate(prepared: PreparedSweep, measured: Mapping[str, Measured]) -> CvResults:
    """Return ``cv_results_`` with scikit-learn's keys, order and arrays.

    Parameters
    ----------
    prepared
        The sweep.
    measured
        Fit id → last attempt. What is absent or didn't succeed gets the sweep's ``error_score``.

    Returns
    -------
    dict
        Arrays with an entry per candidate; ``params`` is a list. Times are in seconds; those of
        fits that never ran are NaN.
    """
    grid = [
        [_get(prepared, measured, candidate.index, fold) for fold in range(prepared.n_splits)]
        for candidate in prepared.candidates
    ]
    results: CvResults = {}
    for key, attribute in (("fit_time", "fit_time_s"), ("score_time", "score_time_s")):
        _store(
            results,
            key,
            [[np.nan if m is None else getattr(m, attribute) for m in row] for row in grid],
        )
    params = [candidate.params for candidate in prepared.candidates]
    results.update(_param_columns(params))
    results["params"] = params
    error = float(prepared.sweep.error_score)
    for name in _names(prepared, grid):
        for kind, wanted in (("test", True), ("train", prepared.sweep.return_train_score)):
            if wanted:
                scores = [[_score(m, kind, name, error) for m in row] for row in grid]
                _store(results, f"{kind}_{name}", scores, splits=True, rank=kind == "test")
    return results


def best_candidate(prepared: PreparedSweep, cv_results: Mapping[str, Any]) -> int:
    """Return the index of the best candidate, as GridSearchCV's ``best_index_``.

    The score named by ``refit`` decides, of one scorer that one, else the first.
    """
    refit = prepared.refit
    if callable(refit):
        best = refit(cv_results)
        if not isinstance(best, int | np.integer) or not 0 <= best < len(prepared.candidates):
            raise InvalidSweepError(
                f"refit, called with cv_results_, returned {best!r}: it must return the index of a "
                f"candidate, from 0 to {len(prepared.candidates) - 1}."
            )
        return int(best)
    ranked = score_names(cv_results)
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


def out_of_fold(
    prepared: PreparedSweep, measured: Mapping[str, Measured]
) -> dict[str, npt.NDArray[Any]]:
    """Return, per candidate's label, the predictions for every row by a model that hasn't seen it.

    Rows without a prediction (their fit failed, or no fold tests them) hold NaN, None where
    predictions are no numbers. Of rows that several folds test, the last fold's counts. Candidates
    without any prediction are left out.
    """
    gathered: dict[str, npt.NDArray[Any]] = {}
    splits = prepared.content.splits
    for candidate in prepared.candidates:
        parts: list[tuple[npt.NDArray[np.intp], npt.NDArray[Any]]] = []
        for fold, (_, test) in enumerate(splits):
            attempt = _get(prepared, measured, candidate.index, fold)
            if attempt is None or attempt.outcome != Outcome.SUCCEEDED:
                continue
            given = attempt.predictions
            if given is not None and given.ndim and len(given) == len(test):
                parts.append((test, given))
        if len({part.shape[1:] for _, part in parts}) > 1:
            parts = [(test, _as_rows(part)) for test, part in parts]
        if not parts or len({part.shape[1:] for _, part in parts}) > 1:
            continue
        gathered[candidate.label] = _assemble(parts, prepared.rows)
    return gathered


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


def _get(
    prepared: PreparedSweep, measured: Mapping[str, Measured], candidate: int, fold: int
) -> Measured | None:
    return measured.get(prepared.fits[candidate * prepared.n_splits + fold].fit_id)


def _names(prepared: PreparedSweep, grid: Sequence[Sequence[Measured | None]]) -> tuple[str, ...]:
    # What a callable returns is known only once it ran: a number, or a dict of several.
    if prepared.scorer_names == ("score",) and callable(prepared.sweep.scoring):
        names = dict.fromkeys(
            name
            for row in grid
            for attempt in row
            if attempt is not None and attempt.outcome == Outcome.SUCCEEDED
            for name in attempt.scores
        )
        if names:
            return tuple(names)
    return prepared.scorer_names


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
