"""Signs of life of the fork server and of what it forks, and how long there were none.

In: the block in which they lie, and the rule for silence, which is pure. Not in: who is ended for
it (:mod:`fitcast.trainer.attempt.server_process`).

A block has an entry for the fork server and one for each process that it was asked for. A sign of
life is the monotonic clock, written to memory: it costs no call and can't wait for anybody. Fits
don't have the block, as they run what others wrote.
"""

import mmap
import os
import struct
import time
from collections.abc import Mapping

_ENTRY = struct.Struct("<QQ")  # process, its last sign of life in monotonic ns
_LIFE = struct.Struct("<Q")
_ENDED = (0, 1)

SERVER_ENTRY = 0
ENTRIES = 1024
BLOCK_BYTES = ENTRIES * _ENTRY.size


class Heartbeats:
    """A block of signs of life, mapped.

    Parameters
    ----------
    fd : int
        The block, of ``BLOCK_BYTES``; may be closed afterwards.
    """

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, BLOCK_BYTES)

    def enter(self, entry: int, pid: int) -> None:
        """Set which process an entry belongs to, from now on."""
        _ENTRY.pack_into(self._map, entry * _ENTRY.size, pid, time.monotonic_ns())

    def beat(self, entry: int) -> None:
        """Give a sign of life."""
        _LIFE.pack_into(self._map, entry * _ENTRY.size + 8, time.monotonic_ns())

    def ended(self, entry: int) -> None:
        """Note that the process was reaped: its number means nothing any more."""
        _ENTRY.pack_into(self._map, entry * _ENTRY.size, *_ENDED)

    def clear(self, entry: int) -> None:
        """Free an entry."""
        _ENTRY.pack_into(self._map, entry * _ENTRY.size, 0, 0)

    def read(self, entry: int) -> tuple[int, int]:
        """Return the process, 0 if there is none, and its last sign of life."""
        pid, beat_ns = _ENTRY.unpack_from(self._map, entry * _ENTRY.size)
        return pid, beat_ns

    def has_ended(self, entry: int) -> bool:
        """Tell whether the process of an entry was there and is gone."""
        return self.read(entry) == _ENDED

    def keep_from_children(self) -> None:
        """Let processes that this one forks not have the block: there, nothing may touch it."""
        self._map.madvise(mmap.MADV_DONTFORK)

    def close(self) -> None:
        """Let go of the block."""
        self._map.close()


class Pulse:
    """A process's own entry: what it gives its signs of life by."""

    def __init__(self, beats: Heartbeats, entry: int) -> None:
        self._beats = beats
        self._entry = entry

    def beat(self) -> None:
        """Give a sign of life."""
        self._beats.beat(self._entry)

    def keep_from_children(self) -> None:
        """Let processes that this one forks not have the block."""
        self._beats.keep_from_children()

    def close(self) -> None:
        """Let go of the block, in a process that gives no signs of life."""
        self._beats.close()


class Silence:
    """For how long nothing was heard of processes, as far as this process was there to hear it.

    If the observer was stopped too, or the whole machine slept, nobody was heard for a while and
    all of them are well: what one observation adds is bounded.

    Parameters
    ----------
    longest_step_s : float
        The most that one observation adds.
    """

    def __init__(self, longest_step_s: float) -> None:
        self._longest_step_s = longest_step_s
        self._observed_s: float | None = None
        self._last: dict[int, object] = {}
        self._quiet_s: dict[int, float] = {}

    def observe(self, signs: Mapping[int, object], now_s: float) -> dict[int, float]:
        """Note the last sign of life of each; return for how long there was no other."""
        before_s = now_s if self._observed_s is None else self._observed_s
        step_s = min(max(0.0, now_s - before_s), self._longest_step_s)
        self._observed_s = now_s
        self._quiet_s = {
            entry: self._quiet_s[entry] + step_s
            if entry in self._last and self._last[entry] == sign
            else 0.0
            for entry, sign in signs.items()
        }
        self._last = dict(signs)
        return dict(self._quiet_s)


def new_heartbeats(fd: int) -> Heartbeats:
    """Size a new block and map it."""
    os.ftruncate(fd, BLOCK_BYTES)
    return Heartbeats(fd)
