"""The shared block in which the process of several fits reports on each.

In: how it lies in memory: whose turn it is and since when, then a report after the other. Not in:
what a report means (:mod:`fitcast.trainer.attempt.outcomes`).

The process may end at any moment, so a report counts only when it is whole: its length, which
stands before it, is written last.
"""

import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fitcast.errors import InvalidSweepError
from fitcast.trainer.attempt.fitting import Fitted
from fitcast.trainer.attempt.messages import Report
from fitcast.trainer.attempt.plain_arrays import from_plain, to_plain
from fitcast.trainer.attempt.spec import RESULT_BYTES, AttemptSpec

_TURN = struct.Struct("<QQQQ")  # number, monotonic ns, where its stdout and its stderr begin
_LENGTH = struct.Struct("<Q")
_HEAD = struct.Struct("<Q")  # bytes of the JSON that a report begins with
_HEAD_BYTES = 64 * 2**20
_JSON = json.JSONEncoder(separators=(",", ":"))
_FIRST_BYTES = 4_096  # read at once, which most heads are shorter than
_CHUNK_BYTES = 2**30  # the kernel takes two at most
_REPORT: dict[str, type] = {
    "warnings": list,
    "out_of_memory": bool,
    "error_type": str,
    "error_message": str,
    "traceback": str,
    "places": str,
    "ended_s": float,
    "cpu_s": float,
    "peak_memory_bytes": int,
    "imported": list,
    "loading_s": float,
    "stdout_end": int,
    "stderr_end": int,
    "cpu_wait_s": float,
}
_FITTED: dict[str, type] = {
    "fit_time_s": float,
    "score_time_s": float,
    "scores": dict,
    "train_scores": dict,
    "shared_s": float,
    "model_error": str,
}

FIRST_REPORT = _TURN.size
"""Where the first report goes."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Which fit of a process runs."""

    number: int
    began_s: float  # monotonic
    stdout_at: int
    stderr_at: int


@dataclass(frozen=True, slots=True)
class UnreadableReport:
    """A whole report that can't be read here."""

    error: Exception


def begin_turn(fd: int, turn: Turn) -> None:
    """Say that a fit begins."""
    at_ns = round(turn.began_s * 1e9)
    os.pwrite(fd, _TURN.pack(turn.number, at_ns, turn.stdout_at, turn.stderr_at), 0)


def current_turn(fd: int) -> Turn:
    """Return which fit has its turn."""
    data = os.pread(fd, _TURN.size, 0)
    if len(data) < _TURN.size:
        return Turn(0, 0.0, 0, 0)  # nobody said so yet
    number, at_ns, stdout_at, stderr_at = _TURN.unpack(data)
    return Turn(number, at_ns / 1e9, stdout_at, stderr_at)


def append_report(fd: int, at: int, report: Report, limit_bytes: int = RESULT_BYTES) -> int:
    """Write a report; return where the next one goes.

    Raises
    ------
    InvalidSweepError
        It is too large, or holds what isn't plain; the block then holds what it held before.
    """
    head, parts = _encoded(report)
    total = len(head) + sum(part.nbytes for part in parts)
    if total > limit_bytes:
        raise InvalidSweepError(
            f"the result of the fit takes {total:,} bytes, more than the {limit_bytes:,} that one "
            "may: predict_method=None leaves predictions out, refit=False the model, and "
            "FITCAST_RESULT_BYTES sets another limit"
        )
    if len(head) > _HEAD_BYTES:
        raise InvalidSweepError(
            f"texts and scores of the fit take {len(head):,} bytes, more than the {_HEAD_BYTES:,} "
            "that they may: return fewer or shorter ones"
        )
    os.ftruncate(fd, at)
    end = _write(fd, memoryview(_HEAD.pack(len(head)) + head), at + _LENGTH.size)
    for part in parts:
        end = _write(fd, part, end)
    os.pwrite(fd, _LENGTH.pack(end - at - _LENGTH.size), at)
    return end


def read_reports(
    fd: int, specs: Sequence[AttemptSpec] | None = None
) -> list[Report | UnreadableReport]:
    """Return the whole reports, in the order of the fits.

    Nothing in them runs: a head of JSON, and raw bytes. With ``specs``, results are held to what
    these say of size and rows, whatever wrote them.
    """
    found: list[Report | UnreadableReport] = []
    size = os.fstat(fd).st_size
    at = FIRST_REPORT
    while at + _LENGTH.size <= size and (specs is None or len(found) < len(specs)):
        (length,) = _LENGTH.unpack(os.pread(fd, _LENGTH.size, at))
        if length == 0 or at + _LENGTH.size + length > size:
            break
        spec = None if specs is None else specs[len(found)]
        try:
            found.append(_decoded(fd, at + _LENGTH.size, length, spec))
        except Exception as error:  # the fit's code could write anything
            found.append(UnreadableReport(error))
        at += _LENGTH.size + length
    return found


def _encoded(report: Report) -> tuple[bytes, list[memoryview]]:
    fitted = report.fitted
    words: list[Any] = [getattr(report, name) for name in _REPORT]
    told: dict[str, Any] | None = None
    parts: list[memoryview] = []
    if fitted is not None:
        told = {name: getattr(fitted, name) for name in _FITTED}
        if fitted.predictions is not None:
            told["array"], array = to_plain(fitted.predictions)
            raw = np.ascontiguousarray(array).reshape(-1)
            parts.append(raw.view(np.uint8).data if raw.nbytes else memoryview(b""))
            told["array_bytes"] = raw.nbytes
        if fitted.model is not None:
            parts.append(memoryview(fitted.model))
            told["model_bytes"] = len(fitted.model)
    return _JSON.encode([words, told]).encode("ascii"), parts


def _decoded(fd: int, at: int, length: int, spec: AttemptSpec | None) -> Report:
    if spec is not None and length > spec.result_bytes + _HEAD.size:
        raise ValueError(f"it has {length:,} bytes, more than it may")
    first = os.pread(fd, min(length, _FIRST_BYTES), at)
    (head_bytes,) = _HEAD.unpack_from(first)
    if head_bytes > min(_HEAD_BYTES, length - _HEAD.size):
        raise ValueError("its head is damaged")
    head = first[_HEAD.size : _HEAD.size + head_bytes]
    if len(head) < head_bytes:
        head = bytes(_read(fd, at + _HEAD.size, head_bytes))
    words, told = json.loads(head)
    values: dict[str, Any] = {}
    for (name, kind), value in zip(_REPORT.items(), words, strict=True):
        values[name] = _exactly(kind, value)
    for name in ("warnings", "imported"):
        values[name] = tuple(_exactly(str, text) for text in values[name])
    if told is None:
        return Report(**values)
    given = {name: _exactly(kind, told[name]) for name, kind in _FITTED.items()}
    for scores in (given["scores"], given["train_scores"]):
        for value in scores.values():
            _exactly(float, value)
    end = at + length
    at += _HEAD.size + head_bytes
    for name in ("array_bytes", "model_bytes"):
        wanted = _exactly(int, told.get(name, 0))
        if not 0 <= wanted <= end - at:
            raise ValueError("its parts are damaged")
        if name == "array_bytes" and "array" in told:
            if spec is not None and spec.rows_test is not None:
                shape = told["array"][1]
                if not shape or shape[0] != spec.rows_test:
                    raise ValueError(
                        f"predictions of shape {tuple(shape)} for {spec.rows_test} rows"
                    )
            given["predictions"] = from_plain(told["array"], _read(fd, at, wanted))
        elif name == "model_bytes" and "model_bytes" in told:
            given["model"] = bytes(_read(fd, at, wanted))
        at += wanted
    return Report(fitted=Fitted(**given), **values)


def _exactly(kind: type, value: Any) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError("it is damaged")
    return value


def _write(fd: int, part: memoryview, at: int) -> int:
    while part:
        written = os.pwrite(fd, part[:_CHUNK_BYTES], at)
        part, at = part[written:], at + written
    return at


def _read(fd: int, at: int, wanted: int) -> memoryview:
    """Read into memory of our own: a block whose writer still lives may shrink."""
    data = view = np.empty(wanted, np.uint8).data
    while view:
        got = os.preadv(fd, [view[:_CHUNK_BYTES]], at)
        if not got:
            raise ValueError("it was cut off")
        view, at = view[got:], at + got
    return data
