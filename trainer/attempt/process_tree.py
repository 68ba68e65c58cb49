"""Processes as Linux shows them: their children, their memory, and how to end all of them.

In: reading /proc, ending every descendant for certain, the calls that make a process adopt
orphans or die with its parent. Not in: when to do it (:mod:`fitcast.trainer.attempt.supervisor`).
"""

# ruff: noqa: PTH208 - names are what /proc is listed for, and this is called often

import ctypes
import os
import resource
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PAGE_BYTES = resource.getpagesize()
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """Make this process the parent of descendants that lose theirs."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent_pid: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Have this process signalled when its parent ends; ends it if the parent is gone already.

    By SIGCONT for one that has to clear up: it notices by itself that nobody is there any more,
    unless it was stopped, and then goes on by this.
    """
    _prctl(_PR_SET_PDEATHSIG, by)
    if os.getppid() != parent_pid:
        os._exit(1)


def no_core_files() -> None:
    """Keep this process and all below it from ever writing a core file: it would hold the dataset.

    1 byte and not 0: that also keeps the program that a core pattern may name from being started.
    """
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def not_looked_into() -> None:
    """Keep other processes of the same user from reading this one's memory."""
    with suppress(OSError):
        _prctl(_PR_SET_DUMPABLE, 0)


def flush_c_streams() -> None:
    """Write out what C code printed and the C library still holds."""
    _libc.fflush(None)


def close_other_descriptors(keep: set[int]) -> None:
    """Close every descriptor from 3 up that is not to be kept."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd not in keep:
            with suppress(OSError):
                os.close(fd)


def children(pid: int) -> list[int]:
    """Return the processes whose parent is this one, zombies included."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    for thread in threads:
        try:
            text = _read(f"/proc/{pid}/task/{thread}/children")
        except FileNotFoundError:
            if _LISTS_CHILDREN:
                continue  # the thread ended
            return _children_by_scan(pid)
        except OSError:
            continue
        found += [int(child) for child in text.split()]
    return found


def descendants(pid: int) -> list[int]:
    """Return all processes below this one, parents before their children."""
    found: list[int] = []
    seen = {pid}
    todo = [pid]
    while todo:
        for child in children(todo.pop()):
            if child not in seen:
                seen.add(child)
                found.append(child)
                todo.append(child)
    return found


def living_below(pid: int) -> list[int]:
    """Return the processes below this one that aren't zombies."""
    return [one for one in descendants(pid) if state(one) not in ("Z", "X", "")]


def is_stopped(pid: int) -> bool:
    """Tell whether a process was stopped by a signal or a debugger."""
    return state(pid) in ("T", "t")


def kill_tree(pid: int, parent_pid: int, timeout_s: float = 2.0) -> None:
    """Kill a process, a child of `parent_pid`, with everything below it.

    What is below it goes first, for as long as it adopts orphans: afterwards they can't be found.
    """
    end = time.monotonic() + timeout_s
    while below := living_below(pid):
        tree = {pid, *descendants(pid)}
        for one in below:
            kill_if_below(one, tree)
        if time.monotonic() > end:
            break
        time.sleep(0.001)
    kill_if_below(pid, {parent_pid})


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process; 0 if it is gone."""
    try:
        return int(_read(f"/proc/{pid}/statm").split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0


def proportional_bytes(pid: int) -> int:
    """Return the memory of a process with shared pages divided among those who share them."""
    try:
        text = _read(f"/proc/{pid}/smaps_rollup")
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def private_bytes(pid: int) -> int | None:
    """Return what a process adds to the machine's memory beside blocks of shared memory.

    Its own pages, and its part of what it shares with others through forks and files. None if it
    is gone, or can't be looked at.
    """
    try:
        text = _read(f"/proc/{pid}/smaps_rollup")
    except OSError:
        return None
    parts = {line.split(":")[0]: line.split()[1] for line in text.splitlines()[1:]}
    if "Pss" not in parts:
        return None
    return (int(parts["Pss"]) - int(parts.get("Pss_Shmem", 0))) * 1024


def kill_descendants(timeout_s: float = 10.0, beat: Callable[[], None] = lambda: None) -> float:
    """Kill and reap everything below this process, however it resists.

    Needs :func:`adopt_orphans`: what is orphaned by the killing comes to this process. Gives a
    sign of life meanwhile by `beat`.

    Returns
    -------
    float
        CPU seconds of what was reaped.
    """
    own = os.getpid()
    cpu_s = 0.0
    end = time.monotonic() + timeout_s
    while True:
        beat()
        reaped, none_left = reap_any()
        cpu_s += reaped
        if none_left or time.monotonic() > end:
            return cpu_s
        below = descendants(own)
        tree = {own, *below}
        for pid in below:
            kill_if_below(pid, tree)
        time.sleep(0.001)


def reap_any() -> tuple[float, bool]:
    """Reap children that ended; return their CPU seconds and whether no child is left."""
    cpu_s = 0.0
    while True:
        try:
            pid, _, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return cpu_s, True
        if pid == 0:
            return cpu_s, False
        cpu_s += usage.ru_utime + usage.ru_stime


def kill_if_below(pid: int, tree: set[int]) -> None:
    """Kill a process if its parent is in the tree, even if its number was reused meanwhile."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    try:
        # the handle stands for one process for good: what is checked now is what gets killed
        if parent(pid) in tree:
            with suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
    finally:
        os.close(handle)


def parent(pid: int) -> int:
    """Return the parent of a process; 0 if it is gone."""
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def state(pid: int) -> str:
    """Return the letter of a process's state; nothing if it is gone."""
    fields = _stat(pid)
    return fields[0] if fields else ""


def session_of(pid: int) -> int:
    """Return the session that a process belongs to; 0 if it is gone."""
    fields = _stat(pid)
    return int(fields[3]) if fields else 0


def _stat(pid: int) -> list[str]:
    """Return what is said of a process behind its name, which may hold anything."""
    try:
        text = _read(f"/proc/{pid}/stat")
    except OSError:
        return []
    return text[text.rindex(")") + 2 :].split()


def kernel_kills() -> int | None:
    """Return how many processes of this control group the kernel killed for memory so far."""
    try:
        groups = _read("/proc/self/cgroup").splitlines()
    except OSError:
        return None
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            places = [f"/sys/fs/cgroup{path}/memory.events", "/sys/fs/cgroup/memory.events"]
        elif "memory" in controllers.split(","):
            root = "/sys/fs/cgroup/memory"
            places = [f"{root}{path}/memory.oom_control", f"{root}/memory.oom_control"]
        else:
            continue
        for place in places:
            count = _counter(place, "oom_kill")
            if count is not None:
                return count
    return _counter("/proc/vmstat", "oom_kill")


def _counter(place: str, name: str) -> int | None:
    with suppress(OSError, ValueError):
        for line in _read(place).splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return None


def _children_by_scan(pid: int) -> list[int]:
    return [int(n) for n in os.listdir("/proc") if n.isdigit() and parent(int(n)) == pid]


def _read(place: str) -> str:
    fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, 65_536):
            parts.append(part)
    finally:
        os.close(fd)
    return b"".join(parts).decode("utf-8", "replace")


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "prctl")


_LISTS_CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children").exists()
