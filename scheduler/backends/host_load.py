"""What other processes leave of this machine's cores: looked at before a sweep, and during it.

Reads only, but for the probe: if somebody else is seen to run, as many short-lived processes as
fits would run spin for a moment, and the kernel says which share of a core they got. What counts
there (sessions, control groups, priorities) differs from system to system and can't be known from
outside. While fits run, they themselves are the probe.

Not in: what a share means (:mod:`fitcast.scheduler.forecast.availability`). Where the kernel
counts no waiting (macOS, gVisor), nothing is known and forecasts are as for a quiet machine.
"""

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from fitcast.scheduler.backends.machine import usable_cpus
from fitcast.scheduler.forecast.availability import FRESH_S, Others, Shares
from fitcast.trainer.attempt.process_tree import descendants, session_of, state
from fitcast.trainer.attempt.task_waits import (
    Tasks,
    Times,
    counts,
    tasks_of,
    times_between,
)

PROBE_S = 0.15
"""Wall clock that each process of a probe spins for: some tens of the kernel's time slices."""

_PROBE = f"""
import time
end = time.monotonic() + {PROBE_S}
while time.monotonic() < end:
    pass
print(*open("/proc/self/schedstat").read().split()[:2])
"""
_PROBE_WITHIN_S = 10.0
_LOOKS = 5
_BETWEEN_LOOKS_S = 0.006
_LEAST_OTHERS = 0.25  # threads of others at a time: fewer leave a core for each of ours
_LEAST_PRESSURE = 5.0  # per cent of the last seconds in which somebody waited for a core
_LONGEST_STEP_S = 30.0  # what lies between two looks further apart says nothing of now


class HostLoad:
    """What others want of this machine's cores. From any thread.

    Parameters
    ----------
    cores : float, optional
        Those that this process may use; read, by default.
    """

    def __init__(self, cores: float | None = None) -> None:
        self._cores = float(usable_cpus()) if cores is None else cores
        self._lock = threading.Lock()
        self._shares = Shares()
        self._tasks: Tasks = {}
        self._looked_s = 0.0
        self._probed_s = -FRESH_S
        self._counts = counts()

    def before(self, own: int) -> Others | None:
        """Return what others want before `own` threads of fits run; it may take some 0.2 s.

        None if that isn't known, or nobody else is seen to run.
        """
        if not self._counts:
            return None
        with self._lock:
            now_s = self._look()
            if not self._shares.is_fresh(now_s) and now_s - self._probed_s >= FRESH_S:
                self._probed_s = now_s
                if not _others_run():
                    self._shares = Shares()
                else:
                    self._probe(max(1, min(own, int(self._cores))))
            return self._shares.others(time.monotonic(), self._cores)

    def now(self) -> Others | None:
        """Return what others want, as far as the fits that run tell."""
        if not self._counts:
            return None
        with self._lock:
            return self._shares.others(self._look(), self._cores)

    def _look(self) -> float:
        """See what the fits below this process got since the last look; return the time."""
        now_s, tasks = time.monotonic(), tasks_of(_fits())
        step_s = now_s - self._looked_s
        if 0.0 < step_s <= _LONGEST_STEP_S:
            cpu_s, wait_s = times_between(self._tasks, tasks)
            # Beyond the cores they, and what serves them, stand in each other's way: that slows
            # fits as others do, and what was learned of them is without it.
            own = min((cpu_s + wait_s) / step_s, self._cores)
            self._shares.note(now_s, cpu_s, wait_s, own)
        self._tasks, self._looked_s = tasks, now_s
        return now_s

    def _probe(self, processes: int) -> None:
        ours = [os.getpid(), *descendants(os.getpid())]
        before, began_s = tasks_of(ours), time.monotonic()
        probes = [_spinning() for _ in range(processes)]
        told = [times for times in map(_told, probes) if times is not None]
        if not told:
            return
        beside = times_between(before, tasks_of(ours))
        now_s = time.monotonic()
        own = len(told) + sum(beside) / (now_s - began_s)
        cpu_s, wait_s = (sum(one[part] for one in told) for part in (0, 1))
        self._shares = Shares()  # of another time
        self._shares.note(now_s, cpu_s, wait_s, own)


def _fits() -> list[int]:
    """Return the processes of fits below this one: they lead sessions of their own."""
    here = os.getpid()
    session = session_of(here)
    return [pid for pid in descendants(here) if session_of(pid) not in (session, 0)]


def _others_run() -> bool:
    """Tell whether threads of others are seen to run, or somebody had to wait lately."""
    seen = 0
    for _ in range(_LOOKS):
        running = _running()
        if running > 1:
            seen += max(0, running - _own_running())
        time.sleep(_BETWEEN_LOOKS_S)
    return seen >= _LEAST_OTHERS * _LOOKS or _pressure() >= _LEAST_PRESSURE


def _running() -> int:
    """Return how many threads run or want to, on this machine; 0 if that isn't told."""
    with suppress(OSError, ValueError, IndexError):
        words = Path("/proc/loadavg").read_text(encoding="ascii").split()
        return int(words[3].partition("/")[0])
    return 0


def _own_running() -> int:
    """Return how many of them are this process's own, and of those below it."""
    return 1 + sum(state(pid) == "R" for pid in descendants(os.getpid()))


def _pressure() -> float:
    """Return in how much of the last 10 s a thread waited for a core, in per cent."""
    with suppress(OSError, ValueError, IndexError):
        words = Path("/proc/pressure/cpu").read_text(encoding="ascii").split()
        return float(words[1].removeprefix("avg10="))
    return 0.0


def _spinning() -> "subprocess.Popen[bytes] | None":
    with suppress(OSError):
        return subprocess.Popen(  # noqa: S603 - this interpreter, and a text of ours
            [sys.executable, "-I", "-S", "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # as fits are: the kernel may share by sessions
        )
    return None


def _told(probe: "subprocess.Popen[bytes] | None") -> Times | None:
    """Return the seconds that a process had a core, and waited for one; None if it didn't say."""
    if probe is None:
        return None
    try:
        text, _ = probe.communicate(timeout=_PROBE_WITHIN_S)
        cpu_ns, wait_ns = (int(word) for word in text.split())
    except (subprocess.TimeoutExpired, ValueError):
        return None
    finally:
        if probe.poll() is None:
            probe.kill()
            probe.communicate()
    return cpu_ns / 1e9, wait_ns / 1e9
