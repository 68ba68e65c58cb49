"""Missing and infinite values: where they are, and which estimators can't take them.

Not in: what follows from it (:mod:`fitcast.trainer.sweep.fitness`), any other check of the data
(:mod:`fitcast.trainer.sweep.validation`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from fitcast.trainer.sweep.containers import look
from fitcast.trainer.sweep.kinds import inner_estimators, library_of, tags_of
from fitcast.trainer.sweep.models import class_name, steps_of

_PASS_ON = frozenset(
    {
        "MaxAbsScaler",
        "MinMaxScaler",
        "PowerTransformer",
        "QuantileTransformer",
        "RobustScaler",
        "StandardScaler",
        "VarianceThreshold",
    }
)
"""Steps of scikit-learn that take NaN and hand it on to the next."""

_ANY_INPUT = frozenset({"ColumnTransformer", "FeatureUnion", "FunctionTransformer"})
"""Steps of scikit-learn that may drop or replace values before anything looks at them."""

Rows = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Holes:
    """Values of X that are missing or infinite."""

    count: int
    rows: Rows  # which have any
    columns: tuple[str, ...]  # names or numbers of those that have any

    def __str__(self) -> str:
        names = ", ".join(map(repr, self.columns[:5])) + (", …" if len(self.columns) > 5 else "")
        columns = "column" if len(self.columns) == 1 else "columns"
        return f"{self.count} in {columns} {names} (first in row {int(np.argmax(self.rows))})"


def is_missing(values: Any) -> Rows:
    """Return, per row, whether a value is missing; of what can't be looked into, none is."""
    import pandas as pd

    seen = look(values)
    plain = seen.plain
    if plain is None:
        return np.zeros(seen.rows, dtype=bool)
    if sp.issparse(plain):
        matrix = plain.tocoo()
        rows = np.zeros(matrix.shape[0], dtype=bool)
        if matrix.dtype.kind == "f":
            rows[matrix.row[np.isnan(matrix.data)]] = True
        return rows
    try:
        missing = np.asarray(pd.isna(plain), dtype=bool)
    except TypeError:  # records
        return np.zeros(seen.rows, dtype=bool)
    return np.asarray(missing.any(axis=tuple(range(1, missing.ndim))), dtype=bool)


def is_infinite(values: Any) -> Rows:
    """Return, per row, whether a number is infinite."""
    seen = look(values)
    if seen.plain is None or sp.issparse(seen.plain):
        return np.zeros(seen.rows, dtype=bool)
    array = np.asarray(seen.plain)
    if array.dtype.kind != "f" or _all_finite(array):
        return np.zeros(seen.rows, dtype=bool)
    return np.asarray(np.isinf(array).reshape(len(array), -1).any(axis=1), dtype=bool)


def holes(X: Any) -> tuple[Holes | None, Holes | None]:
    """Find the missing and the infinite values of X; None where there are none."""
    seen = look(X)
    plain = seen.plain
    if sp.issparse(plain):
        if plain.dtype.kind != "f" or _all_finite(plain.data):
            return None, None
        coordinates = plain.tocoo()
        return (
            _sparse_holes(coordinates, np.isnan(coordinates.data)),
            _sparse_holes(coordinates, np.isinf(coordinates.data)),
        )
    if isinstance(plain, np.ndarray) and (
        plain.dtype.kind not in "fO" or (plain.dtype.kind == "f" and _all_finite(plain))
    ):
        return None, None
    found: tuple[list[tuple[str, Rows]], ...] = ([], [])
    for name, column in seen.named_columns():
        for kind, mask in zip(found, _masks(column), strict=True):
            if mask is not None and mask.any():
                kind.append((name, mask))
    missing, infinite = (_table_holes(kind) for kind in found)
    return missing, infinite


def refuses(estimator: Any, *, infinite: bool) -> str:
    """Return the name of the step that is known to refuse such values, "" if none is."""
    for step in steps_of(estimator) or [estimator]:
        if step is None or isinstance(step, str):
            continue  # "passthrough"
        library, name = library_of(step), type(step).__name__
        if library == "xgboost" and infinite:
            limit = getattr(step, "missing", None)
            return "" if isinstance(limit, float) and np.isinf(limit) else class_name(step)
        if not looks_at_rows(step) or _wraps_tolerant(step):
            return ""
        tags = tags_of(step)
        if tags is None or not tags.input_tags.allow_nan:
            return class_name(step)
        if name not in _PASS_ON:
            return ""
    return ""


def looks_at_rows(step: Any) -> bool:
    """Return whether an estimator is known to check the values of X before it uses them.

    Other people's classes, also those that derive from scikit-learn's, often leave the tags at
    their defaults: only scikit-learn's own say for certain.
    """
    tags = tags_of(step)
    return (
        library_of(step) == "sklearn"
        and tags is not None
        and not tags.no_validation
        and type(step).__name__ not in _ANY_INPUT
    )


def _masks(column: Any) -> tuple[Rows | None, Rows | None]:
    import pandas as pd

    numbers = isinstance(column.dtype, np.dtype) and column.dtype.kind == "f"
    if numbers:
        values = np.asarray(column)
        if _all_finite(values):
            return None, None
        return np.isnan(values), np.isinf(values)
    if isinstance(column.dtype, np.dtype) and column.dtype.kind != "O":
        return None, None
    return np.asarray(pd.isna(column)), None


def _all_finite(values: npt.NDArray[Any]) -> bool:
    # The sum shows it without a mask of the data's size; only when it isn't finite, which an
    # overflow may cause too, is every value looked at.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum())) or bool(np.isfinite(values).all())


def _sparse_holes(matrix: Any, mask: Rows) -> Holes | None:
    if not mask.any():
        return None
    columns = np.unique(matrix.col[mask])
    rows = np.zeros(matrix.shape[0], dtype=bool)
    rows[matrix.row[mask]] = True
    return Holes(int(mask.sum()), rows, tuple(map(str, columns)))


def _table_holes(found: list[tuple[str, Rows]]) -> Holes | None:
    if not found:
        return None
    return Holes(
        count=sum(int(mask.sum()) for _, mask in found),
        rows=np.logical_or.reduce([mask for _, mask in found]),
        columns=tuple(name for name, _ in found),
    )


def _wraps_tolerant(step: Any) -> bool:
    """Return whether an estimator is built around another that isn't known to refuse."""
    return any(not refuses(part, infinite=False) for part in inner_estimators(step))
