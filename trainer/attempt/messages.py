"""What runner, fork server, supervisor and fit say to each other, and how it is sent.

In: the messages and their framing. Not in: what anyone does with them.
"""

import math
import pickle
import socket
import struct
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fitcast.trainer.attempt.fitting import Fitted
from fitcast.trainer.attempt.spec import AttemptSpec

ATTEMPT = b"attempt"  # with: connection, result block, ledger, outputs, dataset, folds' blocks
LOAD = b"load"  # with: connection, block to fill
CUT = b"cut"  # with: connection, dataset block, block to fill
BRANCH = b"branch"  # with: connection, socket for its requests
READY = b"ready"
STARTED = b"S"  # supervisor → runner: I have the attempt
CANCEL = b"C"  # runner → supervisor

MAX_TEXT_CHARS = 65_536
"""Longest message, traceback, stdout or stderr that is kept of a fit; the end is what counts."""

MOST_DESCRIPTORS = 64
"""How many go with a request."""

_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class StartRequest:
    """Runner → supervisor: the attempts of a process in order, and the search path of modules."""

    specs: tuple[AttemptSpec, ...]
    sys_path: tuple[str, ...]
    block_folds: tuple[int, ...]  # whose rows are in the blocks that come with it, in order
    ledger_slot: int
    imports_s: float = 0.0  # CPU time of imports that each process has to do itself


@dataclass(frozen=True, slots=True)
class Load:
    """Runner → loader: what to unseal. The key stays in its file until the loader reads it."""

    uri: str
    key_file: str
    dataset_id: str
    sys_path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """Runner → loader: the fold whose rows to cut out."""

    fold: int
    sys_path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Branch:
    """Runner → branch of the fork server: the libraries to import."""

    modules: tuple[str, ...]
    sys_path: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Branched:
    """Branch → runner."""

    cpu_s: float = 0.0
    why_not: str = ""  # it can't be forked; it has ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Loader → runner."""

    held_bytes: int = 0
    shareable: bool = False  # rows can be cut out without knowing the estimator
    error: str = ""
    sealed_wrong: bool = False  # the error is about the seal


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Fit → runner, through the result block: how the code of the fit ended, and its cost."""

    fitted: Fitted | None = None
    warnings: tuple[str, ...] = ()
    out_of_memory: bool = False  # an allocation failed
    error_type: str = ""
    error_message: str = ""
    traceback: str = ""
    places: str = ""  # the traceback without messages
    ended_s: float = 0.0  # monotonic
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    imported: tuple[str, ...] = ()  # installed libraries that the fork server didn't have
    loading_s: float = 0.0  # of it, what a later fit of the process is spared: loading, imports
    stdout_end: int = 0  # where its text ends in the process's output
    stderr_end: int = 0
    cpu_wait_s: float = math.nan  # ready to run and without a core; NaN: not measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Supervisor → runner: how the process of the fits ended and what it cost."""

    killed_for: str = ""  # "memory", "room", "deadline", "cancel"; "" if it wasn't killed
    killed_turn: int | None = None  # whose turn it was when its limit was passed
    exit_code: int = 0  # negative: minus the number of the signal
    kernel_out_of_memory: bool = False  # the kernel killed for memory in our group meanwhile
    began_s: float  # monotonic
    ended_s: float
    cpu_s: float
    peak_memory_bytes: int  # since the last turn began
    base_memory_bytes: int
    started_at: datetime
    last_turn: int = 0
    tree_peaks: dict[int, int]  # highest memory seen by turn, where a fit had processes of its own
    cpu_waits: dict[int, float] = field(default_factory=dict)  # seconds seen by turn, if measured
    stolen_share: float = 0.0  # what the hypervisor took, over what the machine's cores worked


class ConnectionLostError(Exception):
    """The other side is gone."""


def send_message(connection: socket.socket, message: object) -> None:
    """Send one message, however large."""
    body = pickle.dumps(message, protocol=5)
    try:
        connection.sendall(_LENGTH.pack(len(body)))
        connection.sendall(body)
    except OSError as error:
        raise ConnectionLostError(str(error)) from error


def receive_message(connection: socket.socket) -> Any:
    """Wait for one message."""
    (length,) = _LENGTH.unpack(receive_exactly(connection, _LENGTH.size))
    return pickle.loads(receive_exactly(connection, length))  # noqa: S301 - from our own process


def receive_exactly(connection: socket.socket, wanted: int) -> bytearray:
    """Wait for this many bytes."""
    data = bytearray(wanted)
    view = memoryview(data)
    while view:
        try:
            got = connection.recv_into(view)
        except OSError as error:
            raise ConnectionLostError(str(error)) from error
        if got == 0:
            raise ConnectionLostError("the other side closed the connection")
        view = view[got:]
    return data
