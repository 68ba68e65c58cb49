"""What transformers have in common: a result, and helpers to describe the data that they give.

In: helpers of :mod:`fitcast.sizing.laws.transforms` and :mod:`fitcast.sizing.laws.projections`. Not
in: any transformer's law.
"""

import math
from dataclasses import dataclass, replace

from fitcast.sizing.laws.features import Described
from fitcast.sizing.laws.law import between, cells_test


@dataclass(frozen=True, slots=True)
class Passed:
    """What a transformer costs, and the data that it hands on."""

    seconds: float  # to fit it, and to transform the rows that train and those that are tested
    memory_bytes: float  # above the data that comes in: what it needs meanwhile, what it gives
    after: Described  # the next step's fit


def all_cells(fit: Described) -> float:
    """Return the values of all rows, those that train and those that are tested."""
    return fit.nonzeros + cells_test(fit)


def all_rows(fit: Described) -> float:
    """Return the rows that train and those that are tested."""
    return fit.rows_train + fit.rows_test


def dense(fit: Described, columns: float, *, like_normal: bool = True) -> Described:
    """Return a fit on as many dense columns of float64.

    Parameters
    ----------
    fit
        What came in.
    columns
        How many come out.
    like_normal
        Whether they are scores without ties and near to independent, as those of a projection.
    """
    columns = between(columns, 1.0, 1e9)
    made = replace(
        fit,
        columns=columns,
        nonzeros=fit.rows_train * columns,
        data_bytes=8.0 * all_rows(fit) * columns,
    )
    return replace(made, distinct=math.inf, scale=0.0) if like_normal else made


def sparse(fit: Described, columns: float, each_row: float) -> Described:
    """Return a fit on sparse columns.

    Parameters
    ----------
    fit
        What came in.
    columns
        How many come out.
    each_row
        Non-zeros of a row.
    """
    columns = between(columns, 1.0, 1e12)
    nonzeros = fit.rows_train * min(each_row, columns)
    share = all_rows(fit) / fit.rows_train
    return replace(
        fit,
        columns=columns,
        nonzeros=nonzeros,
        data_bytes=12.0 * nonzeros * share,
        distinct=2.0,
        scale=0.0,
        condition=1.0,
        correlation=1.0,
    )


def kept_columns(fit: Described, name: str = "n_components", default: float = 0.0) -> float:
    """Return how many columns are asked for: as a number, as a share of them, or all."""
    value = fit.params.number(name, default=default)
    if 0.0 < value < 1.0:  # of PCA: as many as explain this share
        value *= fit.columns
    most = min(fit.rows_train, fit.columns)
    return between(value if value >= 1.0 else most, 1.0, most)
