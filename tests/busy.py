"""Other work on this machine: processes that keep a core busy while a test looks on."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LONGEST_S = 120
"""They end by themselves after this, whatever becomes of the test."""

# They are nobody's children here: what runs below this process counts as ours. In sessions of
# their own, as fits are.
_LOOP = """
import os, sys, time
if os.fork():
    os._exit(0)
os.setsid()
os.sched_setaffinity(0, {int(sys.argv[1])})
end = time.monotonic() + float(sys.argv[2])
print(os.getpid(), flush=True)
os.close(1)
while time.monotonic() < end:
    pass
"""


def one_core() -> int:
    """Return a core that this process may use."""
    return max(os.sched_getaffinity(0))


@contextmanager
def busy_beside(core: int, loops: int) -> Iterator[None]:
    """Let so many processes of others want all of a core."""
    command = [sys.executable, "-I", "-S", "-c", _LOOP, str(core), str(LONGEST_S)]
    handles: list[int] = []
    try:
        for _ in range(loops):
            told = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60)
            handles.append(os.pidfd_open(int(told.stdout)))
        yield
    finally:
        for handle in handles:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)
