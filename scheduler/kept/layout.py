"""How ended attempts lie in a file's plaintext, and what of them is held in memory.

In: the way there and back. Not in: encryption (:mod:`fitcast.trainer.sealed_files`), files
(:mod:`fitcast.scheduler.kept.results`).

Plaintext: version of the layout · bytes of the heads · heads (JSON) · raw bytes. A head has the
attempt's record, what was measured, and where its predictions and its model lie among the raw
bytes; heads come first, so that they are read without the rest. The names of a record's columns
stand once, before all heads. Nothing is unpickled.
"""

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fitcast.history.codec import SCHEMA, record_to_json, row_to_record
from fitcast.history.records import Outcome, Record
from fitcast.trainer.attempt.plain_arrays import Words, from_plain, to_plain
from fitcast.trainer.attempt.spec import Measured

LAYOUT_VERSION: Final = 2

PREAMBLE: Final = struct.Struct("<IQ")
"""Version of the layout, and bytes of the heads."""

_FINAL: Final = frozenset({Outcome.SUCCEEDED, Outcome.FAILED})
_COLUMNS: Final[tuple[str, ...]] = tuple(SCHEMA.names)
_JSON: Final = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt that is to be kept."""

    fit_id: str
    record: Record
    measured: Measured


@dataclass(frozen=True, slots=True)
class Part:
    """Where predictions or a model lie."""

    file: str
    offset: int  # in the file's plaintext
    length: int  # in bytes
    words: Words | None = None  # about an array: its dtype and shape
    values_bytes: int = 0  # of which so many at the beginning are the values of one of objects


@dataclass(frozen=True, slots=True)
class KeptAttempt:
    """An attempt that is kept; its predictions and model stay in the file."""

    fit_id: str
    record: Record
    measured: Measured  # without predictions and model
    predictions: Part | None
    model: Part | None

    @property
    def is_final(self) -> bool:
        """Whether its fit isn't tried again after it."""
        return self.record.outcome in _FINAL


@dataclass(frozen=True, slots=True)
class Encoded:
    """Attempts ready to be written."""

    plaintext_bytes: int
    chunks: tuple[bytes | memoryview, ...]
    kept: list[KeptAttempt]


class NewerLayoutError(Exception):
    """A newer fitcast wrote it."""


def encoded(ended: Sequence[Ended], file: str) -> Encoded:
    """Return the plaintext of a file, and what is held of it in memory.

    Raises
    ------
    InvalidSweepError
        Predictions aren't plain.
    """
    heads: list[list[Any]] = []
    raw: list[bytes | memoryview] = []
    places: list[tuple[Part | None, Part | None]] = []
    at = 0
    for one in ended:
        predictions = model = None
        if one.measured.predictions is not None:
            words, pieces = _array_bytes(one.measured.predictions)
            length = sum(map(len, pieces))
            values_bytes = len(pieces[0]) if len(pieces) > 1 else 0
            predictions = Part(file, at, length, words, values_bytes)
            raw += pieces
            at += length
        if one.measured.model is not None:
            model = Part(file, at, len(one.measured.model))
            raw.append(memoryview(one.measured.model))
            at += model.length
        places.append((predictions, model))
        row = record_to_json(one.record)
        heads.append(
            [
                one.fit_id,
                [row[column] for column in _COLUMNS],
                [write(getattr(one.measured, name)) for name, write in _WRITERS],
                _place(predictions),
                _place(model),
            ]
        )
    text = _JSON.encode([_COLUMNS, heads]).encode("ascii")
    first = PREAMBLE.pack(LAYOUT_VERSION, len(text)) + text
    kept = [
        KeptAttempt(
            one.fit_id,
            one.record,
            replace(one.measured, predictions=None, model=None),
            *(part and replace(part, offset=part.offset + len(first)) for part in parts),
        )
        for one, parts in zip(ended, places, strict=True)
    ]
    return Encoded(len(first) + at, (first, *raw), kept)


def heads_bytes(start: bytes | bytearray) -> int:
    """Return how many bytes the heads take, by the beginning of the plaintext.

    Raises
    ------
    NewerLayoutError
        They can't be read here.
    """
    version, length = PREAMBLE.unpack_from(start)
    if version > LAYOUT_VERSION:
        raise NewerLayoutError(
            f"a newer fitcast wrote it (version {version}, this one reads up to {LAYOUT_VERSION})"
        )
    return int(length)


def decoded(text: bytes | bytearray, file: str, plaintext_bytes: int) -> list[KeptAttempt]:
    """Return the attempts of the heads of a file.

    Raises
    ------
    ValueError, TypeError, KeyError
        It isn't what :func:`encoded` writes.
    NewerLayoutError
        A newer fitcast wrote a record.
    """
    base = PREAMBLE.size + len(text)
    columns, heads = json.loads(text)
    return [_kept(head, columns, file, base, plaintext_bytes) for head in heads]


def array_of(part: Part, data: bytearray) -> npt.NDArray[Any]:
    """Return predictions by their bytes.

    Raises
    ------
    ValueError
        They don't belong together.
    """
    if part.words is None:
        raise ValueError("these bytes are no array")
    kind, shape, _ = part.words
    view = memoryview(data)
    values = json.loads(bytes(view[: part.values_bytes])) if part.values_bytes else None
    return from_plain([kind, shape, values], view[part.values_bytes :])


def _array_bytes(array: npt.NDArray[Any]) -> tuple[Words, list[bytes | memoryview]]:
    """Return words of a few bytes, whatever the array; the values of objects lie before it."""
    (kind, shape, values), plain = to_plain(array)
    flat = np.ascontiguousarray(plain).reshape(-1)
    data = flat.view(np.uint8).data if flat.nbytes else memoryview(b"")
    if values is None:
        return [kind, shape, None], [data]
    return [kind, shape, None], [_JSON.encode(values).encode("ascii"), data]


def _place(part: Part | None) -> list[Any] | None:
    return None if part is None else [part.offset, part.length, part.words, part.values_bytes]


def _kept(
    head: list[Any], columns: list[str], file: str, base: int, plaintext_bytes: int
) -> KeptAttempt:
    fit_id, row, told, predictions, model = head
    record = row_to_record(dict(zip(columns, row, strict=True)))
    if record is None:
        raise NewerLayoutError("a newer fitcast wrote a record in it")
    if len(told) < _FIELDS_OF_VERSION_1:
        raise ValueError("what was measured isn't all there")
    fields = list(_READERS.items())[: len(told)]
    measured = {name: read(value) for (name, read), value in zip(fields, told, strict=True)}
    parts: list[Part | None] = []
    for place in (predictions, model):
        if place is None:
            parts.append(None)
            continue
        offset, length, words, values_bytes = place
        at = base + _whole(offset)
        if not 0 <= _whole(values_bytes) <= _whole(length) <= plaintext_bytes - at:
            raise ValueError("its parts lie elsewhere")
        parts.append(Part(file, at, length, words, values_bytes))
    return KeptAttempt(_text(fit_id), record, Measured(**measured), *parts)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("text was expected")
    return value


def _number(value: Any) -> float:
    if type(value) is not float:
        raise ValueError("a number was expected")
    return value


def _number_if_any(value: Any) -> float | None:
    return None if value is None else _number(value)


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("a whole number was expected")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(_text, value))


def _scores(value: Any) -> dict[str, float]:
    return {name: _number(score) for name, score in value.items()}


_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "outcome": Outcome,
    "runtime_s": _number,
    "cpu_s": _number,
    "peak_memory_bytes": _whole,
    "base_memory_bytes": _whole,
    "started_at": datetime.fromisoformat,
    "ended_at": datetime.fromisoformat,
    "shared_s": _number,
    "fit_time_s": _number,
    "score_time_s": _number,
    "scores": _scores,
    "train_scores": _scores,
    "model_error": _text,
    "stdout": _text,
    "stderr": _text,
    "warnings": _texts,
    "error_type": _text,
    "error_message": _text,
    "traceback": _text,
    "places": _text,
    "cpu_wait_s": _number_if_any,
    "loading_s": _number,
}
"""The fields of Measured in the order of a head's list, and how each is read; a new one goes to
the end, with a new version of the layout; those that an older version lacks get their defaults."""

_FIELDS_OF_VERSION_1: Final = 20

_TO_JSON: Final[dict[Callable[[Any], Any], Callable[[Any], Any]]] = {
    Outcome: lambda outcome: Outcome(outcome).value,
    _number: float,
    _number_if_any: lambda value: None if value is None else float(value),
    _whole: int,
    datetime.fromisoformat: datetime.isoformat,
    _scores: lambda scores: {name: float(score) for name, score in scores.items()},
    _text: str,
    _texts: list,
}

_WRITERS: Final = tuple((name, _TO_JSON[read]) for name, read in _READERS.items())
