"""What an ending means: from facts about a process to the measured attempt. Pure.

In: the rules that tell failed, out of memory, out of time, cancelled and lost apart, each only with
proof. Not in: gathering the facts (:mod:`fitcast.trainer.keeper`).
"""

import signal
from datetime import UTC, datetime

from fitcast.history.records import Outcome
from fitcast.trainer.attempts import Measured
from fitcast.trainer.messages import Ending, Report


def judge(ending: Ending, report: Report | None) -> Measured:
    """Say what an attempt became.

    Parameters
    ----------
    ending
        How its process ended and what it cost.
    report
        What the fit wrote at its end; None if it didn't get there.
    """
    if ending.killed_for == "cancel":
        outcome, kind, message = Outcome.CANCELLED, "", ""
    elif report is not None and report.fitted is not None:
        # it was done, whatever befell the process afterwards
        outcome, kind, message = Outcome.SUCCEEDED, "", ""
    elif report is not None:
        outcome = Outcome.OUT_OF_MEMORY if report.out_of_memory else Outcome.FAILED
        kind, message = report.error_type, report.error_message
    elif ending.killed_for == "memory":
        outcome, kind = Outcome.OUT_OF_MEMORY, "OutOfMemory"
        message = (
            f"the fit used {ending.peak_memory_bytes:,} bytes, more than its limit, and was ended"
        )
    elif ending.killed_for == "deadline":
        outcome, kind = Outcome.OUT_OF_TIME, "OutOfTime"
        message = f"the fit was ended at its deadline, after {ending.runtime_s:.1f} s"
    elif ending.killed_for == "lost":
        outcome, kind, message = Outcome.WORKER_LOST, "WorkerLost", "the worker lost its fit"
    elif ending.exit_code == -signal.SIGKILL and ending.kernel_out_of_memory:
        outcome, kind = Outcome.OUT_OF_MEMORY, "OutOfMemory"
        message = "the kernel ended the fit because the worker's memory was used up"
    else:
        outcome, kind, message = Outcome.FAILED, "ProcessDied", _death(ending.exit_code)
    fitted = report.fitted if report is not None and outcome is Outcome.SUCCEEDED else None
    return Measured(
        outcome=outcome,
        runtime_s=ending.runtime_s,
        cpu_s=ending.cpu_s,
        peak_memory_bytes=ending.peak_memory_bytes,
        base_memory_bytes=ending.base_memory_bytes,
        started_at=ending.started_at,
        ended_at=ending.ended_at,
        fit_time_s=fitted.fit_time_s if fitted else 0.0,
        score_time_s=fitted.score_time_s if fitted else 0.0,
        scores=fitted.scores if fitted else {},
        train_scores=fitted.train_scores if fitted else {},
        predictions=fitted.predictions if fitted else None,
        model=fitted.model if fitted else None,
        stdout=ending.stdout,
        stderr=ending.stderr,
        warnings=report.warnings if report else (),
        error_type=kind,
        error_message=message,
        traceback=report.traceback if report else "",
    )


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
