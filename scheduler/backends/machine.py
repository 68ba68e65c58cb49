"""What this process may really use of this machine: CPUs and memory under cgroups and affinity.

Reads only. Dask's own limits (`distributed.system`) know cgroups too, but not a limit set on a
parent group, nor what is left under it.
"""

import math
import os
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60  # cgroup v1 writes a number near 2**63 for "no limit"


def usable_cpus(root: Path = _CGROUP, process: Path = Path("/proc/self/cgroup")) -> int:
    """Return how many CPUs this process may keep busy, at least 1."""
    cpus = float(len(os.sched_getaffinity(0)))
    for folder in _folders(root, process, "cpu"):
        words = _words(folder / "cpu.max")
        if len(words) == 2 and words[0] != "max":
            cpus = min(cpus, int(words[0]) / int(words[1]))
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if quota is not None and period and quota > 0:
            cpus = min(cpus, quota / period)
    return max(1, math.floor(cpus + 0.5))


def usable_memory_bytes(root: Path = _CGROUP, process: Path = Path("/proc/self/cgroup")) -> int:
    """Return how much memory this process and its children may hold, in bytes."""
    most = int(psutil.virtual_memory().total)
    for folder in _folders(root, process, "memory"):
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            limit = _number(folder / name)
            if limit is not None and 0 < limit < _UNLIMITED:
                most = min(most, limit)
    return most


def available_memory_bytes() -> int:
    """Return how much of it is free to be planned with now, in bytes."""
    free = int(psutil.virtual_memory().available)
    limit = usable_memory_bytes()
    return min(free, limit)


def _folders(root: Path, process: Path, controller: str) -> list[Path]:
    """Return the process's cgroup folder and its parents, v2 and v1, that exist."""
    found: list[Path] = []
    try:
        lines = process.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            base = root
        elif controller in controllers.split(","):
            base = root / controllers
            if not base.exists():
                base = root / controller
        else:
            continue
        folder = base / path.strip("/")
        # In a container the path may be the host's: then only the mount's own root is seen.
        while True:
            if folder.is_dir():
                found.append(folder)
            if folder == base:
                break
            folder = folder.parent
    return found or [root, root / controller]


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _number(path: Path) -> int | None:
    words = _words(path)
    return int(words[0]) if words and words[0].lstrip("-").isdigit() else None
