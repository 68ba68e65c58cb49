"""What the process of one or several fits does: get ready, run each in turn, write its report.

In: everything between the fork and the end of that process. Not in: limits, killing and measuring
from outside (:mod:`fitcast.trainer.attempt.supervisor`), the fit's own steps
(:mod:`fitcast.trainer.attempt.fitting`), what a fit may have changed in the process
(:mod:`fitcast.trainer.attempt.process_state`).
"""

import math
import os
import resource
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn

from fitcast.errors import InvalidSweepError
from fitcast.history.records import REFIT_FOLD
from fitcast.history.undisturbed import undisturbed_s, whole_wait_s
from fitcast.trainer.attempt import users_modules
from fitcast.trainer.attempt.fitting import Fitted, Split, configured, cut, fit_split
from fitcast.trainer.attempt.kept_answers import is_seen_by_scorers
from fitcast.trainer.attempt.messages import MAX_TEXT_CHARS, Report, StartRequest
from fitcast.trainer.attempt.output_files import size
from fitcast.trainer.attempt.process_state import (
    become_ordinary,
    left_behind,
    reset_peak,
)
from fitcast.trainer.attempt.process_tree import close_other_descriptors, die_with, flush_c_streams
from fitcast.trainer.attempt.restoring import ChangedForGoodError, Files, ProcessState
from fitcast.trainer.attempt.result_block import FIRST_REPORT, Turn, append_report, begin_turn
from fitcast.trainer.attempt.spec import (
    BEST_INDEX,
    CHOICE_FOLD,
    Attached,
    AttemptSpec,
    Job,
    JobBytes,
)
from fitcast.trainer.attempt.task_waits import Tasks, own_tasks, times_between
from fitcast.trainer.clocks import CLOCKS
from fitcast.trainer.imports import imported_since
from fitcast.trainer.naming import error_name
from fitcast.trainer.reuse import ReusedWork, names_in_common, work_names
from fitcast.trainer.shared_memory import map_attachment, map_object
from fitcast.trainer.surroundings import enter, in_force

_MAX_WARNINGS = 100
_MAX_WARNING_CHARS = 2_000
_MAX_CAUSES = 10
_MAX_FRAMES = 50
_WORTH_KEEPING = 0.1  # what spares less of a fit doesn't make others wait for each other
_LONG_LOADING_S = 0.2  # such imports are worth more than a place in the queue
_MOST_GROWTH = 1.1  # a process that needs this much more than was counted for it takes no more fits


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What a fit's process is given by its supervisor."""

    result: int
    dataset: int
    folds: Mapping[int, int]  # blocks with the rows of these folds
    stdout: int
    stderr: int
    go: int  # an eventfd: they begin when it says so

    def data(self) -> set[int]:
        """Those that the process keeps."""
        return {self.result, self.dataset, self.stdout, self.stderr, *self.folds.values()}


def run_fits(
    start: StartRequest, supervisor_pid: int, fds: Descriptors, began_s: float
) -> NoReturn:
    """Be the process of these fits, forked at ``began_s``: run each and end. Never returns."""
    code = 70  # ended without a report
    try:
        os.setsid()  # signals to its group stay with it
        die_with(supervisor_pid)
        os.dup2(fds.stdout, 1)
        os.dup2(fds.stderr, 2)
        os.eventfd_read(fds.go)
        close_other_descriptors(fds.data())
        become_ordinary(start.sys_path, start.specs[0].threads)
        _Turns(start.specs, fds, start.imports_s).run(began_s)
        code = 0
    finally:
        _flush()
        os._exit(code)


class _Turns:
    """The fits of a process, one after the other."""

    def __init__(self, specs: Sequence[AttemptSpec], fds: Descriptors, imports_s: float) -> None:
        self._specs = specs
        self._fds = fds
        self._imports_s = imports_s
        self._counted_bytes = specs[0].share_bytes  # of memory, by whoever gave them
        self._modules = frozenset(sys.modules)
        self._loading_s = imports_s  # that the first job took, with all that it imports
        self._peak_bytes = 0  # of the last turn
        self._shared: ReusedWork | None = None
        self._next: tuple[Job, Any, list[str]] | None = None  # made already, to see what is shared

    def run(self, began_s: float) -> None:
        """Run them; the process was forked at `began_s`."""
        at = FIRST_REPORT
        reporting = Files({self._fds.result, self._fds.stdout, self._fds.stderr})
        state = None
        if len(self._specs) > 1:
            state = ProcessState(self._specs[0].threads, self._fds.data())
        turn_s = began_s
        for turn in range(len(self._specs)):
            if turn and state is not None:
                # What a fit left could harm or bother the others: they get a new process.
                now_s = CLOCKS.monotonic_s()
                if left_behind() or self._is_given_up(turn, now_s - began_s, now_s - turn_s):
                    return
                turn_s = now_s
                try:
                    state.restore()
                except ChangedForGoodError:
                    return
                begin_turn(
                    self._fds.result,
                    Turn(
                        turn, CLOCKS.monotonic_s(), size(self._fds.stdout), size(self._fds.stderr)
                    ),
                )
                reset_peak()
            used_s = _cpu_s()
            tasks = own_tasks() if turn else {}  # those of a new process begin with it
            caught: list[str] = []
            report = _reported(lambda turn=turn: self._fit(turn), caught)  # type: ignore[misc]
            _flush()
            if not reporting.are_unchanged():
                os._exit(71)  # it closed or replaced them: there is nowhere to report to
            cpu_s = _cpu_s() - used_s
            cost: dict[str, Any] = {
                "cpu_s": cpu_s,
                "cpu_wait_s": _waited_s(tasks, cpu_s),
                "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                "imported": self._newly_imported(),
                "loading_s": 0.0 if turn else self._loading_s,
                "stdout_end": size(self._fds.stdout),
                "stderr_end": size(self._fds.stderr),
            }
            report = replace(report, ended_s=CLOCKS.monotonic_s(), **cost)
            self._peak_bytes = report.peak_memory_bytes
            if turn == 0:
                self._counted_bytes = max(self._counted_bytes, self._peak_bytes)
            try:
                at = self._append(turn, at, report)
            except BaseException as error:  # a result that can't leave the fit
                failed = replace(_failure(error, caught), ended_s=CLOCKS.monotonic_s(), **cost)
                at = append_report(self._fds.result, at, failed)

    def _is_given_up(self, turn: int, since_s: float, last_took_s: float) -> bool:
        """Tell whether a turn, and all after it, are given back to be planned anew.

        Those that come much later than planned are, as cores may idle, unless a good part of their
        work is done already. Imports come once per process, so that giving others back makes it
        worse. But what fits leave there piles up: not beyond what is counted for the process.
        """
        spared_s = 0.0 if self._shared is None else self._shared.kept_s
        if self._loading_s >= _LONG_LOADING_S:
            spared_s += self._loading_s
            if self._peak_bytes > _MOST_GROWTH * self._counted_bytes:
                return True
        gone_s = self._undisturbed_s(since_s - self._loading_s)
        late = gone_s > self._specs[turn].begin_within_s
        return late and spared_s < _WORTH_KEEPING * last_took_s

    def _undisturbed_s(self, gone_s: float) -> float:
        """Return what of the time that has gone would have gone with a core for each thread."""
        cpu_s = _cpu_s()
        threads = self._specs[0].threads
        return undisturbed_s(gone_s, cpu_s, _waited_s({}, cpu_s), threads)

    def _newly_imported(self) -> tuple[str, ...]:
        if len(sys.modules) == len(self._modules):
            return ()
        before, self._modules = self._modules, frozenset(sys.modules)
        return imported_since(before)

    def _append(self, turn: int, at: int, report: Report) -> int:
        limit_bytes, fitted = self._specs[turn].result_bytes, report.fitted
        try:
            return append_report(self._fds.result, at, report, limit_bytes)
        except InvalidSweepError as error:
            if fitted is None or fitted.model is None:
                raise
            # the model is too large: that is no failed fit
            fitted = replace(fitted, model=None, model_error=str(error))
            report = replace(report, fitted=fitted)
            return append_report(self._fds.result, at, report, limit_bytes)

    def _fit(self, turn: int) -> Fitted:
        spec = self._specs[turn]
        made, self._next = self._next, None
        enter(spec.surroundings)
        # What a job needs is imported before the user's filters of warnings are in force.
        began_s = CLOCKS.monotonic_s()
        job = self._loaded(spec.job) if made is None else made[0]
        if turn == 0:
            self._loading_s = max(self._imports_s, CLOCKS.monotonic_s() - began_s)
        with in_force(spec.surroundings):
            if spec.fold == CHOICE_FOLD:
                return _chosen(job)
            return self._fit_job(turn, made or self._configured(turn, job))

    def _fit_job(self, turn: int, made: tuple[Job, Any, list[str]]) -> Fitted:
        from joblib import parallel_config

        spec = self._specs[turn]
        job, estimator, names = made
        before, self._shared = self._shared, None
        shared = self._common(turn, job, names, before)
        del before

        def rows() -> Split:
            fold_fd = self._fds.folds.get(spec.fold)
            if fold_fd is not None and spec.fold != REFIT_FOLD:
                # mapped anew for each fit: one that writes to its rows writes to a copy of its own
                mapped: Any = map_object(fold_fd)
                return mapped  # type: ignore[no-any-return]
            content: Any = map_object(self._fds.dataset)
            return cut(content, spec.fold, estimator)

        # threads, not processes: joblib's would each hold a copy and cost a second to start
        with parallel_config(backend="threading"):
            try:
                fitted = fit_split(job, estimator, rows, spec.fold, shared, spec.return_model)
                self._shared = shared
                return fitted
            except Exception:
                if shared is None or not shared.gave_something:
                    raise
                # perhaps because it wanted to write to what is shared
                estimator = configured(job, spec.threads)
                return fit_split(job, estimator, rows, spec.fold, return_model=spec.return_model)

    def _common(
        self, turn: int, job: Job, names: list[str], before: ReusedWork | None
    ) -> ReusedWork | None:
        """Return what the fit shares with the one before it and the one after it."""
        if not names:
            return None
        keep = 0
        if self._shares(turn, turn + 1):
            with suppress(Exception):  # what is wrong with it is met in its own turn
                self._next = self._configured(turn + 1, self._loaded(self._specs[turn + 1].job))
                keep = names_in_common(names, self._next[2])
        return ReusedWork(names, keep, before, is_seen=is_seen_by_scorers(job.scorer))

    def _configured(self, turn: int, job: Job) -> tuple[Job, Any, list[str]]:
        spec = self._specs[turn]
        estimator = configured(job, spec.threads)
        names: list[str] = []
        neighbour = self._shares(turn, turn - 1) or self._shares(turn, turn + 1)
        if neighbour and not _has_more(job) and not spec.return_model:
            names = work_names(estimator, spec.fold)
        return job, estimator, names

    def _loaded(self, job: JobBytes) -> Job:
        attachment = partial(map_attachment, self._fds.dataset)
        if isinstance(job.users_modules, Attached):
            users_modules.install(attachment(job.users_modules.number))
        else:
            users_modules.install(job.users_modules)
        return job.load(attachment)

    def _shares(self, turn: int, other: int) -> bool:
        if not 0 <= other < len(self._specs):
            return False
        one, two = self._specs[turn], self._specs[other]
        return bool(one.common_work) and one.common_work == two.common_work and one.fold == two.fold


def _chosen(job: Job) -> Fitted:
    """Let the sweep's own rule choose, which lies where a fit has its estimator."""
    start_s = CLOCKS.performance_s()
    index = job.estimator.best_index()
    return Fitted(fit_time_s=CLOCKS.performance_s() - start_s, scores={BEST_INDEX: float(index)})


def _has_more(job: Job) -> bool:
    """Tell whether a fit is made of more than its estimator and its rows."""
    return bool(job.fit_params or job.extras.fit_values or job.extras.tasks)


def _cpu_s() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def _waited_s(before: Tasks | None, cpu_s: float) -> float:
    """Return how long its threads waited for a core since then; NaN if it can't be told."""
    now = None if before is None else own_tasks()
    if before is None or now is None:
        return math.nan
    seen_cpu_s, seen_wait_s = times_between(before, now)
    return whole_wait_s(seen_cpu_s, seen_wait_s, cpu_s) if seen_cpu_s > 0.0 else math.nan


def _flush() -> None:
    for flush in (_flush_stdout, _flush_stderr, flush_c_streams):
        with suppress(BaseException):
            flush()


def _flush_stdout() -> None:
    sys.stdout.flush()


def _flush_stderr() -> None:
    sys.stderr.flush()


def _reported(fit: Callable[[], Fitted], caught: list[str]) -> Report:
    def keep(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        text = f"{error_name(category)}: {message}"[:_MAX_WARNING_CHARS]
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
    kind = error_name(error)
    try:
        message = str.__str__(str(error))  # exactly a str: a class of its own could do anything
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
        places=_places(error)[-MAX_TEXT_CHARS:],
    )


def _places(error: BaseException | None) -> str:
    """Return types of errors and places in code, but no message and no value."""
    parts: list[str] = []
    while error is not None and len(parts) < _MAX_CAUSES:
        with suppress(Exception):
            frames = traceback.extract_tb(error.__traceback__, limit=-_MAX_FRAMES)
            lines = [f'  File "{f.filename}", line {f.lineno}, in {f.name}' for f in frames]
            parts.append("\n".join([*lines, error_name(error)]))
        error = error.__cause__ or error.__context__
    return "\n\n".join(reversed(parts))
