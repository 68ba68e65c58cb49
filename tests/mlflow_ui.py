"""``fitcast ui`` as a process of its own, as a user starts it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.polling import LONGEST_S
from tests.ports import free_port


def _interruptible() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored by what a shell runs in the background


@contextmanager
def served(
    tracking_uri: str, cwd: Path | None = None, **environment: str
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Serve MLflow's pages on a store; the process, and the address that it printed."""
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("fitcast")), "ui", "--port", str(free_port())],
        env={**os.environ, "FITCAST_TRACKING_URI": tracking_uri, **environment},
        stdout=subprocess.PIPE,
        text=True,
        cwd=cwd,
        preexec_fn=_interruptible,
    )
    try:
        printed = process.stdout.readline()  # or nothing, if it ended
        address = re.search(r"http://\S+", printed)
        assert address is not None, "the server ended"
        yield process, address[0].partition("#")[0]
    finally:
        process.terminate()
        process.communicate(timeout=LONGEST_S)
