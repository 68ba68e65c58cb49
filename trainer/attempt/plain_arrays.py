"""Arrays in a form that runs nothing when it is read: a few words about them, and raw bytes.

In: which arrays may leave a fit, and the way there and back. Not in: the report that they belong to
(:mod:`fitcast.trainer.attempt.result_block`).

Numbers, times and texts travel as they lie in memory. An array of objects does if each of them is
plain (text, number, truth value, None, or a list of such): as a list of its distinct values, and
their numbers.
Anything else is refused in the fit, as opening it elsewhere would run code of its own there.
"""

import math
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from fitcast.errors import InvalidSweepError

_DTYPE = re.compile(r"[<>|][biufcmMSU]\d{1,9}(\[\d{0,6}[a-zA-Z]{1,2}\])?")
_PLAIN = frozenset({str, int, float, bool, type(None)})
_MOST_DIMENSIONS = 8
_TODO = "return plain numbers or texts, or set predict_method=None for no predictions"

Words = list[Any]
"""What is told of an array: its dtype, its shape, and the distinct values of one of objects."""


def to_plain(array: npt.NDArray[Any]) -> tuple[Words, npt.NDArray[Any]]:
    """Return the words about an array, and the array that goes with them as raw bytes.

    Raises
    ------
    InvalidSweepError
        It holds something that isn't plain.
    """
    shape = list(array.shape)
    if _DTYPE.fullmatch(array.dtype.str):
        return [array.dtype.str, shape, None], array
    if array.dtype.names is not None:
        raise InvalidSweepError(f"the predictions have the columns of a record: {_TODO}")
    flat = array.astype(object).ravel().tolist()
    if set(map(type, flat)) <= {str}:
        keys = flat
    else:
        flat = [_plain(value) for value in flat]
        # By type too, as 1 == 1.0 == True; floats by their text, as 0.0 == -0.0
        keys = [_key(value) for value in flat]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    codes = np.fromiter(map(numbers.__getitem__, keys), dtype="<i4", count=len(flat))
    values = list(dict(zip(keys, flat, strict=True)).values())
    return ["objects", shape, values], codes


def from_plain(words: Words, data: memoryview) -> npt.NDArray[Any]:
    """Return the array of these words and bytes.

    Raises
    ------
    ValueError
        They don't belong together, or aren't plain.
    """
    kind, shape, values = words
    if (
        type(kind) is not str
        or type(shape) is not list
        or len(shape) > _MOST_DIMENSIONS
        or not all(type(n) is int and 0 <= n < 2**48 for n in shape)
    ):
        raise ValueError("an array's head is damaged")
    if kind == "objects":
        if type(values) is not list or not all(map(_is_plain, values)):
            raise ValueError("an array holds what isn't plain")
        codes = _array("<i4", shape, data)
        if codes.size and not (codes.min() >= 0 and codes.max() < len(values)):
            raise ValueError("an array's values are damaged")
        distinct = np.empty(len(values), dtype=object)
        for number, value in enumerate(values):
            distinct[number] = value
        taken: npt.NDArray[Any] = distinct[codes.reshape(-1)].reshape(shape)
        return taken
    if not _DTYPE.fullmatch(kind):
        raise ValueError("an array is of a kind that isn't plain")
    return _array(kind, shape, data)


def _array(kind: str, shape: list[int], data: memoryview) -> npt.NDArray[Any]:
    dtype = np.dtype(kind)
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError("an array has another length than its shape says")
    if not data:
        return np.zeros(shape, dtype)
    array: npt.NDArray[Any] = np.frombuffer(data, dtype).reshape(shape)  # without a copy
    return array


def _plain(value: Any) -> Any:
    """Return a value as exactly one of the plain types."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, str):
        return str.__str__(value)  # exactly a str, whatever its class says
    if isinstance(value, np.generic):
        item = value.item()
        if type(item) in _PLAIN:
            return item
    if isinstance(value, list | tuple | np.ndarray):  # the labels of a sequence
        return [_plain(part) for part in list(value)]
    if type(value).__module__.startswith("pandas.") and type(value).__name__ in (
        "NAType",
        "NaTType",
    ):
        return None
    name = type.__dict__["__name__"].__get__(type(value))
    raise InvalidSweepError(f"the predictions hold objects of type {name}: {_TODO}")


def _is_plain(value: Any) -> bool:
    return type(value) in _PLAIN or (type(value) is list and all(map(_is_plain, value)))


def _key(value: Any) -> tuple[type, Any]:
    return type(value), repr(value) if type(value) in (float, list) else value
