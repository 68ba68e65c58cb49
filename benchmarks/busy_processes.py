"""Other work on this machine: processes that always want a core."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# Nobody's children here: what runs below a client counts as its own. In sessions of their own, as
# fits are. An empty core is any.
_LOOP = """
import os, sys, time
if os.fork():
    os._exit(0)
os.setsid()
if sys.argv[2]:
    os.sched_setaffinity(0, {int(sys.argv[2])})
end = time.monotonic() + float(sys.argv[1])
print(os.getpid(), flush=True)
os.close(1)
while time.monotonic() < end:
    pass
"""


@contextmanager
def busy_beside(count: int, *, longest_s: float, core: int | None = None) -> Iterator[None]:
    """Let processes run that always want a core.

    Parameters
    ----------
    count
        How many.
    longest_s
        They end by themselves after this, whatever becomes of the caller.
    core
        The one that all of them want; any, by default.
    """
    place = "" if core is None else str(core)
    command = [sys.executable, "-I", "-S", "-c", _LOOP, str(longest_s), place]
    handles: list[int] = []
    try:
        for _ in range(count):
            told = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60)
            handles.append(os.pidfd_open(int(told.stdout)))
        yield
    finally:
        for handle in handles:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)
