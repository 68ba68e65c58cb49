"""Statistics of a dataset's values, estimated from a sample: distinct, missing, well conditioned.

In: counting. Not in: the dataset's shape (:mod:`fitcast.trainer.sweep.requests`), what it costs.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from fitcast.trainer.sweep.containers import look

MOST_DISTINCT = 256
"""Up to which a column's distinct values are counted: as many as histograms have bins."""

_SAMPLE_ROWS = 4096
_SAMPLE_COLUMNS = 512
_MOST_DECADES = 12.0
_NONE = 1e-12  # share of the largest eigenvalue, below which one counts as zero


@dataclass(frozen=True, slots=True)
class Contents:
    """What was counted; of a dataset that can't be looked into, nothing."""

    distinct_values: int = 0  # sum over columns, each up to MOST_DISTINCT; 0 if unknown
    categorical_columns: int = 0  # of a frame: categories, texts, objects
    missing_share: float = 0.0  # of all values
    scale_decades: float = 0.0  # log10 of the largest column's root mean square
    condition_decades: float = 0.0  # log10 of largest over median eigenvalue of X'X
    correlation_decades: float = 0.0  # the same of the columns' correlations


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
        if hasattr(X, "iloc") and hasattr(X, "dtypes"):
            return _of_frame(X)
        if sp.issparse(X):
            rows, columns = _spread(X.shape[0], _SAMPLE_ROWS), _spread(X.shape[1], _SAMPLE_COLUMNS)
            return _of_array(X.tocsr()[rows][:, columns].toarray(), X.shape[1])
        if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "biuf":
            rows, columns = _spread(X.shape[0], _SAMPLE_ROWS), _spread(X.shape[1], _SAMPLE_COLUMNS)
            return _of_array(X[np.ix_(rows, columns)], X.shape[1])
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
    distinct = np.minimum(1 + new.sum(axis=0), MOST_DISTINCT)
    scale, condition, correlation = _conditioning(sample)
    return Contents(
        distinct_values=round(float(distinct.mean()) * columns),
        missing_share=missing,
        scale_decades=scale,
        condition_decades=condition,
        correlation_decades=correlation,
    )


def _of_frame(X: Any) -> Contents:
    sample = X.iloc[_spread(len(X), _SAMPLE_ROWS), _spread(X.shape[1], _SAMPLE_COLUMNS)]
    if not sample.size:
        return Contents()
    share = X.shape[1] / sample.shape[1]
    distinct = [min(max(1, int(column.nunique())), MOST_DISTINCT) for _, column in sample.items()]
    is_number = [_is_number(dtype) for dtype in sample.dtypes]
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
    )


def _is_number(dtype: Any) -> bool:
    return getattr(dtype, "kind", "O") in "biuf" and str(dtype) != "category"


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
