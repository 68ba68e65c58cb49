"""Hyper-parameters' values as any store can keep them.

In: one value → a text, a number, a truth value or None. Not in: whose values they are.
"""

import math
from typing import Any

import numpy as np

from fitcast.history.records import ParamValue

MAX_PARAM_LENGTH = 200
_SHORT_SEQUENCE = 16


def plain(value: Any) -> ParamValue:
    """Return a value that any store can keep: a string, a number, a truth value or None."""
    try:
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return int(value) if abs(value) < 2**63 else str(value)[:MAX_PARAM_LENGTH]
        if isinstance(value, float):
            # NaN equals nothing, not even itself: as text, like requests stay alike.
            return "nan" if math.isnan(value) else float(value)
        if isinstance(value, str):
            return str(value)[:MAX_PARAM_LENGTH]
        if isinstance(value, list | tuple) and len(value) <= _SHORT_SEQUENCE:
            parts = [plain(part) for part in value if not isinstance(part, list | tuple | dict)]
            if len(parts) == len(value) and all(
                isinstance(part, str | int | float | None)
                and (isinstance(raw, str | int | float | np.generic) or raw is None)
                for part, raw in zip(parts, value, strict=True)
            ):
                return f"({', '.join(map(str, parts))})"[:MAX_PARAM_LENGTH]
        name = getattr(value, "__name__", None)
        return (name if isinstance(name, str) else type(value).__name__)[:MAX_PARAM_LENGTH]
    except Exception:
        return type(value).__name__[:MAX_PARAM_LENGTH]


def is_told(value: Any) -> bool:
    """Return whether the plain value says what the value is, not only of which kind."""
    if type(value) in (list, tuple):
        return plain(value) != kind_of(value)
    return isinstance(value, str | int | float | np.generic) or value is None


def kind_of(value: Any) -> str:
    """Return the name of a value's type."""
    return type(value).__name__
