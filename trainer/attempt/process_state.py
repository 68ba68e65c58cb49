"""What a fit's process is made to look like before its first fit.

In: making a forked process look like a plain Python process with its threads, looking for what runs
on after a fit. Not in: undoing what a fit changed (:mod:`fitcast.trainer.attempt.restoring`),
running the fits (:mod:`fitcast.trainer.attempt.fit_process`).
"""

import faulthandler
import io
import os
import random
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "LOKY_MAX_CPU_COUNT",  # what n_jobs=-1 means to joblib
)
_libraries: Any = None  # threadpoolctl's view of the BLAS and OpenMP libraries, made before forking


def find_thread_libraries() -> None:
    """Look up the BLAS and OpenMP libraries once, in the fork server."""
    global _libraries
    from threadpoolctl import ThreadpoolController

    _libraries = ThreadpoolController()


def become_ordinary(sys_path: tuple[str, ...], threads: int) -> None:
    """Make the process look to user code like a plain Python process with its threads."""
    for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(name, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(
            "600"
        )  # if the kernel must kill, then a fit and not the worker
    sys.stdout = _text(1)
    sys.stderr = _text(2)
    with suppress(Exception):
        faulthandler.enable(file=sys.stderr)
    for entry in sys_path:
        if entry not in sys.path:
            sys.path.append(entry)
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    limit_threads(threads)
    reseed()


def left_behind() -> bool:
    """Whether processes or threads of a fit are still there after it."""
    if threading.active_count() > 1 or len(sys._current_frames()) > 1:
        return True  # the latter also knows threads that weren't begun through threading
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # reaps nothing
    except ChildProcessError:
        return False
    return True


def reset_peak() -> None:
    """Let the kernel measure the process's peak memory from now on, where it lets us."""
    with suppress(OSError):
        fd = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"5")
        finally:
            os.close(fd)


def limit_threads(threads: int) -> None:
    """Hold the BLAS and OpenMP libraries to a number of threads."""
    if _libraries is not None:
        _libraries.limit(limits=threads)


def reseed() -> None:
    """Let random numbers differ from those of every other fit."""
    import numpy as np

    random.seed(int.from_bytes(os.urandom(8), "little"))
    np.random.seed(int.from_bytes(os.urandom(4), "little"))  # seeding without a number is slow


def _text(fd: int) -> io.TextIOWrapper:
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
