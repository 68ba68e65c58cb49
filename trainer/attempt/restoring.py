"""What a fit changed in its process, put back for the next fit of the same process.

In: what is remembered before the first fit, what is put back after each, and what makes a process
useless for another. Not in: what runs on after a fit, and a process's first state
(:mod:`fitcast.trainer.attempt.process_state`).

Between fits of milliseconds this must cost next to nothing: what a fit didn't change is only
compared, all in all in some ten microseconds. What can't be put back (a lowered hard limit,
priority given away, patched functions, descriptors left open) isn't repaired: the fits that are
left get a new process.
"""

import builtins
import datetime
import faulthandler
import gc
import locale
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

from fitcast.trainer import pandas_options
from fitcast.trainer.attempt.process_state import limit_threads, reseed
from fitcast.trainer.clocks import CLOCKS

MOST_LEFT_OPEN = 16
"""More descriptors than this that fits left open, and the next one gets another process."""

_CLOCK_STEP_S = 1.0  # clocks that moved apart by more were patched in place, or the machine's set
_SIGNALS = tuple(
    int(number)
    for number in sorted(signal.valid_signals())
    if number < signal.SIGRTMIN and number not in (signal.SIGKILL, signal.SIGSTOP)
)
_RLIMITS = tuple(
    sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})
)
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_handler_of: Callable[[int], Any] = import_module("_signal").getsignal
"""Without turning what it finds into members of enumerations, which takes ten times as long."""

_GONE = object()
_PATCHED_OFTEN = (time, datetime, builtins)


class ChangedForGoodError(Exception):
    """A fit changed what can't be put back."""


class Files:
    """Descriptors of this process, and which files they belonged to.

    Parameters
    ----------
    fds : collection of int
        Which.
    """

    def __init__(self, fds: Collection[int]) -> None:
        self._known = {fd: _identity(fd) for fd in fds}

    def are_unchanged(self) -> bool:
        """Tell whether each still belongs to the same file: user code may close and open any."""
        return all(_identity(fd) == known for fd, known in self._known.items())


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        about = os.fstat(fd)
    except OSError:
        return None
    return about.st_dev, about.st_ino


class ProcessState:
    """The state that a fit begins with; restored for the next fit of the same process.

    Parameters
    ----------
    threads : int
        What thread libraries are held to.
    own_fds : collection of int
        The descriptors that the process itself needs.
    """

    def __init__(self, threads: int, own_fds: Collection[int]) -> None:
        self._threads = threads
        self._environ = dict(_raw_environ())
        self._folder = os.getcwd()  # noqa: PTH109 - only handed back to chdir
        self._streams = (sys.stdin, sys.stdout, sys.stderr)
        self._filters = list(warnings.filters)
        self._files = Files({0, 1, 2, *own_fds})
        self._open = len(_descriptors())
        self._handlers = [(name, _handler_of(name)) for name in _SIGNALS]
        self._modules = [(module, dict(vars(module))) for module in _PATCHED_OFTEN]
        self._apart_s = CLOCKS.patched_by_s()
        self._limits = [resource.getrlimit(limit) for limit in _RLIMITS]
        self._settings = [(get, put, get()) for get, put in _settings()]
        self._pandas = pandas_options.options()
        self._path = list(sys.path)
        self._umask = os.umask(0o77)
        os.umask(self._umask)

    def restore(self) -> None:
        """Put everything back.

        Raises
        ------
        ChangedForGoodError
            Something can't be: no other fit is to run in this process.
        """
        self._check_for_good()
        if _raw_environ() != self._environ:
            os.environ.clear()
            os.environ.update({os.fsdecode(k): os.fsdecode(v) for k, v in self._environ.items()})
        with suppress(OSError):
            os.chdir(self._folder)
        if sys.path != self._path:
            sys.path[:] = self._path
        warnings.resetwarnings()  # also forgets which warnings were shown already
        warnings.filters[:] = self._filters  # type: ignore[index]
        sys.stdin, sys.stdout, sys.stderr = self._streams
        self._restore_signals()
        os.umask(self._umask)
        for get, put, known in self._settings:
            if get() != known:
                _put_back(put, known)
        if not pandas_options.are_options(self._pandas):
            _put_back(pandas_options.set_options, self._pandas)
        limit_threads(self._threads)
        reseed()

    def _check_for_good(self) -> None:
        for module, known in self._modules:
            if vars(module) != known and _patched(module, known):
                raise ChangedForGoodError(f"the module {module.__name__} was patched")
        if abs(CLOCKS.patched_by_s() - self._apart_s) > _CLOCK_STEP_S:
            raise ChangedForGoodError("the clock was set or patched")
        if not self._files.are_unchanged():
            raise ChangedForGoodError("descriptors of the process were replaced")
        if len(_descriptors()) > self._open + MOST_LEFT_OPEN:
            raise ChangedForGoodError("too many descriptors were left open")
        for limit, bounds in zip(_RLIMITS, self._limits, strict=True):
            if resource.getrlimit(limit) != bounds:
                _put_back(partial(resource.setrlimit, limit), bounds)

    def _restore_signals(self) -> None:
        for timer in _TIMERS:
            signal.setitimer(timer, 0.0)
        faulthandler.cancel_dump_traceback_later()
        for name, handler in self._handlers:
            if _handler_of(name) is not handler:
                if handler is None:  # by C code, before; Python can't install that
                    raise ChangedForGoodError(f"the handler of signal {name} was replaced")
                signal.signal(name, handler)


def _put_back(put: Callable[[Any], object], known: Any) -> None:
    try:
        put(known)
    except Exception as error:
        raise ChangedForGoodError(f"{known!r} can't be set again: {error}") from error


def _settings() -> list[tuple[Callable[[], Any], Callable[[Any], object]]]:
    """Return how settings of the process and its libraries are read and set."""
    import numpy as np
    import sklearn

    return [
        (lambda: os.getpriority(os.PRIO_PROCESS, 0), _set_priority),
        (lambda: os.sched_getaffinity(0), _set_affinity),
        (lambda: os.sched_getscheduler(0), _set_scheduler),
        (os.getresuid, lambda ids: os.setresuid(*ids)),
        (os.getresgid, lambda ids: os.setresgid(*ids)),
        (lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()), _set_mask),
        (sys.getrecursionlimit, sys.setrecursionlimit),
        (sys.getswitchinterval, sys.setswitchinterval),
        (sys.get_int_max_str_digits, sys.set_int_max_str_digits),
        (sys.gettrace, sys.settrace),
        (sys.getprofile, sys.setprofile),
        (gc.get_threshold, lambda numbers: gc.set_threshold(*numbers)),
        (gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
        (gc.get_debug, gc.set_debug),
        (lambda: locale.setlocale(locale.LC_ALL), _set_locale),
        (np.geterr, lambda how: np.seterr(**how)),
        (np.geterrcall, np.seterrcall),
        (np.getbufsize, np.setbufsize),
        (np.get_printoptions, lambda options: np.set_printoptions(**options)),
        (sklearn.get_config, lambda config: sklearn.set_config(**config)),
    ]


def _set_priority(priority: int) -> None:
    for thread in _threads():
        os.setpriority(os.PRIO_PROCESS, thread, priority)


def _set_affinity(cpus: set[int]) -> None:
    for thread in _threads():  # those of thread libraries inherited it
        os.sched_setaffinity(thread, cpus)


def _set_scheduler(policy: int) -> None:
    for thread in _threads():
        os.sched_setscheduler(thread, policy, os.sched_param(0))


def _set_mask(mask: set[int]) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _set_locale(name: str) -> None:
    locale.setlocale(locale.LC_ALL, name)


def _threads() -> list[int]:
    return [int(name) for name in os.listdir("/proc/self/task")]  # noqa: PTH208 - /proc


def _descriptors() -> list[str]:
    return os.listdir("/proc/self/fd")  # noqa: PTH208 - /proc


def _patched(module: ModuleType, known: Mapping[str, Any]) -> bool:
    """Tell whether something of a module was replaced; what was added harms nobody."""
    held = vars(module)
    return any(held.get(name, _GONE) is not value for name, value in known.items())


def _raw_environ() -> dict[bytes, bytes]:
    """Return what lies behind os.environ: it is compared ten times as fast."""
    return os.environ._data  # type: ignore[attr-defined, no-any-return]
