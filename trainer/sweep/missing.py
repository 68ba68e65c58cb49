"""Missing and infinite values: where they are, and which estimators can't take them.

Not in: any other check of the data (:mod:`fitcast.trainer.sweep.validation`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from fitcast.errors import InvalidDataError
from fitcast.trainer.sweep.kinds import inner_estimators, tags_of
from fitcast.trainer.sweep.models import Candidate, class_name, steps_of

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


@dataclass(frozen=True)
class Holes:
    """Values of X that are missing or infinite."""

    count: int
    row: int  # of the first
    columns: tuple[str, ...]  # names or numbers of those that have any


def check_target_values(y: Any) -> None:
    """Refuse a target with missing or infinite values."""
    missing = is_missing(y)
    if missing.any():
        row = int(np.flatnonzero(missing)[0])
        raise InvalidDataError(
            f"y has no value in {int(missing.sum())} of {len(missing)} rows, first in row {row}. "
            "Drop those rows from X and y, or fill them in."
        )
    if not sp.issparse(y):
        values = np.asarray(y)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0][0])
            raise InvalidDataError(f"y is infinite in row {row}. Drop that row, or cap y.")


def is_missing(values: Any) -> npt.NDArray[np.bool_]:
    """Return, per row, whether a value is missing."""
    import pandas as pd

    if sp.issparse(values):
        values = values.tocoo()
        rows = np.zeros(values.shape[0], dtype=bool)
        if values.dtype.kind == "f":
            rows[values.row[np.isnan(values.data)]] = True
        return rows
    missing = np.asarray(pd.isna(values), dtype=bool)
    return np.asarray(missing.any(axis=tuple(range(1, missing.ndim))), dtype=bool)


def check_values(candidates: Sequence[Candidate], configured: Sequence[Any], X: Any) -> None:
    """Refuse candidates that can't take the missing or infinite values of X."""
    missing, infinite = holes(X)
    if missing is None and infinite is None:
        return
    for candidate, estimator in zip(candidates, configured, strict=True):
        if missing is not None and (culprit := _refuses(estimator, infinite=False)):
            raise InvalidDataError(
                f"{candidate.label!r}: {culprit} takes no missing values, but X has "
                f"{_where(missing)}. Put a SimpleImputer before it in a Pipeline, drop those "
                "rows, or use an estimator that takes NaN, such as "
                "HistGradientBoostingClassifier or XGBClassifier."
            )
        if infinite is not None and (culprit := _refuses(estimator, infinite=True)):
            raise InvalidDataError(
                f"{candidate.label!r}: {culprit} takes no infinite values, but X has "
                f"{_where(infinite)}. Drop those rows, cap the values, or make them NaN and "
                "impute them."
            )


def holes(X: Any) -> tuple[Holes | None, Holes | None]:
    """Find the missing and the infinite values of X; None where there are none."""
    if sp.issparse(X):
        if X.dtype.kind != "f" or _all_finite(X.data):
            return None, None
        coordinates = X.tocoo()
        return (
            _sparse_holes(coordinates, np.isnan(coordinates.data)),
            _sparse_holes(coordinates, np.isinf(coordinates.data)),
        )
    if hasattr(X, "iloc"):
        frame = X if X.ndim == 2 else X.to_frame()
        names = [str(name) for name in frame.columns]
        columns = [frame.iloc[:, position] for position in range(frame.shape[1])]
    else:
        if X.dtype.kind == "f" and _all_finite(X):
            return None, None
        if X.dtype.kind not in "fO":
            return None, None
        table = X.reshape(len(X), -1)
        names = [str(position) for position in range(table.shape[1])]
        columns = [table[:, position] for position in range(table.shape[1])]
    found: tuple[list[tuple[str, npt.NDArray[np.bool_]]], ...] = ([], [])
    for name, column in zip(names, columns, strict=True):
        for kind, mask in zip(found, _masks(column), strict=True):
            if mask is not None and mask.any():
                kind.append((name, mask))
    missing, infinite = (_table_holes(kind) for kind in found)
    return missing, infinite


def _masks(column: Any) -> tuple[npt.NDArray[np.bool_] | None, npt.NDArray[np.bool_] | None]:
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


def _sparse_holes(matrix: Any, mask: npt.NDArray[np.bool_]) -> Holes | None:
    if not mask.any():
        return None
    columns = np.unique(matrix.col[mask])
    return Holes(int(mask.sum()), int(matrix.row[mask].min()), tuple(map(str, columns)))


def _table_holes(found: list[tuple[str, npt.NDArray[np.bool_]]]) -> Holes | None:
    if not found:
        return None
    return Holes(
        count=sum(int(mask.sum()) for _, mask in found),
        row=min(int(np.argmax(mask)) for _, mask in found),
        columns=tuple(name for name, _ in found),
    )


def _where(found: Holes) -> str:
    names = ", ".join(map(repr, found.columns[:5])) + (", …" if len(found.columns) > 5 else "")
    columns = "column" if len(found.columns) == 1 else "columns"
    return f"{found.count} in {columns} {names} (first in row {found.row})"


def _refuses(estimator: Any, *, infinite: bool) -> str:
    """Return the name of the step that is known to refuse such values, "" if none is."""
    for step in steps_of(estimator) or [estimator]:
        if step is None or isinstance(step, str):
            continue  # "passthrough"
        module, name = type(step).__module__.split(".")[0], type(step).__name__
        if module == "xgboost" and infinite:
            limit = getattr(step, "missing", None)
            return "" if isinstance(limit, float) and np.isinf(limit) else class_name(step)
        tags = tags_of(step)
        # Other people's classes often leave the tags at their defaults: only scikit-learn's own
        # say for certain that they refuse.
        if module != "sklearn" or tags is None or name in _ANY_INPUT or _wraps_tolerant(step):
            return ""
        if not tags.input_tags.allow_nan:
            return class_name(step)
        if name not in _PASS_ON:
            return ""
    return ""


def _wraps_tolerant(step: Any) -> bool:
    """Return whether an estimator is built around another that isn't known to refuse."""
    return any(not _refuses(part, infinite=False) for part in inner_estimators(step))
