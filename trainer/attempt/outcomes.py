"""From facts about an ended process to the outcomes of its attempts. Pure.

In: the rules that distinguish failed, out of memory, out of time, cancelled and lost, each only
with proof. Not in: gathering the facts (:mod:`fitcast.trainer.attempt.supervisor`).
"""

import math
import signal
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from fitcast.history.records import Outcome
from fitcast.history.undisturbed import stolen_s
from fitcast.trainer.attempt.messages import Ending, Report
from fitcast.trainer.attempt.result_block import UnreadableReport
from fitcast.trainer.attempt.spec import Measured
from fitcast.trainer.naming import error_name


def judge(
    ending: Ending,
    reports: Sequence[Report | UnreadableReport],
    count: int = 1,
    texts: Sequence[tuple[str, str]] = (),
) -> list[Measured | None]:
    """Return the outcomes of the attempts of a process.

    Parameters
    ----------
    ending
        How the process ended and what it cost.
    reports
        What its fits wrote at their ends, in order; those that didn't get there are missing.
    count
        How many fits it was given.
    texts
        What each wrote to stdout and stderr, in order.

    Returns
    -------
    list of Measured or None
        In their order. None for a fit whose turn never came.
    """
    done = len(reports)
    running = done < count and ending.last_turn == done
    if ending.killed_turn not in (None, done):
        running = False  # killed for the one before, which came to its end meanwhile
    last = done if running else done - 1
    measured: list[Measured | None] = []
    for turn in range(count):
        if turn > last:
            measured.append(None)
            continue
        report = reports[turn] if turn < done else None
        began_s = _ended_s(reports, turn - 1, ending.began_s)
        ended_s = ending.ended_s if turn == last else _ended_s(reports, turn, ending.ended_s)
        measured.append(
            _judged(
                ending,
                report,
                turn,
                began_s,
                ended_s,
                turn == last,
                alone=count == 1,
                texts=texts[turn] if turn < len(texts) else ("", ""),
            )
        )
    return measured


def _ended_s(reports: Sequence[Report | UnreadableReport], turn: int, otherwise_s: float) -> float:
    """Return when a fit ended; the one before, where its report can't be read."""
    while turn >= 0:
        report = reports[turn] if turn < len(reports) else None
        if isinstance(report, Report):
            return report.ended_s
        turn -= 1
    return otherwise_s


def _judged(
    ending: Ending,
    report: Report | UnreadableReport | None,
    turn: int,
    began_s: float,
    ended_s: float,
    is_last: bool,
    *,
    alone: bool,
    texts: tuple[str, str],
) -> Measured:
    runtime_s = max(0.0, ended_s - began_s)
    whole = report if isinstance(report, Report) else None
    tree_peak = ending.tree_peaks.get(turn, 0)
    if is_last or whole is None:
        peak = max(ending.peak_memory_bytes, tree_peak)
    else:
        peak = max(whole.peak_memory_bytes, tree_peak, ending.base_memory_bytes)
    killed_for = ending.killed_for if is_last and (report is None or alone) else ""
    outcome, kind, message = _outcome(ending, report, killed_for, peak, runtime_s)
    fitted = whole.fitted if whole is not None and outcome is Outcome.SUCCEEDED else None
    started_at = ending.started_at + timedelta(seconds=began_s - ending.began_s)
    cpu_s = ending.cpu_s if alone or whole is None else whole.cpu_s
    return Measured(
        outcome=outcome,
        runtime_s=runtime_s,
        cpu_s=cpu_s,
        cpu_wait_s=_waited_s(ending, whole, turn, cpu_s, runtime_s),
        peak_memory_bytes=peak,
        base_memory_bytes=ending.base_memory_bytes,
        started_at=started_at,
        ended_at=started_at + timedelta(seconds=runtime_s),
        shared_s=fitted.shared_s if fitted else 0.0,
        loading_s=whole.loading_s if whole else 0.0,
        fit_time_s=fitted.fit_time_s if fitted else 0.0,
        score_time_s=fitted.score_time_s if fitted else 0.0,
        scores=fitted.scores if fitted else {},
        train_scores=fitted.train_scores if fitted else {},
        predictions=fitted.predictions if fitted else None,
        model=fitted.model if fitted else None,
        model_error=fitted.model_error if fitted else "",
        stdout=texts[0],
        stderr=texts[1],
        warnings=whole.warnings if whole else (),
        error_type=kind,
        error_message=message,
        traceback=whole.traceback if whole else "",
        places=whole.places if whole else "",
    )


def _waited_s(
    ending: Ending, whole: Report | None, turn: int, cpu_s: float, runtime_s: float
) -> float | None:
    """Return how long the threads of a fit waited for a core; None if nobody could see it.

    The fit itself sees its threads at its end, the supervisor those that had ended and processes
    of its own. Neither sees more than there was.
    """
    seen = [ending.cpu_waits.get(turn, math.nan), math.nan if whole is None else whole.cpu_wait_s]
    known = [max(0.0, one) for one in seen if math.isfinite(one)]
    if not known:
        return None
    waited_s = max(known)
    # time that the hypervisor took is neither work nor waiting: it is part of what is left
    left_s = max(0.0, runtime_s - cpu_s - waited_s)
    return waited_s + min(stolen_s(cpu_s, ending.stolen_share, 1.0), left_s)


def _outcome(
    ending: Ending,
    report: Report | UnreadableReport | None,
    killed_for: str,
    peak_memory_bytes: int,
    runtime_s: float,
) -> tuple[Outcome, str, str]:
    """Return outcome, kind of error and message."""
    if killed_for == "cancel":
        return Outcome.CANCELLED, "", ""
    if isinstance(report, UnreadableReport):
        said = f"the result of the fit can't be read: {report.error}"
        return Outcome.FAILED, error_name(report.error), said
    if report is not None and report.fitted is not None:
        return Outcome.SUCCEEDED, "", ""  # it was done, whatever befell the process afterwards
    if report is not None:
        outcome = Outcome.OUT_OF_MEMORY if report.out_of_memory else Outcome.FAILED
        return outcome, report.error_type, report.error_message
    out_of_memory = Outcome.OUT_OF_MEMORY, "OutOfMemory"
    if killed_for == "memory":
        said = f"the fit used {peak_memory_bytes:,} bytes, more than its limit, and was ended"
        return *out_of_memory, said
    if killed_for == "room":
        said = (
            f"the fits of the worker used up its memory; this one, with {peak_memory_bytes:,} "
            "bytes, was furthest above what was planned for it, and was ended"
        )
        return *out_of_memory, said
    if killed_for == "deadline":
        said = f"the fit was ended at its deadline, after {runtime_s:.1f} s"
        return Outcome.OUT_OF_TIME, "OutOfTime", said
    if killed_for == "lost":
        return Outcome.WORKER_LOST, "WorkerLost", "the worker lost its fit"
    if ending.exit_code == -signal.SIGKILL and ending.kernel_out_of_memory:
        said = "the kernel ended the fit because the worker's memory was used up"
        return *out_of_memory, said
    return Outcome.FAILED, "ProcessDied", _death(ending.exit_code)


def without_process(outcome: Outcome, kind: str = "", message: str = "") -> Measured:
    """Return the attempt of which nothing was measured: cancelled before it began, or lost."""
    now = datetime.now(UTC)
    return Measured(
        outcome=outcome,
        runtime_s=0.0,
        cpu_s=0.0,
        peak_memory_bytes=0,
        base_memory_bytes=0,
        started_at=now,
        ended_at=now,
        error_type=kind,
        error_message=message,
    )


def _death(exit_code: int) -> str:
    if exit_code < 0:
        try:
            name = signal.Signals(-exit_code).name
        except ValueError:
            name = f"signal {-exit_code}"
        return (
            f"the process of the fit was ended by {name} before it had a result; its stderr may "
            "say where: look for a crash in native code"
        )
    return (
        f"the process of the fit ended itself with exit code {exit_code} before it had a result: "
        "look for os._exit or an exit in native code"
    )
