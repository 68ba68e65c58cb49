"""How long processes and their threads waited for a core, as Linux counts it.

In: reading ``/proc``, keeping what was last seen of threads that end. Not in: what a fit would have
taken without it (:mod:`fitcast.history.undisturbed`).

``/proc/PID/task/TID/schedstat`` has a thread's nanoseconds on a core, and those for which it was
ready to run and had none: behind other threads, or while its control group had used up its quota.
Sleeping and waiting for a disk don't count. The numbers go with the thread, so they are read
while it lives; that of a process's first thread stays until the process is reaped. Where the
kernel doesn't count (macOS, gVisor, kernels without ``SCHED_INFO``), nothing is measured.
"""

import os
from collections.abc import Iterable
from contextlib import suppress

_listdir, _open, _read, _close = os.listdir, os.open, os.read, os.close  # user code patches `os`

Tasks = dict[tuple[int, int], tuple[int, int]]
"""By process and thread: nanoseconds on a core, and of waiting for one."""

Times = tuple[float, float]
"""Seconds on a core, and of waiting for one."""


def tasks_of(pids: Iterable[int]) -> Tasks:
    """Return what the kernel counts of all threads of processes; none of those that are gone."""
    found: Tasks = {}
    for pid in pids:
        with suppress(OSError, ValueError):
            for name in _listdir(f"/proc/{pid}/task"):
                with suppress(OSError, ValueError, IndexError):
                    words = _text(f"/proc/{pid}/task/{name}/schedstat").split()
                    found[pid, int(name)] = int(words[0]), int(words[1])
    return found


def own_tasks() -> Tasks | None:
    """Return what it counts of this process's threads; None if that isn't possible."""
    return tasks_of((os.getpid(),)) or None


def times_between(before: Tasks, after: Tasks) -> Times:
    """Return the seconds on a core and of waiting between two looks, of threads seen in the last.

    A number that was given to another thread meanwhile counts from its beginning.
    """
    cpu_ns = wait_ns = 0
    for task, (on_ns, ready_ns) in after.items():
        on_before, ready_before = before.get(task, (0, 0))
        if on_ns < on_before or ready_ns < ready_before:
            on_before = ready_before = 0
        cpu_ns += on_ns - on_before
        wait_ns += ready_ns - ready_before
    return cpu_ns / 1e9, wait_ns / 1e9


def counts() -> bool:
    """Tell whether the kernel counts it: a thread that runs has been on a core."""
    return any(on_ns > 0 for on_ns, _ in (own_tasks() or {}).values())


class TaskWaits:
    """What was seen of processes over some time, threads that ended meanwhile included."""

    def __init__(self) -> None:
        self._last: Tasks = {}
        self._cpu_s = self._wait_s = 0.0

    def look(self, pids: Iterable[int]) -> Times:
        """Look at processes; return the seconds on a core and of waiting since the beginning."""
        now = tasks_of(pids)
        cpu_s, wait_s = times_between(self._last, now)
        self._last = now
        self._cpu_s += cpu_s
        self._wait_s += wait_s
        return self.times

    @property
    def times(self) -> Times:
        """Seconds on a core and of waiting, as last seen."""
        return self._cpu_s, self._wait_s


def machine_ticks() -> tuple[int, int] | None:
    """Return the machine's ticks at work and those stolen by its hypervisor; None if unknown."""
    with suppress(OSError, ValueError, IndexError):
        words = _text("/proc/stat").split("\n", 1)[0].split()
        if words[0] == "cpu" and len(words) > 8:
            user, nice, system, _, _, irq, softirq, stolen = (int(word) for word in words[1:9])
            return user + nice + system + irq + softirq, stolen
    return None


def _text(place: str) -> str:
    fd = _open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _read(fd, 65_536).decode("ascii", "replace")
    finally:
        _close(fd)
