"""The fit itself, step for step as scikit-learn's grid search does it.

In: clone, parameters, split, fit, score, predict, within the calling process. Not in: processes,
limits and measuring (:mod:`fitcast.trainer.attempt.supervisor`), tabulating
(:mod:`fitcast.trainer.sweep.results`).
"""

import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from numbers import Number
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fitcast.errors import InvalidSweepError
from fitcast.history.records import REFIT_FOLD
from fitcast.trainer.attempt.kept_answers import answers_kept, is_seen_by_scorers
from fitcast.trainer.attempt.own_threads import give_back
from fitcast.trainer.attempt.spec import Job
from fitcast.trainer.clocks import CLOCKS
from fitcast.trainer.naming import error_name
from fitcast.trainer.reuse import ReusedWork

_CLASS_COLUMNS = {"predict_proba": 0.0, "predict_log_proba": None, "decision_function": None}
"""Methods with a column per class, and what a class unseen in training gets (None: lowest)."""

SCORING_FAILED = "Scoring failed. The score on this train-test partition is set to"
"""How the warning about a failed scorer begins; scikit-learn's begins with the same two words."""

_REAL_PART = "Casting complex values to real discards the imaginary part"
_SHOWN_CHARS = 200


class Content(Protocol):
    """What a fit needs of a dataset, as :mod:`fitcast.trainer.sweep.datasets` makes it."""

    X: Any
    y: Any
    columns: Any  # mapping: name → array with a value per row
    splits: Any  # list of (train rows, test rows)


@dataclass(slots=True)
class Split:
    """The rows of one fold, cut out; what fits of the same fold share."""

    X_train: Any
    y_train: Any
    X_test: Any = None
    y_test: Any = None
    columns: dict[str, Any] = field(default_factory=dict)  # training rows only
    test_columns: dict[str, Any] = field(default_factory=dict)  # test rows only
    classes: npt.NDArray[Any] | None = None  # all classes of a one-column target


@dataclass(slots=True, kw_only=True)
class Fitted:
    """What a fit gave."""

    fit_time_s: float
    score_time_s: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)  # "score" when there is one scorer
    train_scores: dict[str, float] = field(default_factory=dict)
    predictions: npt.NDArray[Any] | None = None  # one row per test row
    model: bytes | None = None  # cloudpickle of the fitted estimator
    model_error: str = ""  # why there is none, though it was wanted
    shared_s: float = 0.0  # what it would have taken longer without work done by another fit


def cut(content: Content, fold: int, estimator: Any = None) -> Split:
    """Cut the rows of a fold out of a dataset.

    Parameters
    ----------
    content
        The dataset.
    fold
        Number of the split; ``REFIT_FOLD`` takes all rows for training, without a copy.
    estimator
        Needed where rows and columns are cut together (precomputed kernels and distances).
    """
    from sklearn.utils import indexable
    from sklearn.utils.metaestimators import _safe_split
    from sklearn.utils.validation import _check_method_params

    X, y = indexable(content.X, content.y)
    columns = dict(content.columns or {})
    if fold == REFIT_FOLD:
        return Split(X, y, columns=columns, classes=_classes(y))
    train, test = (np.asarray(rows) for rows in content.splits[fold])
    probe = _Plain() if estimator is None else estimator
    X_train, y_train = _safe_split(probe, X, y, train)
    X_test, y_test = _safe_split(probe, X, y, test, train)
    return Split(
        X_train,
        y_train,
        X_test,
        y_test,
        columns=_check_method_params(X, params=columns, indices=train),
        test_columns=_check_method_params(X, params=columns, indices=test),
        classes=_classes(y),
    )


def fit_and_score(
    job: Job, content: Content, fold: int, *, threads: int = 1, return_model: bool = False
) -> Fitted:
    """Run one fit on a dataset in this process, as scikit-learn would.

    Parameters
    ----------
    job
        Estimator, parameters and scorer.
    content
        The whole dataset with its splits.
    fold
        Number of the split, or ``REFIT_FOLD``: fit on all rows, no scores, no predictions.
    threads
        What the parameters named in ``job.thread_params`` are set to.
    return_model
        Whether the fitted estimator is wanted.

    Returns
    -------
    Fitted
        Scores, times in seconds, out-of-fold predictions.

    Raises
    ------
    Exception
        Whatever fitting, scoring or predicting raises.
    """
    estimator = configured(job, threads)
    return fit_split(
        job, estimator, lambda: cut(content, fold, estimator), fold, return_model=return_model
    )


def configured(job: Job, threads: int) -> Any:
    """Return a clone of the job's estimator with its parameters and threads set."""
    from sklearn.base import clone

    estimator = clone(job.estimator)
    if job.params:
        # the values are cloned too: they may be estimators themselves
        estimator = estimator.set_params(**clone(job.params, safe=False))
    if job.thread_params:
        known = estimator.get_params(deep=True)
        wanted = {name: threads for name in job.thread_params if name in known}
        if wanted:
            estimator = estimator.set_params(**wanted)
    return estimator


def fit_split(
    job: Job,
    estimator: Any,
    split: Callable[[], Split],
    fold: int,
    shared: ReusedWork | None = None,
    return_model: bool = False,
) -> Fitted:
    """Fit, score and predict; ``split`` is called for the rows when the clock runs.

    With ``shared``, work that the fit before had too is taken from it.
    """
    start = CLOCKS.performance_s()
    rows = split()
    fit_params = {keyword: rows.columns[column] for keyword, column in job.fit_params}
    fit_params.update(job.extras.fit_values)
    with (
        nullcontext() if job.extras.tasks is None else _told(job, estimator, rows, fold),
        nullcontext() if shared is None else shared.given_to(estimator),
    ):
        if rows.y_train is None:
            estimator.fit(rows.X_train, **fit_params)
        else:
            estimator.fit(rows.X_train, rows.y_train, **fit_params)
    fitted = Fitted(fit_time_s=CLOCKS.performance_s() - start)
    if fold != REFIT_FOLD:
        if shared is not None and not is_seen_by_scorers(job.scorer):
            shared.apply_once(estimator, rows.X_test)
        with answers_kept(estimator, rows.X_test, job.scorer):
            _score_and_predict(job, estimator, rows, fitted)
    if shared is not None:
        shared.end()
        fitted.shared_s = shared.saved_s
    if return_model:
        _add_model(fitted, job, estimator)
    return fitted


def _told(job: Job, estimator: Any, rows: Split, fold: int) -> AbstractContextManager[None]:
    """Return what tells callbacks of a search about a fit of it."""
    assert job.extras.tasks is not None
    weights = {k: rows.columns[c] for k, c in job.fit_params if k == "sample_weight"}
    data = {"X": rows.X_train, "y": rows.y_train, "metadata": weights or None}
    return job.extras.tasks.around(estimator, job.first_task + fold, fold, data)


def _score_and_predict(job: Job, estimator: Any, rows: Split, fitted: Fitted) -> None:
    scoring_start = CLOCKS.performance_s()
    params = {keyword: rows.test_columns[column] for keyword, column in job.score_params}
    params.update(job.extras.score_values)
    fitted.scores = _scored(job, estimator, rows.X_test, rows.y_test, params)
    fitted.score_time_s = CLOCKS.performance_s() - scoring_start
    if job.return_train_score:
        params.update({keyword: rows.columns[column] for keyword, column in job.score_params})
        fitted.train_scores = _scored(job, estimator, rows.X_train, rows.y_train, params)
    if job.predict_method is not None:
        fitted.predictions = predict(estimator, job.predict_method, rows.X_test, rows.classes)


def _scored(
    job: Job, estimator: Any, X: Any, y: Any, params: Mapping[str, Any]
) -> dict[str, float]:
    """Score; in a search, a scorer that fails gives a score and a warning."""
    failed = job.extras.error_score
    if failed is None:
        return score(job.scorer, estimator, X, y, params)
    try:
        return score(job.scorer, estimator, X, y, params, failed)
    except InvalidSweepError:  # what it gave is no score
        raise
    except Exception:
        if hasattr(job.scorer, "_scorers"):
            raise  # it catches by itself what may be forgiven
        said = f"{SCORING_FAILED} {failed}. Details:\n{traceback.format_exc()}"
        warnings.warn(said, stacklevel=2)
        return {"score": failed}


def score(
    scorer: Any,
    estimator: Any,
    X: Any,
    y: Any,
    params: Mapping[str, Any] | None = None,
    failed: float = float("nan"),
) -> dict[str, float]:
    """Score as scikit-learn does; one of several scorers may fail and gives a warning then."""
    params = params or {}
    given = scorer(estimator, X, **params) if y is None else scorer(estimator, X, y, **params)
    named: Mapping[Any, Any] = given if isinstance(given, dict) else {"score": given}
    if not named:
        raise InvalidSweepError("the scorer returned an empty dict: it must return a score")
    scores: dict[str, float] = {}
    for key, value in named.items():
        name = _score_name(key)
        if name in scores:
            raise InvalidSweepError(f"the scorer named two scores {name!r}: name each once")
        if isinstance(value, str) and hasattr(scorer, "_scorers"):
            # scikit-learn hands over the traceback of one of several scorers that failed
            warnings.warn(f"{SCORING_FAILED} {failed}. Details:\n{name}: {value}", stacklevel=2)
            value = failed
        scores[name] = _score_value(name, value)
    return scores


def _score_name(key: Any) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    if isinstance(key, int | np.integer):  # named as scikit-learn would: mean_test_1
        return str(int(key))
    raise InvalidSweepError(
        f"the scorer named a score by a {type(key).__name__}: name scores by texts"
    )


def _score_value(name: str, value: Any) -> float:
    if hasattr(value, "item"):
        with suppress(ValueError):
            value = value.item()
    if isinstance(value, complex):
        # what scikit-learn's table of results makes of it, too
        warnings.warn(_REAL_PART, np.exceptions.ComplexWarning, stacklevel=2)
        value = value.real
    if isinstance(value, Number):
        try:
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidSweepError(f"scorer {name!r} gave no usable number: {error}") from error
    try:
        shown = repr(value)[:_SHOWN_CHARS]
    except Exception:
        shown = "something that can't be shown"
    raise InvalidSweepError(
        f"scorer {name!r} gave {shown} ({type(value).__name__}); scoring must return a "
        "number: change the scorer, or pass several as a dict"
    )


def predict(
    estimator: Any, method: str, X: Any, classes: npt.NDArray[Any] | None
) -> npt.NDArray[Any]:
    """Predict with the named method; columns follow all classes, also those not trained on."""
    call = getattr(estimator, method, None)
    if call is None:
        raise InvalidSweepError(
            f"{type(estimator).__name__} has no method {method!r}: choose another predict_method, "
            "or predict_method=None for no out-of-fold predictions"
        )
    given = call(X)
    kind = type(given).__name__
    if hasattr(given, "toarray"):
        given = given.toarray()
    try:
        if isinstance(given, list) and given and all(np.ndim(part) > 0 for part in given):
            rows = _rows(X)
            arrays = all(isinstance(part, np.ndarray) for part in given)
            if len(given) != rows or (arrays and len(given[0]) == rows):
                # an array per output: outputs become the second axis
                given = np.stack([np.asarray(output) for output in given], axis=1)
        predictions = np.asarray(given)
    except ValueError as error:
        if not isinstance(given, list) or len(given) != _rows(X):
            raise InvalidSweepError(f"{method} gave a {kind} that is no array: {error}") from error
        predictions = np.empty(len(given), dtype=object)  # as many values per row as it has parts
        predictions[:] = given
    if predictions.ndim == 0 or len(predictions) != _rows(X):
        what = "one value" if predictions.ndim == 0 else f"{len(predictions)} values"
        raise InvalidSweepError(
            f"{type(estimator).__name__}.{method} gave a {kind}, which is {what} for {_rows(X)} "
            "rows: return one value per row, or set predict_method=None for no predictions"
        )
    if method in _CLASS_COLUMNS and classes is not None:
        return _all_classes(predictions, estimator, method, classes)
    return predictions


def _rows(X: Any) -> int:
    from sklearn.utils.validation import _num_samples

    return int(_num_samples(X))


def _all_classes(
    predictions: npt.NDArray[Any], estimator: Any, method: str, classes: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    trained = getattr(estimator, "classes_", None)
    if trained is None or len(trained) == len(classes) or predictions.ndim != 2:
        return predictions
    if predictions.shape[1] != len(trained):
        return predictions
    default = _CLASS_COLUMNS[method]
    if default is None:
        default = float(np.finfo(predictions.dtype).min)
    full = np.full((len(predictions), len(classes)), default, dtype=predictions.dtype)
    full[:, np.searchsorted(classes, np.asarray(trained))] = predictions
    return full


def _classes(y: Any) -> npt.NDArray[Any] | None:
    if y is None or getattr(y, "ndim", 2 if hasattr(y, "shape") else 1) != 1:
        return None
    from sklearn.utils.multiclass import type_of_target

    try:
        if type_of_target(y) not in ("binary", "multiclass"):
            return None
        return np.unique(np.asarray(y))
    except (TypeError, ValueError):  # exotic targets: the columns stay as predicted
        return None


def _add_model(fitted: Fitted, job: Job, estimator: Any) -> None:
    import cloudpickle

    try:
        if job.thread_params:
            # the model goes back with the threads its user asked for, not with the plan's
            wanted = job.estimator.get_params(deep=True)
            give_back(estimator, {n: wanted[n] for n in job.thread_params if n in wanted})
        fitted.model = cloudpickle.dumps(estimator, protocol=5)
    except MemoryError:
        raise
    except Exception as error:  # it holds a lock, a connection, a generator: that is no failed fit
        fitted.model_error = f"{error_name(error)}: {error}"[:_SHOWN_CHARS]


def _plain_base() -> type:
    from sklearn.base import BaseEstimator

    return BaseEstimator  # type: ignore[no-any-return]


class _Plain:
    """Stands for any estimator that takes rows as they are, where only the split is wanted."""

    def __sklearn_tags__(self) -> Any:
        return _plain_base()().__sklearn_tags__()
