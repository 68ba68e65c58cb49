"""The background process of a test's home: who it is, and that nothing of it stays behind."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from fitcast.scheduler.session.background.calls import Calls, UnreachableError
from fitcast.scheduler.session.background.place import BackgroundPlace
from tests.leases import leases_of
from tests.polling import wait_for


def background_pid(home: Path) -> int | None:
    """Return the background process of a home, if it answers."""
    with suppress(UnreachableError):
        return int(Calls(home).health()["pid"])
    return None


def below(pid: int) -> list[psutil.Process]:
    """Return the processes below one."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def lives(process: psutil.Process) -> bool:
    """Tell whether a process does anything any more."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def is_nothing_left(home: Path, pid: int, family: list[psutil.Process]) -> bool:
    """Tell whether a background process is gone with all that it had."""
    return (
        not psutil.pid_exists(pid)
        and not any(map(lives, family))
        and not BackgroundPlace(home).is_held()
        and not leases_of(pid)
    )


def ended(home: Path) -> None:
    """End the background process of a home in order; check that nothing is left of it."""
    pid = background_pid(home)
    if pid is None:
        return
    family = below(pid)
    os.kill(pid, signal.SIGTERM)
    assert wait_for(lambda: is_nothing_left(home, pid, family))
    assert not (home / "background" / "socket").exists()


@contextmanager
def ended_after(home: Path) -> Iterator[Path]:
    """End the background process of a home after a test."""
    try:
        yield home
    finally:
        ended(home)
