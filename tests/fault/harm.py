"""Whom to harm: the processes that run a client's fits, by what they are.

Only finding and signalling them. What must hold afterwards is in :mod:`tests.fault.holding`.
"""

import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil

from fitcast import Client
from tests.polling import LONGEST_S, wait_for

KINDS = ("fit", "supervisor", "fork server", "worker")


def victims(client: Client) -> dict[str, list[psutil.Process]]:
    """Return the processes that run this client's fits."""
    cluster = client._platform.engine._backend._cluster
    found: dict[str, list[psutil.Process]] = {kind: [] for kind in KINDS}
    for nanny in [] if cluster is None else list(cluster.workers.values()):
        # Nannies are at home in another thread: what one says may be over while it is read.
        with suppress(psutil.Error, ValueError, AttributeError):
            if nanny.pid is None:
                continue
            worker = psutil.Process(nanny.pid)
            found["worker"].append(worker)
            for server in worker.children():
                if "fork_server" not in " ".join(server.cmdline()):
                    continue
                found["fork server"].append(server)
                for supervisor in server.children():
                    fits = supervisor.children()
                    if fits:  # else it loads data, or has just begun
                        found["supervisor"].append(supervisor)
                        found["fit"] += fits
    return found


def strike(
    client: Client, kind: str, chance: random.Random, *, sign: int = signal.SIGKILL
) -> psutil.Process | None:
    """Send a signal to one of a kind; return it, None if there is none now."""
    there = victims(client)[kind]
    if not there:
        return None
    victim = chance.choice(there)
    try:
        victim.send_signal(sign)
    except psutil.NoSuchProcess:
        return None
    return victim


def strike_surely(
    client: Client, kind: str, chance: random.Random, *, sign: int = signal.SIGKILL
) -> psutil.Process:
    """Do so as soon as there is one; one that is stopped stands still when this returns."""
    found: list[psutil.Process] = []

    def struck() -> bool:
        victim = strike(client, kind, chance, sign=sign)
        if victim is not None:
            found.append(victim)
        return victim is not None

    assert until(struck), f"there was no {kind} to harm"
    if sign == signal.SIGSTOP:
        assert until(lambda: _stands_still(found[0]))
    return found[0]


def _stands_still(process: psutil.Process) -> bool:
    """Tell whether a process that was stopped is, which on a busy machine comes a moment later."""
    try:
        return process.status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return True


@contextmanager
def patient(client: Client) -> Iterator[None]:
    """Have this client's workers silent for as long as they may be, and none of them ended."""
    watched = client._platform.engine._backend._upkeep._watched.values()
    before = [one._silent_after_s for one in watched]
    for one in watched:
        one._silent_after_s = float("inf")
    try:
        yield
    finally:
        for one, silent_after_s in zip(watched, before, strict=True):
            one._silent_after_s = silent_after_s


def longest_silence_s(client: Client) -> float:
    """Return for how long the quietest of this client's workers hasn't been heard of."""
    return max(one._quiet_s for one in client._platform.engine._backend._upkeep._watched.values())


def until(condition: Callable[[], bool], timeout_s: float = LONGEST_S) -> bool:
    """Wait until something holds; False if it doesn't."""
    return wait_for(condition, timeout_s)
