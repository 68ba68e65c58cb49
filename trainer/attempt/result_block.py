"""The shared block in which the process of several fits reports on each.

In: how it lies in memory: whose turn it is and since when, then a report after the other. Not in:
what a report means (:mod:`fitcast.trainer.attempt.outcomes`).

The process may end at any moment, so a report counts only when it is whole: its length, which
stands before it, is written last.
"""

import os
import pickle
import struct
from dataclasses import dataclass

from fitcast.trainer.attempt.messages import Report

_TURN = struct.Struct("<QQQQ")  # number, monotonic ns, where its stdout and its stderr begin
_LENGTH = struct.Struct("<Q")

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


def append_report(fd: int, at: int, report: Report) -> int:
    """Write a report; return where the next one goes.

    Raises
    ------
    Exception
        What pickling raises; the block then holds what it held before.
    """
    os.ftruncate(fd, at)
    os.lseek(fd, at + _LENGTH.size, os.SEEK_SET)
    with open(fd, "wb", closefd=False) as file:
        pickle.dump(report, file, protocol=5)
        file.flush()
        end = file.tell()
    os.pwrite(fd, _LENGTH.pack(end - at - _LENGTH.size), at)
    return end


def read_reports(fd: int) -> list[Report | UnreadableReport]:
    """Return the whole reports, in the order of the fits."""
    found: list[Report | UnreadableReport] = []
    size = os.fstat(fd).st_size
    at = FIRST_REPORT
    with os.fdopen(os.dup(fd), "rb") as file:
        while at + _LENGTH.size <= size:
            (length,) = _LENGTH.unpack(os.pread(fd, _LENGTH.size, at))
            if length == 0 or at + _LENGTH.size + length > size:
                break
            file.seek(at + _LENGTH.size)
            try:
                report = pickle.load(file)  # noqa: S301 - our own code wrote it, from a user's fit
                if not isinstance(report, Report):
                    raise TypeError(f"a report was expected, not {type(report).__name__}")
                found.append(report)
            except Exception as error:  # it may hold the user's own classes, or be damaged
                found.append(UnreadableReport(error))
            at += _LENGTH.size + length
    return found
