"""The state of a fit's process that user code may change, and how it is put back.

In: making a forked process look like a plain Python process with its threads; undoing between two
fits of the same process what is cheap to undo. Not in: running the fits
(:mod:`fitcast.trainer.attempt.fit_process`).
"""

import faulthandler
import io
import os
import resource
import signal
import sys
import threading
import warnings
from contextlib import suppress
from dataclasses import dataclass
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
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGINT, signal.SIGALRM)
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
    _limit_threads(threads)
    _reseed()


def left_behind() -> bool:
    """Whether processes or threads of a fit are still there after it."""
    if threading.active_count() > 1:
        return True
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


@dataclass(frozen=True, slots=True)
class ProcessState:
    """The state that a fit began with; restored for the next fit of the same process."""

    environ: dict[str, str]
    folder: str
    path: list[str]
    filters: list[Any]
    streams: tuple[Any, Any]
    handlers: dict[signal.Signals, Any]
    threads: int

    @classmethod
    def now(cls, threads: int) -> "ProcessState":
        """Capture the current state of the process."""
        return cls(
            environ=dict(os.environ),
            folder=os.getcwd(),  # noqa: PTH109 - only handed back to chdir
            path=list(sys.path),
            filters=list(warnings.filters),
            streams=(sys.stdout, sys.stderr),
            handlers={name: signal.getsignal(name) for name in _SIGNALS},
            threads=threads,
        )

    def restore(self) -> None:
        """Restore everything; what a fit didn't change costs next to nothing."""
        if os.environ != self.environ:
            os.environ.clear()
            os.environ.update(self.environ)
        with suppress(OSError):
            os.chdir(self.folder)
        if sys.path != self.path:
            sys.path[:] = self.path
        warnings.resetwarnings()  # also forgets which warnings were shown already
        warnings.filters[:] = self.filters  # type: ignore[index]
        sys.stdout, sys.stderr = self.streams
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        for name, handler in self.handlers.items():
            if signal.getsignal(name) is not handler:
                signal.signal(name, handler)
        _limit_threads(self.threads)
        _reseed()


def _limit_threads(threads: int) -> None:
    if _libraries is not None:
        _libraries.limit(limits=threads)


def _reseed() -> None:
    import numpy as np

    np.random.seed(int.from_bytes(os.urandom(4), "little"))  # seeding without a number is slow


def _text(fd: int) -> io.TextIOWrapper:
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
