"""What the process of one fit does: get ready, run the fit, write its report.

In: everything between the fork and the end of that process. Not in: limits, killing and measuring
from outside (:mod:`fitcast.trainer.keeper`), the fit's own steps (:mod:`fitcast.trainer.fitting`).
"""

import faulthandler
import io
import os
import pickle
import resource
import signal
import struct
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from fitcast.errors import InvalidSweepError
from fitcast.history.records import REFIT_FOLD
from fitcast.trainer.attempts import AttemptSpec, Job
from fitcast.trainer.fitting import Fitted, Split, configured, cut, fit_split
from fitcast.trainer.messages import Report, Start
from fitcast.trainer.process_tree import close_other_descriptors, die_with, flush_c_streams
from fitcast.trainer.shared_memory import map_object

_LENGTH = struct.Struct("<Q")
_MAX_WARNINGS = 100
_MAX_WARNING_CHARS = 2_000
MAX_TEXT_CHARS = 65_536
"""Longest message, traceback, stdout or stderr that is kept of a fit; the end is what counts."""

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


def run_fit(
    start: Start,
    keeper_pid: int,
    result_fd: int,
    dataset_fd: int,
    split_fd: int | None,
    stdout_fd: int,
    stderr_fd: int,
) -> NoReturn:
    """Be the process of a fit: run it, write the report, end. Never returns."""
    code = 70  # ended without a report
    try:
        os.setsid()  # signals to its group stay with it
        die_with(keeper_pid)
        os.dup2(stdout_fd, 1)
        os.dup2(stderr_fd, 2)
        data_fds = {dataset_fd} if split_fd is None else {dataset_fd, split_fd}
        close_other_descriptors({result_fd, *data_fds})
        _become_ordinary(start)
        caught: list[str] = []
        report = _reported(lambda: _fit(start.spec, dataset_fd, split_fd), caught)
        try:
            _write_report(result_fd, report)
        except BaseException as error:  # a result that can't be pickled
            _write_report(result_fd, _failure(error, caught))
        code = 0
    finally:
        with suppress(BaseException):
            sys.stdout.flush()
        with suppress(BaseException):
            sys.stderr.flush()
        with suppress(BaseException):
            flush_c_streams()
        os._exit(code)


def read_report(fd: int) -> Report | None:
    """Return the report in a result block; None if the fit didn't get to write it whole."""
    head = os.pread(fd, _LENGTH.size, 0)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    if length == 0 or os.fstat(fd).st_size < _LENGTH.size + length:
        return None
    with os.fdopen(os.dup(fd), "rb") as file:
        file.seek(_LENGTH.size)
        report = pickle.load(file)  # noqa: S301 - written by our own code, from this user's fit
    return report if isinstance(report, Report) else None


def _write_report(fd: int, report: Report) -> None:
    os.ftruncate(fd, 0)
    os.lseek(fd, _LENGTH.size, os.SEEK_SET)
    with open(fd, "wb", closefd=False) as file:
        pickle.dump(report, file, protocol=5)
        file.flush()
        length = file.tell() - _LENGTH.size
    os.pwrite(fd, _LENGTH.pack(length), 0)  # last: only a whole report has a length


def _become_ordinary(start: Start) -> None:
    """Make the process look to user code like a plain Python process with its threads."""
    for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(name, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # a core file would put the dataset on a disk; 1 also keeps core-pattern programs from starting
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(
            "600"
        )  # if the kernel must kill, then a fit and not the worker
    sys.stdout = _text(1)
    sys.stderr = _text(2)
    with suppress(Exception):
        faulthandler.enable(file=sys.stderr)
    for entry in start.sys_path:
        if entry not in sys.path:
            sys.path.append(entry)
    threads = str(start.spec.threads)
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, threads))
    if _libraries is not None:
        _libraries.limit(limits=start.spec.threads)
    import numpy as np

    np.random.seed()


def _text(fd: int) -> io.TextIOWrapper:
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _fit(spec: AttemptSpec, dataset_fd: int, split_fd: int | None) -> Fitted:
    import cloudpickle
    from joblib import parallel_config

    job: Job = cloudpickle.loads(spec.job)
    estimator = configured(job, spec.threads)

    def rows() -> Split:
        if split_fd is not None and spec.fold != REFIT_FOLD:
            shared: Any = map_object(split_fd)
            return shared  # type: ignore[no-any-return]
        content: Any = map_object(dataset_fd)
        return cut(content, spec.fold, estimator)

    # threads, not processes: joblib's processes would each hold a copy and cost a second to start
    with parallel_config(backend="threading"):
        return fit_split(job, estimator, rows, spec.fold)


def _reported(fit: Callable[[], Fitted], caught: list[str]) -> Report:
    def keep(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        text = f"{category.__name__}: {message}"[:_MAX_WARNING_CHARS]
        if len(caught) < _MAX_WARNINGS and text not in caught:
            caught.append(text)

    warnings.showwarning = keep
    try:
        fitted = fit()
        return Report(fitted=fitted, warnings=tuple(caught))
    except BaseException as error:  # SystemExit too: user code doesn't end our process
        return _failure(error, caught)


def _failure(error: BaseException, caught: Sequence[str]) -> Report:
    """Describe an exception as text only: the exception itself may not survive pickling."""
    kind = type(error).__name__
    try:
        message = str(error)
    except BaseException:
        message = "(its message can't be shown)"
    try:
        trace = "".join(traceback.format_exception(error))
    except BaseException:
        trace = f"{kind}: (its traceback can't be shown)"
    native = kind in ("XGBoostError", "LightGBMError") and "bad_alloc" in message
    if isinstance(error, InvalidSweepError):
        trace = message
    return Report(
        warnings=tuple(caught),
        out_of_memory=isinstance(error, MemoryError) or native,
        error_type=kind,
        error_message=message[:MAX_TEXT_CHARS],
        traceback=trace[-MAX_TEXT_CHARS:],
    )
