"""Objects in data that are neither text nor numbers: lists, pictures, whatever a user put there.

In: finding them, refusing those that can't be sent. Not in: missing values
(:mod:`fitcast.trainer.sweep.missing`).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fitcast.errors import InvalidDataError
from fitcast.trainer.sweep.containers import Look, is_foreign_table, look, rows_of
from fitcast.trainer.sweep.users_code import digest_of

_USUAL_KINDS = frozenset(
    {
        "boolean",
        "bytes",
        "complex",
        "date",
        "datetime",
        "datetime64",
        "decimal",
        "empty",
        "floating",
        "integer",
        "mixed-integer-float",
        "string",
        "time",
        "timedelta",
        "timedelta64",
    }
)
"""What pandas calls columns of objects that are all alike."""

_USUAL_TYPES = frozenset({bool, bytes, complex, float, int, str, type(None)})


def unusual_objects(part: Any) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yield name and values of each column with unusual objects; an array is a single column."""
    part = look(part).plain
    if hasattr(part, "dtypes") and hasattr(part, "columns"):
        for position, name in enumerate(part.columns):
            if _is_of_objects(part.dtypes.iloc[position]):
                yield from _unusual(f"Column {name!r}", part.iloc[:, position].to_numpy())
    elif _is_of_objects(getattr(part, "dtype", None)):
        values = part.to_numpy() if hasattr(part, "to_numpy") else np.asarray(part)
        yield from _unusual("It", values.ravel())


def check_objects(X: Any, y: Any) -> None:
    """Refuse data with an object that can't be sent to a worker."""
    for what, part in (("X", look(X)), ("y", look(y))):
        if part.plain is None and part.given is not None:
            _check_container(what, part)
            continue
        for column, values in unusual_objects(part.plain):
            try:
                digest_of(values)
            except Exception as error:
                where = f"{column} of {what}" if column != "It" else what
                raise InvalidDataError(
                    f"{where} holds {_culprit(values)}, which can't be sent to a worker: "
                    f"{type(error).__name__}: {error}. Turn it into numbers or text, or drop it."
                ) from error


def _check_container(what: str, part: Look) -> None:
    if is_foreign_table(part.given):
        return
    kind = type(part.given).__name__
    try:
        rows_of(part.given, np.zeros(1, dtype=np.intp))
    except Exception as error:
        raise InvalidDataError(
            f"{what} is a {kind}, of which scikit-learn can't take rows: {type(error).__name__}: "
            f"{error}. Give an array, a frame, a list, or what has a length and gives a row for "
            "its number."
        ) from error
    try:
        part.pickled  # noqa: B018 - found out once
    except Exception as error:
        raise InvalidDataError(
            f"{what}, a {kind}, can't be sent to a worker: {type(error).__name__}: {error}. Hold "
            "no open files, locks or connections in it: open them where a row is asked for, or "
            "give an array or a frame."
        ) from error


def _is_of_objects(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.hasobject


def _unusual(name: str, values: npt.NDArray[Any]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    from pandas.api.types import infer_dtype

    if infer_dtype(values, skipna=True) in _USUAL_KINDS:
        return
    if not set(map(type, values.tolist())) <= _USUAL_TYPES:
        yield name, values


def _culprit(values: npt.NDArray[Any]) -> str:
    """Say what can't be pickled; the first object of each kind is tried."""
    rows: dict[type, int] = {}
    for row, value in enumerate(values.tolist()):
        rows.setdefault(type(value), row)
    for kind, row in rows.items():
        try:
            digest_of(values[row])
        except Exception:
            return f"a {kind.__name__}"
    return "an object"
