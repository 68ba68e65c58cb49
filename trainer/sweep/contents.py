"""Statistics of a dataset's values, estimated from a sample: distinct, missing, well conditioned.

In: counting. Not in: the dataset's shape (:mod:`fitcast.trainer.sweep.requests`), what it costs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from fitcast.history.parts import Selected
from fitcast.trainer.sweep.containers import look

MOST_DISTINCT = 256
"""Up to which a column's distinct values are counted: as many as histograms have bins."""

_SAMPLE_ROWS = 4096
_SAMPLE_COLUMNS = 512
_SAMPLE_TEXTS = 64  # of a column
_MOST_DECADES = 12.0
_NONE = 1e-12  # share of the largest eigenvalue, below which one counts as zero


@dataclass(frozen=True, slots=True)
class ColumnContents:
    """What was counted of one column."""

    distinct: int  # of the sample's rows; of categories, all that it may hold
    is_number: bool
    missing: float  # share
    text_chars: float = 0.0  # of a mean text; 0 unless it holds texts
    text_words: float = 0.0


@dataclass(frozen=True, slots=True)
class Contents:
    """What was counted; of a dataset that can't be looked into, nothing."""

    distinct_values: int = 0  # sum over columns, each up to MOST_DISTINCT; 0 if unknown
    categorical_columns: int = 0  # of a frame: categories, texts, objects
    missing_share: float = 0.0  # of all values
    scale_decades: float = 0.0  # log10 of the largest column's root mean square
    condition_decades: float = 0.0  # log10 of largest over median eigenvalue of X'X
    correlation_decades: float = 0.0  # the same of the columns' correlations
    integer_columns: int = 0  # of whole numbers
    arrow_columns: int = 0  # of a frame: those that Arrow keeps
    text_columns: int = 0
    text_chars: float = 0.0  # of a mean text
    text_words: float = 0.0
    by_column: tuple[ColumnContents, ...] = ()  # of evenly spaced ones if there are many
    columns: int = 0  # of the whole

    def of_columns(self, positions: Sequence[int]) -> Selected:
        """Return what some of the columns hold."""
        places = _spread(self.columns, _SAMPLE_COLUMNS).tolist()
        at = dict(zip(places, self.by_column, strict=False))
        known = [at[position] for position in positions if position in at]
        if not known:
            return Selected(columns=len(positions))
        share = len(positions) / len(known)
        texts = [one for one in known if one.text_chars]
        return Selected(
            columns=len(positions),
            distinct_values=round(share * sum(one.distinct for one in known)),
            categorical_columns=round(share * sum(not one.is_number for one in known)),
            missing_share=round(sum(one.missing for one in known) / len(known), 4),
            text_chars=round(_mean([one.text_chars for one in texts]), 2),
            text_words=round(_mean([one.text_words for one in texts]), 2),
        )


def contents_of(X: Any) -> Contents:
    """Count on evenly spaced rows and columns; takes up to a quarter of a second.

    Parameters
    ----------
    X
        An array, a sparse matrix, a frame, or what was seen of it; of anything else nothing is
        said.
    """
    try:
        X = look(X).table(_SAMPLE_ROWS)
        if hasattr(X, "iloc") and hasattr(X, "dtypes") and X.ndim == 2:
            return _of_frame(X)
        if sp.issparse(X):
            rows, columns = _spread(X.shape[0], _SAMPLE_ROWS), _spread(X.shape[1], _SAMPLE_COLUMNS)
            return _of_array(X.tocsr()[rows][:, columns].toarray(), X.shape[1])
        if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "biuf":
            rows, columns = _spread(X.shape[0], _SAMPLE_ROWS), _spread(X.shape[1], _SAMPLE_COLUMNS)
            return _of_array(X[np.ix_(rows, columns)], X.shape[1])
        if np.ndim(X) == 1:
            few = _spread(len(X), _SAMPLE_TEXTS)
            return _of_texts(np.asarray(X.iloc[few] if hasattr(X, "iloc") else X[few]))
    except Exception:  # exotic containers: better no counts than no request
        return Contents()
    return Contents()


def _of_array(sample: npt.NDArray[Any], columns: int) -> Contents:
    if not sample.size:
        return Contents()
    missing = float(np.isnan(sample).mean()) if sample.dtype.kind == "f" else 0.0
    ordered = np.sort(sample, axis=0)  # NaN last
    # NaN equals nothing, not even itself: of missing values, none counts.
    new = (ordered[1:] != ordered[:-1]) & (ordered[1:] == ordered[1:])
    counted = 1 + new.sum(axis=0)
    scale, condition, correlation = _conditioning(sample)
    return Contents(
        distinct_values=round(float(np.minimum(counted, MOST_DISTINCT).mean()) * columns),
        missing_share=missing,
        scale_decades=scale,
        condition_decades=condition,
        correlation_decades=correlation,
        integer_columns=columns if sample.dtype.kind in "biu" else 0,
        by_column=tuple(ColumnContents(n, True, missing) for n in counted.tolist()),
        columns=columns,
    )


def _of_texts(values: npt.NDArray[Any]) -> Contents:
    """Describe a list of texts, as vectorisers take it."""
    column = _column_of_texts(values, len(values), 0.0)
    if not column.text_chars:
        return Contents()
    return Contents(
        categorical_columns=1,
        text_columns=1,
        text_chars=column.text_chars,
        text_words=column.text_words,
        by_column=(column,),
        columns=1,
    )


def _of_frame(X: Any) -> Contents:
    sample = X.iloc[_spread(len(X), _SAMPLE_ROWS), _spread(X.shape[1], _SAMPLE_COLUMNS)]
    if not sample.size:
        return Contents()
    share = X.shape[1] / sample.shape[1]
    by_column = [_column(column) for _, column in sample.items()]
    distinct = [min(one.distinct, MOST_DISTINCT) for one in by_column]
    is_number = [one.is_number for one in by_column]
    texts = [one for one in by_column if one.text_chars]
    numbers = sample.loc[:, is_number]
    scale = condition = correlation = 0.0
    if numbers.size:
        scale, condition, correlation = _conditioning(
            numbers.to_numpy(dtype=np.float64, na_value=np.nan)
        )
    return Contents(
        distinct_values=round(share * sum(distinct)),
        categorical_columns=round(share * (len(is_number) - sum(is_number))),
        missing_share=float(sample.isna().to_numpy().mean()),
        scale_decades=scale,
        condition_decades=condition,
        correlation_decades=correlation,
        integer_columns=round(share * sum(_kind(dtype) in "biu" for dtype in sample.dtypes)),
        arrow_columns=round(share * sum(_is_arrow(dtype) for dtype in sample.dtypes)),
        text_columns=round(share * len(texts)),
        text_chars=round(_mean([one.text_chars for one in texts]), 2),
        text_words=round(_mean([one.text_words for one in texts]), 2),
        by_column=tuple(by_column),
        columns=X.shape[1],
    )


def _column(column: Any) -> ColumnContents:
    counted = max(1, int(column.nunique()))
    missing = float(column.isna().mean())
    if _is_number(column.dtype):
        return ColumnContents(counted, True, missing)
    categories = getattr(column.dtype, "categories", None)
    if categories is not None:
        return ColumnContents(max(counted, len(categories)), False, missing)
    rows = _spread(len(column), _SAMPLE_TEXTS)
    return _column_of_texts(column.iloc[rows].to_numpy(dtype=object), counted, missing)


def _column_of_texts(values: npt.NDArray[Any], distinct: int, missing: float) -> ColumnContents:
    texts = [value for value in values.tolist() if isinstance(value, str)]
    return ColumnContents(
        distinct,
        False,
        missing,
        text_chars=round(_mean([len(text) for text in texts]), 2),
        text_words=round(_mean([text.count(" ") + 1 for text in texts]), 2),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _kind(dtype: Any) -> str:
    return str(getattr(dtype, "kind", "O"))


def _is_arrow(dtype: Any) -> bool:
    return type(dtype).__name__ == "ArrowDtype" or getattr(dtype, "storage", "") == "pyarrow"


def _is_number(dtype: Any) -> bool:
    return _kind(dtype) in "biuf" and str(dtype) != "category"


def _conditioning(sample: npt.NDArray[Any]) -> tuple[float, float, float]:
    """Return how large columns are, and how ill-conditioned, as they are and standardised."""
    values = np.nan_to_num(sample.astype(np.float64), posinf=0.0, neginf=0.0)
    centred = values - values.mean(axis=0)
    sd = centred.std(axis=0)
    varying = centred[:, sd > 0.0] / sd[sd > 0.0]
    largest = float(np.sqrt((values**2).mean(axis=0)).max())
    scale = math.log10(largest) if math.isfinite(largest) and largest > 0.0 else 0.0
    held = min(max(scale, -_MOST_DECADES), _MOST_DECADES)
    return round(held, 3), _decades(values), _decades(varying)


def _decades(values: npt.NDArray[np.float64]) -> float:
    if values.shape[1] < 2 or values.shape[0] < 2:
        return 0.0
    eigenvalues = np.linalg.eigvalsh(values.T @ values)
    largest = float(eigenvalues[-1])
    if not (math.isfinite(largest) and largest > 0.0):
        return 0.0
    middle = float(np.median(eigenvalues[eigenvalues > _NONE * largest]))
    return round(min(math.log10(largest / middle), _MOST_DECADES), 3)


def _spread(size: int, most: int) -> npt.NDArray[np.intp]:
    return np.unique(np.linspace(0, size - 1, min(size, most)).astype(np.intp))
