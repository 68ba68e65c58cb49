"""Parameters of ``fit`` and of scorers: which are cut along the rows, and which go as they are.

The rule is scikit-learn's: what has as many entries as X has rows is a value per row. Not in:
sample weights of a :class:`~fitcast.trainer.sweep.prepared.Sweep`, which it checks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import scipy.sparse as sp
from sklearn.utils.validation import _is_arraylike, _make_indexable, _num_samples

Keywords = tuple[tuple[str, str], ...]
"""(keyword, name of the dataset's column) each."""


@dataclass(frozen=True, kw_only=True)
class MethodParams:
    """Parameters of ``fit`` and ``score``, laid out for fits."""

    columns: dict[str, Any] = field(default_factory=dict)  # name → a value per row
    fit: Keywords = ()
    score: Keywords = ()
    fit_values: dict[str, Any] = field(default_factory=dict)
    score_values: dict[str, Any] = field(default_factory=dict)


def method_params(
    X: Any, fit: Mapping[str, Any] | None, score: Mapping[str, Any] | None
) -> MethodParams:
    """Lay parameters out; what ``fit`` and ``score`` have in common is kept once."""
    columns: dict[str, Any] = {}
    names: dict[int, str] = {}  # by identity of the value
    keywords: list[Keywords] = []
    values: list[dict[str, Any]] = []
    for method, given in (("fit", fit or {}), ("score", score or {})):
        found: list[tuple[str, str]] = []
        others: dict[str, Any] = {}
        for keyword, value in given.items():
            if not _is_per_row(X, value):
                others[keyword] = value
                continue
            if id(value) not in names:
                names[id(value)] = f"{method}.{keyword}"
                columns[names[id(value)]] = _make_indexable(value)
            found.append((keyword, names[id(value)]))
        keywords.append(tuple(found))
        values.append(others)
    return MethodParams(
        columns=columns,
        fit=keywords[0],
        score=keywords[1],
        fit_values=values[0],
        score_values=values[1],
    )


def _is_per_row(X: Any, value: Any) -> bool:
    if not _is_arraylike(value) and not sp.issparse(value):
        return False
    return bool(_num_samples(value) == _num_samples(X))
