"""Candidate × split × dataset → request: what a fit asks for, known before it runs.

In: describing the dataset's shape, the target and the hyper-parameters as plain values. Not in:
what the request will cost (the sizing room).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.utils.multiclass import type_of_target

from fitcast.history.parts import EstimatorPart
from fitcast.history.records import ParamValue, Request
from fitcast.trainer.naming import public_path
from fitcast.trainer.sweep.containers import Look, look
from fitcast.trainer.sweep.contents import Contents, contents_of
from fitcast.trainer.sweep.kinds import is_classifier, is_regressor
from fitcast.trainer.sweep.models import algorithm_of, bases_of, library_version, steps_of
from fitcast.trainer.sweep.values import MAX_PARAM_LENGTH, kind_of, plain

MAX_PARAMS = 200
_MOST_NESTED = 40  # values of one hyper-parameter
_MOST_DEPTH = 4
_OF_ESTIMATORS = frozenset({"steps", "transformers", "estimators", "transformer_list"})
_SAMPLED_ROWS = 16  # whose columns' types are those of all


@dataclass(frozen=True, eq=False)
class Shape:
    """A dataset as requests describe it."""

    rows: int
    columns: int
    row_nonzeros: npt.NDArray[np.int64] | None  # per row; None unless sparse
    data_bytes: int
    dtype: str
    target_type: str  # scikit-learn's type_of_target, or "none"
    classes: int  # distinct values of a discrete target, else 0
    contents: Contents
    sample: Any = None  # some rows of a table, whatever they hold
    targets: int = 1  # columns of the target
    memory_order: str = ""  # "C" or "F" of an array, "" of anything else


def shape_of(X: Any, y: Any) -> Shape:
    """Describe a dataset, or what was seen of it."""
    X, y = look(X), look(y)
    target_type, classes = _target(y)
    matrix = X.plain
    return Shape(
        rows=X.rows,
        columns=X.columns,
        row_nonzeros=np.diff(matrix.indptr).astype(np.int64) if sp.issparse(matrix) else None,
        data_bytes=X.data_bytes + y.data_bytes,
        dtype=_dtype(X),
        target_type=target_type,
        classes=classes,
        contents=contents_of(X),
        sample=_sample(X),
        targets=1 if y.given is None else y.columns,
        memory_order=_memory_order(matrix),
    )


def request_for(
    configured: Any,
    params: Mapping[str, ParamValue],
    shape: Shape,
    train: npt.NDArray[np.intp],
    test: npt.NDArray[np.intp],
    made_of: EstimatorPart | None = None,
) -> Request:
    """Return the request of a candidate's fit on one fold.

    Parameters
    ----------
    configured
        The estimator with the candidate's hyper-parameters set.
    params
        What :func:`plain_params` made of it, shared by the folds.
    shape
        The dataset's.
    train, test
        Row numbers of the fold.
    made_of
        The estimator as a tree (:class:`~fitcast.trainer.sweep.parts.PartsReader`), shared by the
        folds.
    """
    if shape.row_nonzeros is None:
        nonzeros = len(train) * shape.columns
    else:
        nonzeros = int(shape.row_nonzeros[train].sum())
    target = target_of(configured, shape)
    return Request(
        algorithm=algorithm_of(configured),
        steps=tuple(public_path(step) for step in steps_of(configured)),
        params=params,
        rows_train=len(train),
        rows_test=len(test),
        columns=shape.columns,
        nonzeros=nonzeros,
        data_bytes=shape.data_bytes,
        dtype=shape.dtype,
        target=target,
        classes=shape.classes if target in ("binary", "multiclass") else 0,
        threads=1,
        distinct_values=shape.contents.distinct_values,
        categorical_columns=shape.contents.categorical_columns,
        missing_share=shape.contents.missing_share,
        scale_decades=shape.contents.scale_decades,
        condition_decades=shape.contents.condition_decades,
        correlation_decades=shape.contents.correlation_decades,
        bases=bases_of(configured),
        library_version=library_version(configured),
        made_of=made_of,
        targets=shape.targets,
        memory_order=shape.memory_order,
        integer_columns=shape.contents.integer_columns,
        arrow_columns=shape.contents.arrow_columns,
        text_columns=shape.contents.text_columns,
        text_chars=shape.contents.text_chars,
        text_words=shape.contents.text_words,
    )


def target_of(configured: Any, shape: Shape) -> str:
    """Return the request's word for what an estimator makes of the target."""
    kind = shape.target_type
    if kind == "none":
        return "none"
    if kind.startswith("multilabel") or kind.endswith("multioutput"):
        return "multioutput"
    if kind == "continuous" or is_regressor(configured):
        return "regression"
    if kind == "binary" or (kind == "multiclass" and is_classifier(configured)):
        return kind
    return "multiclass" if kind == "multiclass" else "regression"


def plain_params(configured: Any, first: Mapping[str, Any]) -> dict[str, ParamValue]:
    """Flatten an estimator's hyper-parameters to plain values; those of the grid come first.

    What isn't plain becomes the name of its type; a short sequence of plain values, its text. Of
    dicts and lists of other things, what they hold follows under names such as
    ``model_kwargs.units``, if there is room.
    """
    try:
        every = dict(configured.get_params(deep=True))
    except Exception:  # an exotic estimator; what the grid set is known all the same
        every = {}
    ordered = {name: every.get(name, value) for name, value in first.items()}
    ordered.update((name, every[name]) for name in sorted(every, key=str) if name not in ordered)
    flat: dict[str, ParamValue] = {}
    for name, value in list(ordered.items())[:MAX_PARAMS]:
        flat[str(name)[:MAX_PARAM_LENGTH]] = plain(value)
    for name, value in ordered.items():
        if str(name).rpartition("__")[2] in _OF_ESTIMATORS:
            continue
        for path, part in islice(_nested(str(name), value, _MOST_DEPTH), _MOST_NESTED):
            if len(flat) >= MAX_PARAMS:
                return flat
            flat.setdefault(path[:MAX_PARAM_LENGTH], part)
    return flat


def _nested(path: str, value: Any, depth: int) -> Iterator[tuple[str, ParamValue]]:
    """Yield what dicts and lists hold, by its path; what says nothing more isn't named."""
    if type(value) is dict:
        parts: Iterable[tuple[Any, Any]] = value.items()
    elif type(value) in (list, tuple) and plain(value) == kind_of(value):
        parts = enumerate(value)
    else:
        return
    for key, part in parts:
        if not isinstance(key, str | int) or hasattr(part, "get_params"):
            continue  # estimators' own parameters are there already
        inner = f"{path}.{key}"
        if type(part) in (dict, list, tuple) and plain(part) == kind_of(part):
            if depth:
                yield from _nested(inner, part, depth - 1)
        else:
            yield inner, plain(part)


def _target(y: Look) -> tuple[str, int]:
    if y.given is None:
        return "none", 0
    values = y.given if y.plain is None else y.plain
    try:
        with np.errstate(invalid="ignore"):
            kind = str(type_of_target(values))
    except Exception:  # records, sets, whatever an estimator of the user's own learns from
        return "unknown", 0
    if kind in ("binary", "multiclass"):
        return kind, _distinct(values)
    return kind, 0


def _distinct(y: Any) -> int:
    if hasattr(y, "nunique"):
        counted = y.nunique()
        return int(counted if np.ndim(counted) == 0 else max(counted))
    return len(np.unique(np.asarray(y)))


def _sample(X: Look) -> Any:
    """Return some rows, by which selections of columns are told; None if it's no table."""
    try:
        table = X.table(_SAMPLED_ROWS)
        few = table.iloc[:_SAMPLED_ROWS] if hasattr(table, "iloc") else table[:_SAMPLED_ROWS]
        return few if len(few.shape) == 2 else None
    except Exception:  # exotic containers
        return None


def _memory_order(matrix: Any) -> str:
    flags = getattr(matrix, "flags", None)
    if not isinstance(matrix, np.ndarray) or flags is None or matrix.ndim < 2:
        return ""
    return "C" if flags.c_contiguous else "F" if flags.f_contiguous else ""


def _dtype(X: Look) -> str:
    table = X.table(_SAMPLED_ROWS)
    if table is None and X.sampled:
        table = X.sampled[0]  # without reading the others
    if hasattr(table, "dtypes") and hasattr(table, "columns"):
        names = {str(dtype) for dtype in table.dtypes}
        return next(iter(names)) if len(names) == 1 else "mixed"
    return str(getattr(table, "dtype", "object"))
