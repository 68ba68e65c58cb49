"""The memory of a worker, as all supervisors of its fits see it together.

In: who runs on the worker and with which share, what they hold in all, who must go when it is too
much. Not in: looking and killing (:mod:`fitcast.trainer.attempt.supervisor`), who gets which share
(the plan).

Fits are packed by what they probably hold at the same time, so a worker may overflow (with a
chance that the plan states). Then the fit that is furthest above its share ends, at once, and no
other is harmed. The ledger is a shared block with a slot for every process of fits; its supervisor
writes to it, the runner gives and clears it.

What is compared with the worker's memory is what is really held: private memory of the fits (their
proportional part of what they share with others), and the blocks with rows once. That costs a
look through page tables, so as long as the sum of resident sizes, less what is known to be shared,
is below the bound, nothing else is read.
"""

import mmap
import os
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass

from fitcast.trainer.attempt.process_tree import private_bytes, resident_bytes
from fitcast.trainer.shared_memory import new_block

_HEAD = struct.Struct("<QQQ")  # the worker's memory (0: no bound), blocks of rows, slots to read
_SLOT = struct.Struct("<QQQ")  # process (0: free), share, bytes of its children
SLOTS = 256
_SIZE = _HEAD.size + SLOTS * _SLOT.size


class MemoryLedger:
    """A worker's ledger, as its runner holds it.

    Parameters
    ----------
    memory_bytes : int or None
        What all fits and blocks may hold together; None for no bound.
    """

    def __init__(self, memory_bytes: int | None) -> None:
        self.fd = new_block("fitcast-ledger")
        os.ftruncate(self.fd, _SIZE)
        self._map = mmap.mmap(self.fd, _SIZE)
        self._memory_bytes = memory_bytes or 0
        self._blocks_bytes = 0
        self._lock = threading.Lock()
        self._taken: set[int] = set()
        self._write_head()

    def take(self, share_bytes: int) -> int:
        """Allocate a slot; there are more than a worker has threads."""
        with self._lock:
            slot = next(slot for slot in range(SLOTS) if slot not in self._taken)
            _SLOT.pack_into(self._map, _place(slot), 0, share_bytes, 0)
            self._taken.add(slot)
            self._write_head()
            return slot

    def clear(self, slot: int) -> None:
        """Free a slot."""
        with self._lock:
            _SLOT.pack_into(self._map, _place(slot), 0, 0, 0)
            self._taken.discard(slot)
            self._write_head()

    def blocks(self, held_bytes: int) -> None:
        """Set how much memory blocks of rows hold."""
        with self._lock:
            self._blocks_bytes = held_bytes
            self._write_head()

    def _write_head(self) -> None:
        slots = max(self._taken, default=-1) + 1
        _HEAD.pack_into(self._map, 0, self._memory_bytes, self._blocks_bytes, slots)

    def close(self) -> None:
        """Let go of it."""
        if self.fd >= 0:
            self._map.close()
            os.close(self.fd)
            self.fd = -1


@dataclass(frozen=True, slots=True)
class _Entry:
    slot: int
    pid: int
    share_bytes: int
    used_bytes: int


class LedgerView:
    """A worker's ledger, as the supervisor of one process of fits sees it.

    Parameters
    ----------
    fd : int
        The block; closed here.
    slot : int
        The supervisor's own.
    resident, private : callable
        Bytes of a process, quickly and exactly; None while a process is ending.
    """

    def __init__(
        self,
        fd: int,
        slot: int,
        *,
        resident: Callable[[int], int] = resident_bytes,
        private: Callable[[int], int | None] = private_bytes,
    ) -> None:
        self._map = mmap.mmap(fd, _SIZE)
        self._map.madvise(mmap.MADV_DONTFORK)  # no fit is to write to it
        os.close(fd)
        self._slot = slot
        self._resident = resident
        self._private = private
        self._pid = 0
        self._shared: dict[int, int] = {}  # of processes: resident bytes that aren't their own

    def enter(self, pid: int) -> None:
        """Set the process that the slot belongs to."""
        self._write(pid, 0)
        self._pid = pid

    def children(self, held_bytes: int) -> None:
        """Set the memory of its child processes."""
        self._write(self._pid, held_bytes)

    def look(self) -> tuple[bool, float]:
        """Compare what all hold with the worker's memory.

        Returns
        -------
        bool
            Whether the process of this slot must go.
        float
            Bytes that a process may grow by before another look is needed; infinite if there is
            no bound.
        """
        bound, blocks, slots = _HEAD.unpack_from(self._map, 0)
        if bound == 0:
            return False, float("inf")
        entries = self._entries(slots)
        room = bound - blocks - self._held(entries)
        if room < 0:
            self._look_closely(entries)  # what is found to be shared counts from now on
            room = bound - blocks - self._held(entries)
            if room < 0:
                goes = max(entries, key=lambda one: (one.used_bytes - one.share_bytes, -one.slot))
                return goes.slot == self._slot, 0.0
        return False, max(0.0, room) / max(1, len(entries))

    def _entries(self, slots: int) -> list[_Entry]:
        found = []
        for slot in range(slots):
            pid, share_bytes, children_bytes = _SLOT.unpack_from(self._map, _place(slot))
            if pid:
                used_bytes = self._resident(pid) + children_bytes
                found.append(_Entry(slot, pid, share_bytes, used_bytes))
        return found

    def _held(self, entries: list[_Entry]) -> int:
        return sum(max(0, one.used_bytes - self._shared.get(one.pid, 0)) for one in entries)

    def _look_closely(self, entries: list[_Entry]) -> None:
        self._shared = {}
        for one in entries:
            resident_now, private_now = self._resident(one.pid), self._private(one.pid)
            if private_now is not None:
                self._shared[one.pid] = max(0, resident_now - private_now)

    def _write(self, pid: int, children_bytes: int) -> None:
        at = _place(self._slot)
        _, share_bytes, _ = _SLOT.unpack_from(self._map, at)
        _SLOT.pack_into(self._map, at, pid, share_bytes, children_bytes)


def _place(slot: int) -> int:
    return _HEAD.size + slot * _SLOT.size
