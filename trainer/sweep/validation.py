"""Bad input, refused before anything starts, with what to do about it.

In: settings, data, and whether each candidate's estimator can take that data. Not in: grids and
estimators as such (:mod:`fitcast.trainer.sweep.models`), ``cv``
(:mod:`fitcast.trainer.sweep.splits`), ``scoring`` (:mod:`fitcast.trainer.sweep.scorers`), missing
and infinite values (:mod:`fitcast.trainer.sweep.missing`).
"""

import math
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fitcast.errors import InvalidDataError, InvalidSweepError
from fitcast.trainer.naming import public_path
from fitcast.trainer.sweep.jobs import takes_weights, weight_keyword
from fitcast.trainer.sweep.kinds import is_classifier, is_regressor, lacks, tags_of
from fitcast.trainer.sweep.missing import check_target_values, check_values, is_missing
from fitcast.trainer.sweep.models import (
    Candidate,
    check_spelling,
    class_name,
    final_estimator,
    params_estimator,
)
from fitcast.trainer.sweep.requests import Shape, target_of
from fitcast.trainer.sweep.scorers import response_methods, score_functions
from fitcast.trainer.sweep.splits import Splits

if TYPE_CHECKING:
    from fitcast.trainer.sweep.prepared import Sweep

_NEEDS_BOTH_CLASSES = frozenset({"roc_auc_score"})


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


def check_kinds(candidates: Sequence[Candidate], configured: Sequence[Any], cv: Any) -> None:
    """Refuse sweeps whose models can't share one cross-validation."""
    classifiers = [c for c, e in zip(candidates, configured, strict=True) if is_classifier(e)]
    regressors = [c for c, e in zip(candidates, configured, strict=True) if is_regressor(e)]
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


def check_data(X: Any, y: Any, *, from_file: bool) -> int:
    """Refuse data without rows or columns, or of different lengths; return the number of rows."""
    where = "the file" if from_file else "X"
    shape = tuple(getattr(X, "shape", ()))
    if not shape:
        raise InvalidDataError(
            f"X must have rows, but it is a single value ({type(X).__name__}). "
            "Give an array, a frame or a sparse matrix."
        )
    if shape[0] == 0:
        raise InvalidDataError(f"There are no rows in {where}. Give at least one per fold.")
    if len(shape) > 1 and 0 in shape[1:]:
        what = "besides the target" if from_file else "in X"
        raise InvalidDataError(f"There are no columns {what}. Give at least one to learn from.")
    if y is not None:
        _check_length("y", y, shape[0])
        check_target_values(y)
    return int(shape[0])


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
    _check_length("sample_weight", array, rows)
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
    """Refuse groups of another length than X, or with holes."""
    if groups is None:
        return None
    array = groups if hasattr(groups, "shape") else np.asarray(groups)
    _check_length("groups", array, rows)
    missing = is_missing(array)
    if missing.any():
        raise InvalidDataError(
            f"groups has no value in row {int(np.flatnonzero(missing)[0])}. Give every row a group."
        )
    return array


def check_fitness(
    candidates: Sequence[Candidate],
    configured: Sequence[Any],
    scorers: Sequence[Any],
    X: Any,
    y: Any,
    shape: Shape,
    *,
    weighted: bool,
    sweep: "Sweep",
) -> None:
    """Refuse candidates whose estimator can't take this data, or can't be scored as asked."""
    check_values(candidates, configured, X)
    for candidate, estimator, scorer in zip(candidates, configured, scorers, strict=True):
        _check_dimensions(candidate, estimator, X)
        _check_target(candidate, estimator, y, shape, from_file=sweep.data is not None)
        if weighted and not takes_weights(estimator):
            raise InvalidSweepError(
                f"Candidate {candidate.label!r}: {class_name(estimator)} takes no sample weights "
                f"({weight_keyword(estimator)} is no argument of its fit). Leave sample_weight "
                "out, or that model."
            )
        _check_methods(candidate, estimator, scorer, sweep.predict_method)


def check_folds(
    candidates: Sequence[Candidate],
    configured: Sequence[Any],
    scorers: Sequence[Any],
    y: Any,
    splits: Splits,
    shape: Shape,
) -> None:
    """Refuse folds in which a classifier finds one class, or a score is undefined."""
    targets = [target_of(estimator, shape) for estimator in configured]
    discrete = [
        candidate
        for candidate, estimator, target in zip(candidates, configured, targets, strict=True)
        if is_classifier(estimator) and target in ("binary", "multiclass")
    ]
    if not discrete:
        return
    classes, codes = np.unique(np.asarray(y).ravel(), return_inverse=True)
    if len(classes) == 1:
        raise InvalidDataError(
            f"y holds one class only ({classes.tolist()[0]!r}), so {discrete[0].label!r} has "
            "nothing to tell apart. Give rows of at least two classes."
        )
    both_needed = any(_NEEDS_BOTH_CLASSES & set(score_functions(scorer)) for scorer in scorers)
    for fold, (train, test) in enumerate(splits):
        for which, rows, needed in (("training", train, True), ("test", test, both_needed)):
            chosen = codes[rows]
            if needed and (chosen == chosen[0]).all():
                why = (
                    "a classifier has nothing to tell apart there"
                    if which == "training"
                    else "ROC AUC isn't defined there"
                )
                raise InvalidSweepError(
                    f"Fold {fold} has only class {classes.tolist()[chosen[0]]!r} in its "
                    f"{len(rows)} {which} rows: {why}. Shuffle and stratify, as in "
                    "cv=StratifiedKFold(5, shuffle=True, random_state=0), or use fewer folds."
                )


def _check_tags(candidate: Candidate, configured: Any) -> None:
    # Without tags scikit-learn neither cuts the rows of a fold nor scores, so every fit would fail.
    if tags_of(configured) is None:
        raise InvalidSweepError(
            f"Candidate {candidate.label!r}: scikit-learn can't ask {type(configured).__name__} "
            "what it is (it has no __sklearn_tags__). Derive the class from "
            "sklearn.base.BaseEstimator, after ClassifierMixin or RegressorMixin."
        )


def _check_length(what: str, values: Any, rows: int) -> None:
    shape = tuple(getattr(values, "shape", np.shape(values)))
    length = shape[0] if shape else 0
    if length != rows:
        raise InvalidDataError(
            f"X has {rows} rows, but {what} has {length}. Give {what} one value per row of X."
        )


def _check_dimensions(candidate: Candidate, estimator: Any, X: Any) -> None:
    if X.ndim != 1 or np.asarray(X).dtype.kind not in "biufc":
        return
    tags = tags_of(estimator)
    if tags is not None and not tags.input_tags.one_d_array:
        raise InvalidDataError(
            f"X has one dimension, but {candidate.label!r} takes rows and columns. For a single "
            "column, give X.reshape(-1, 1); for a series, series.to_frame()."
        )


def _check_target(
    candidate: Candidate, estimator: Any, y: Any, shape: Shape, *, from_file: bool
) -> None:
    if y is None:
        tags = tags_of(estimator)
        if tags is not None and tags.target_tags.required:
            what = "say which column it is: target='name'" if from_file else "give y"
            raise InvalidDataError(f"{candidate.label!r} learns from a target; {what}.")
        return
    if shape.target_type == "unknown":
        raise InvalidDataError(
            "y can't be read as classes or numbers: its values are of mixed or unusual types. "
            "Convert it, as in y.astype(str) for classes or y.astype(float) for numbers."
        )
    if is_classifier(estimator):
        if shape.target_type.startswith("continuous"):
            raise InvalidDataError(
                f"{candidate.label!r} is a classifier, but y holds fractions, such as "
                f"{_first_fraction(y)!r}. Use a regressor, or turn y into classes."
            )
        _check_encoded(candidate, estimator, y)
    elif is_regressor(estimator) and _is_text(y):
        raise InvalidDataError(
            f"{candidate.label!r} is a regressor, but y holds text. Use a classifier, or turn y "
            "into numbers."
        )


def _check_encoded(candidate: Candidate, estimator: Any, y: Any) -> None:
    final = final_estimator(estimator)
    if not public_path(final).startswith("xgboost.") or np.ndim(y) != 1:
        return
    classes = np.unique(np.asarray(y))
    if classes.dtype.kind in "biuf" and (classes == np.arange(len(classes))).all():
        return
    raise InvalidDataError(
        f"{candidate.label!r}: {type(final).__name__} takes classes numbered from 0, but y holds "
        f"{', '.join(map(repr, classes.tolist()[:4]))}{', …' if len(classes) > 4 else ''}. Give "
        "LabelEncoder().fit_transform(y)."
    )


def _check_methods(
    candidate: Candidate, estimator: Any, scorer: Any, predict_method: str | None
) -> None:
    if predict_method not in (None, "predict") and lacks(estimator, str(predict_method)):
        raise InvalidSweepError(
            f"Candidate {candidate.label!r}: {class_name(estimator)} has no {predict_method} with "
            "these hyper-parameters. Choose another predict_method, or None for no predictions."
        )
    # Only of what calls itself a classifier is it known how scikit-learn's scorers ask it.
    if not is_classifier(estimator):
        return
    for methods in response_methods(scorer):
        if methods and all(lacks(estimator, method) for method in methods):
            raise InvalidSweepError(
                f"Candidate {candidate.label!r}: the scoring needs {' or '.join(methods)}, which "
                f"{class_name(estimator)} doesn't have with these hyper-parameters. Choose "
                "another scoring, or set what gives it (for SVC, probability=True)."
            )


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_text(y: Any) -> bool:
    values = np.asarray(y)
    if values.dtype.kind in "US":
        return True
    return values.dtype == object and any(isinstance(v, str) for v in values.ravel()[:1000])


def _first_fraction(y: Any) -> float:
    values = np.asarray(y, dtype=float).ravel()
    fractions = values[values != np.floor(values)]
    return float(fractions[0] if len(fractions) else values[0])
