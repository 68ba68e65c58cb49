"""Bad input, refused before anything starts, with what to do about it.

In: settings, data as such. Not in: grids and estimators as such
(:mod:`fitcast.trainer.sweep.models`), ``cv`` (:mod:`fitcast.trainer.sweep.splits`), ``scoring``
(:mod:`fitcast.trainer.sweep.scorers`), whether estimators can take that data
(:mod:`fitcast.trainer.sweep.fitness`).
"""

import math
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fitcast.errors import InvalidDataError, InvalidSweepError
from fitcast.trainer.sweep.containers import Look, look
from fitcast.trainer.sweep.kinds import is_classifier, is_regressor, lacks, tags_of
from fitcast.trainer.sweep.models import Candidate, class_name, params_estimator
from fitcast.trainer.sweep.spelling import check_spelling

if TYPE_CHECKING:
    from fitcast.trainer.sweep.prepared import Sweep


def check_settings(sweep: "Sweep") -> None:
    """Refuse settings that mean nothing, before any data is read."""
    if sweep.name is not None and (not isinstance(sweep.name, str) or not sweep.name.strip()):
        raise InvalidSweepError(f"name must be a non-empty string, not {sweep.name!r}.")
    if sweep.predict_method is not None and not isinstance(sweep.predict_method, str):
        raise InvalidSweepError(
            f'predict_method must be a method\'s name such as "predict_proba", or None, not '
            f"{sweep.predict_method!r}."
        )
    if not _is_number(sweep.error_score):
        raise InvalidSweepError(
            f"error_score must be a number (the score of a failed fit), not {sweep.error_score!r}."
        )
    for name, unit, least in (("deadline_s", "seconds", 0.0), ("memory_bytes", "bytes", 2**20 - 1)):
        value = getattr(sweep, name)
        if value is None:
            continue
        if not _is_number(value) or not math.isfinite(value):
            raise InvalidSweepError(f"{name} must be a number of {unit}, not {value!r}.")
        if value <= least:
            raise InvalidSweepError(
                f"{name}={value!r} is too small for any fit; it is a number of {unit}."
            )


def configure(candidate: Candidate) -> Any:
    """Return a candidate's estimator with its parameters set; refuse names that don't exist."""
    if candidate.params:
        check_spelling(candidate.estimator, candidate.params)
        configured = params_estimator(candidate.estimator, candidate.params)
    else:
        configured = candidate.configured()
    _check_tags(candidate, configured)
    return configured


def check_kinds(candidates: Sequence[Candidate], cv: Any) -> None:
    """Refuse sweeps whose models can't share one cross-validation.

    As in ``GridSearchCV`` the estimator counts that a grid is for, not what the grid makes of it.
    """
    classifiers = [c for c in candidates if is_classifier(c.estimator)]
    regressors = [c for c in candidates if is_regressor(c.estimator)]
    if classifiers and regressors:
        raise InvalidSweepError(
            f"The sweep mixes classifiers ({classifiers[0].label!r}) and regressors "
            f"({regressors[0].label!r}), which share neither splits nor scores. Make two sweeps."
        )
    others = len(candidates) - len(classifiers)
    if classifiers and others and not hasattr(cv, "split") and (cv is None or np.ndim(cv) == 0):
        other = next(c for c in candidates if c not in classifiers)
        raise InvalidSweepError(
            f"{other.label!r} isn't known to be a classifier, others are, so cv={cv!r} would mean "
            "different splits. Give a splitter, as in cv=StratifiedKFold(5), or make two sweeps."
        )


def check_data(X: Look, y: Look, *, from_file: bool) -> int:
    """Refuse data without rows, or of different lengths; return the number of rows."""
    where = "the file" if from_file else "X"
    if X.rows == 0:
        raise InvalidDataError(f"There are no rows in {where}. Give at least one per fold.")
    if from_file and 0 in X.given.shape[1:]:
        raise InvalidDataError(
            "There are no columns besides the target. Give at least one to learn from."
        )
    if y.given is not None:
        _check_length("y", y, X.rows)
    return X.rows


def check_weights(weights: Any, rows: int) -> npt.NDArray[Any] | None:
    """Refuse sample weights that no fit can use; return them as an array."""
    if weights is None:
        return None
    try:
        array = np.asarray(weights)
        if array.dtype == object:
            array = array.astype(float)
    except (TypeError, ValueError) as error:
        raise InvalidDataError(f"sample_weight must be numbers, one per row: {error}.") from error
    if array.ndim != 1 or array.dtype.kind not in "biuf":
        raise InvalidDataError(
            f"sample_weight must be one number per row, not an array of shape {array.shape} and "
            f"type {array.dtype}."
        )
    _check_length("sample_weight", look(array), rows)
    if not np.isfinite(array).all():
        raise InvalidDataError(
            f"sample_weight holds NaN or infinity, first in row "
            f"{int(np.flatnonzero(~np.isfinite(array))[0])}. Give every row a number; 0 leaves it "
            "out."
        )
    if not array.any():
        raise InvalidDataError("sample_weight is 0 for every row. Give some row a weight.")
    return array


def check_groups(groups: Any, rows: int) -> Any:
    """Refuse groups of another length than X."""
    if groups is None:
        return None
    array = groups if hasattr(groups, "shape") else np.asarray(groups)
    _check_length("groups", look(array), rows)
    return array


def check_methods(
    candidates: Sequence[Candidate], configured: Sequence[Any], predict_method: str | None
) -> None:
    """Refuse estimators without the method that predictions are asked of."""
    if predict_method in (None, "predict"):
        return
    for candidate, estimator in zip(candidates, configured, strict=True):
        if lacks(estimator, str(predict_method)):
            raise InvalidSweepError(
                f"Candidate {candidate.label!r}: {class_name(estimator)} has no {predict_method} "
                "with these hyper-parameters. Choose another predict_method, or None for no "
                "predictions."
            )


def _check_tags(candidate: Candidate, configured: Any) -> None:
    # Without tags scikit-learn neither cuts the rows of a fold nor scores, so every fit would fail.
    if tags_of(configured) is None:
        raise InvalidSweepError(
            f"Candidate {candidate.label!r}: scikit-learn can't ask {type(configured).__name__} "
            "what it is (it has no __sklearn_tags__). Derive the class from "
            "sklearn.base.BaseEstimator, after ClassifierMixin or RegressorMixin."
        )


def _check_length(what: str, values: Look, rows: int) -> None:
    try:
        length = values.rows
    except TypeError:  # a single value
        length = 0
    if length != rows:
        raise InvalidDataError(
            f"X has {rows} rows, but {what} has {length}. Give {what} one value per row of X."
        )


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
