"""Files in memory that a fit holds without mapping them, or left behind: counted, and removed.

In: memory files (memfd), and files on file systems that lie in memory (/dev/shm above all), as far
as processes of one fit hold them open; which of /dev/shm they made. Not in: limits
(:mod:`fitcast.trainer.attempt.supervisor`), memory that is mapped: that is in the processes' own.

A file counts once, by the memory it takes, less what of it is mapped and so counted already. What
is open at no look is not seen, and what another process may have made is left where it is.
"""

# ruff: noqa: PTH115, PTH123, PTH208 - names are what folders are listed for, and often

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

SHM_DIR = "/dev/shm"  # noqa: S108 - looked at, not written to
_BLOCK_BYTES = 512  # what st_blocks counts in
_WRITING = os.O_WRONLY | os.O_RDWR

Identity = tuple[int, int]
"""Device and inode."""


@dataclass(frozen=True, slots=True)
class Held:
    """What files in memory take that a fit's processes hold."""

    bytes: int  # less what is mapped
    files: int


class HeldFiles:
    """The files in memory of one process of fits, as its supervisor sees them.

    Parameters
    ----------
    ours : iterable of int
        Descriptors of our own blocks, which don't count.
    """

    def __init__(self, ours: Iterable[int]) -> None:
        about = [os.fstat(fd) for fd in ours]
        self._ours = {(one.st_dev, one.st_ino) for one in about}
        self._devices = {one.st_dev for one in about} | memory_devices()
        self._before = _listed()
        self._made: dict[str, Identity] = {}  # in /dev/shm, by path

    def look(self, pids: Iterable[int]) -> Held:
        """Look at what processes hold now."""
        pids = list(pids)
        sizes: dict[Identity, int] = {}
        for pid in pids:
            self._look_at(pid, sizes)
        for path, known in self._made.items():  # closed, and still there
            with suppress(OSError):
                about = os.lstat(path)
                if (about.st_dev, about.st_ino) == known:
                    sizes[known] = about.st_blocks * _BLOCK_BYTES
        if not any(sizes.values()):
            return Held(0, len(sizes))
        mapped = sum(_mapped_bytes(pid, set(sizes)) for pid in pids)
        return Held(max(0, sum(sizes.values()) - mapped), len(sizes))

    def remove_left(self) -> list[str]:
        """Remove from /dev/shm what the processes made there; they are gone. Return what."""
        removed: list[str] = []
        if not self._made:
            return removed
        used = _used_by_anyone(set(self._made.values()))
        for path, known in self._made.items():
            with suppress(OSError):
                about = os.lstat(path)
                same = (about.st_dev, about.st_ino) == known and known not in used
                if same and stat.S_ISREG(about.st_mode) and about.st_uid == os.getuid():
                    os.unlink(path)  # noqa: PTH108
                    removed.append(path)
                    _remove_empty(os.path.dirname(path), self._before)  # noqa: PTH120
        return removed

    def _look_at(self, pid: int, sizes: dict[Identity, int]) -> None:
        folder = f"/proc/{pid}/fd"
        try:
            names = os.listdir(folder)
        except OSError:
            return
        for name in names:
            place = f"{folder}/{name}"
            try:
                about = os.stat(place)  # noqa: PTH116
            except OSError:
                continue
            found = about.st_dev, about.st_ino
            if about.st_dev not in self._devices or found in self._ours:
                continue
            if not stat.S_ISREG(about.st_mode):
                continue
            if found not in sizes:
                sizes[found] = about.st_blocks * _BLOCK_BYTES
            if about.st_nlink:
                self._note(pid, name, place, found)

    def _note(self, pid: int, name: str, place: str, found: Identity) -> None:
        """Note a file of /dev/shm that wasn't there before, and is written to."""
        with suppress(OSError, ValueError, StopIteration):
            path = os.readlink(place)
            if path in self._made or not path.startswith(SHM_DIR + "/"):
                return
            top = path[len(SHM_DIR) + 1 :].split("/")[0]
            if top in self._before or not _writes(pid, name):
                return
            self._made[path] = found


@cache
def memory_devices() -> frozenset[int]:
    """Return the devices of file systems that lie in memory; looked up once, before forking."""
    fd = os.memfd_create("fitcast-probe", os.MFD_CLOEXEC)
    found = {os.fstat(fd).st_dev}
    os.close(fd)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            before, _, after = line.partition(" - ")
            if after.split(" ", 1)[0] in ("tmpfs", "ramfs"):
                major, minor = before.split()[2].split(":")
                found.add(os.makedev(int(major), int(minor)))
    return frozenset(found)


def _listed() -> set[str]:
    try:
        return set(os.listdir(SHM_DIR))
    except OSError:
        return set()


def _writes(pid: int, name: str) -> bool:
    with open(f"/proc/{pid}/fdinfo/{name}", encoding="ascii") as lines:
        flags = next(line for line in lines if line.startswith("flags:"))
    return bool(int(flags.split()[1], 8) & _WRITING)


def _mapped_bytes(pid: int, files: set[Identity]) -> int:
    """Return how much of these files counts in a process's own memory."""
    total, counts = 0, False
    with suppress(OSError), open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            first, _, rest = line.partition(" ")
            if not first.endswith(":"):
                _, _, device, inode, *_ = rest.split()
                major, minor = (int(part, 16) for part in device.split(":"))
                counts = (os.makedev(major, minor), int(inode)) in files
            elif counts and first == "Pss:":
                total += int(rest.split()[0]) * 1024
    return total


def _used_by_anyone(files: set[Identity]) -> set[Identity]:
    """Return which of these files some process that we may look at has open or mapped."""
    used: set[Identity] = set()
    inodes = {str(inode) for _, inode in files}
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        with suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    about = os.stat(f"/proc/{pid}/fd/{name}")  # noqa: PTH116
                    used.add((about.st_dev, about.st_ino))
        with suppress(OSError), open(f"/proc/{pid}/maps", errors="replace") as lines:
            mapped = {parts[4] for parts in (line.split(None, 5) for line in lines)}
            used |= {one for one in files if str(one[1]) in mapped & inodes}
    return used & files


def _remove_empty(folder: str, before: set[str]) -> None:
    """Remove folders of /dev/shm that are empty now and weren't there before."""
    with suppress(OSError):
        while folder.startswith(SHM_DIR + "/"):
            if folder[len(SHM_DIR) + 1 :].split("/")[0] in before:
                return
            os.rmdir(folder)  # noqa: PTH106
            folder = os.path.dirname(folder)  # noqa: PTH120
