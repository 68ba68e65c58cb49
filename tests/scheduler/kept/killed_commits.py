"""Commits that are ended, or fail, at each call to the system: ``python -m … MODE FOLDER``.

Prints as JSON, for each call at which it ended, what is left and what can be read.
"""

# ruff: noqa: T201 - its parent reads what it prints

import errno
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np

from fitcast.errors import StoreError
from fitcast.scheduler.kept import places
from fitcast.scheduler.kept.results import ResultStore
from fitcast.trainer import shared_memory
from tests.scheduler.kept.keeping import ended, numbers_of

KEY = b"k" * 32
ROWS = 400_000  # several writes


class StoppingOs:
    """The module os, but for its nth call: it ends the process, or fails as on a full disk."""

    def __init__(self, at, *, kill):
        self.at = at
        self.kill = kill
        self.calls = []

    def __getattr__(self, name):
        real = getattr(os, name)
        if not callable(real) or name in ("fspath", "listdir", "unlink", "close"):
            return real

        def call(*args, **kwargs):
            self.calls.append(name)
            if len(self.calls) == self.at:
                if name == "write":  # half of it
                    real(args[0], args[1][: len(args[1]) // 2])
                if self.kill:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args, **kwargs)

        return call


def store(folder):
    return ResultStore(str(folder / "w"), KEY, "w")


def commit(folder):
    store(folder).commit([ended(1, rows=ROWS), ended(2)])


def killed(folder, at):
    """Commit in a process that is killed at a call; return whether it was, and where."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        stopping = StoppingOs(at, kill=True)
        places.os = shared_memory.os = stopping
        commit(folder)
        os.write(write, json.dumps(stopping.calls).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        calls = pipe.read()
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status), calls


def failed(folder, at):
    stopping = places.os = shared_memory.os = StoppingOs(at, kill=False)
    try:
        commit(folder)
    except StoreError as error:
        assert "No space left" in str(error), error
        return True, ""
    finally:
        places.os = shared_memory.os = os
    return False, json.dumps(stopping.calls)


def tried(stop, folder, before, at):
    folder.mkdir()
    if before:
        store(folder).commit([ended(0)])
    stopped, calls = stop(folder, at)
    results = folder / "w" / "results"
    left = sorted(path.suffix for path in results.iterdir()) if results.is_dir() else []
    kept, messages = store(folder).load()
    for one in kept:
        rows = ROWS if one.record.candidate_index == 1 else 10
        expected = np.full(rows, float(one.record.candidate_index))
        assert np.array_equal(store(folder).predictions(one.predictions), expected)
    after = sorted(path.suffix for path in results.iterdir()) if results.is_dir() else []
    store(folder).commit([ended(3)])
    return {
        "stopped": stopped,
        "calls": json.loads(calls or "[]"),
        "left": left,
        "left after load": after,
        "kept": numbers_of(kept),
        "kept later": numbers_of(store(folder).load()[0]),
        "messages": messages,
    }


def main(mode, folder):
    stop = {"killed": killed, "failed": failed}[mode]
    told = []
    for before in (False, True):
        for at in range(1, 1000):
            told.append({"before": before} | tried(stop, folder / f"{before}-{at}", before, at))
            if not told[-1]["stopped"]:
                break
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
