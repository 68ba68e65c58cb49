"""Other work on this machine: processes that keep one core busy while a test looks on."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_S = 120
"""They end by themselves after this, whatever becomes of the test."""

_LOOP = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
end = time.monotonic() + float(sys.argv[2])
print("busy", flush=True)
while time.monotonic() < end:
    pass
"""


def one_core() -> int:
    """Return a core that this process may use."""
    return max(os.sched_getaffinity(0))


@contextmanager
def busy_beside(core: int, loops: int) -> Iterator[None]:
    """Let so many processes want all of a core, each in a session of its own, as fits are."""
    command = [sys.executable, "-I", "-S", "-c", _LOOP, str(core), str(LONGEST_S)]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        for _ in range(loops)
    ]
    try:
        for one in running:
            assert one.stdout is not None
            assert one.stdout.readline() == b"busy\n"
        yield
    finally:
        for one in running:
            one.kill()
        for one in running:
            one.communicate()
