"""Other work on this machine: processes that keep a core busy while a test looks on."""

import os
from contextlib import AbstractContextManager

from benchmarks import busy_processes

LONGEST_S = 120
"""They end by themselves after this, whatever becomes of the test."""


def one_core() -> int:
    """Return a core that this process may use."""
    return max(os.sched_getaffinity(0))


def busy_beside(core: int, loops: int) -> AbstractContextManager[None]:
    """Let so many processes of others want all of a core."""
    return busy_processes.busy_beside(loops, longest_s=LONGEST_S, core=core)
