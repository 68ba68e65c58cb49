"""What the history is told of workflows: their beginning, their attempts, their end.

In: what is told, and what stays out of it. Not in: how it gets there, whatever happens
(:mod:`fitcast.history.writer`), and what is learned from it
(:mod:`fitcast.scheduler.session.learning`).
"""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from fitcast.errors import HistoryError
from fitcast.history.origin import origin_tags
from fitcast.history.records import Record
from fitcast.history.store import AttemptLog, HistoryStore, KeepsModels, WorkflowRun
from fitcast.history.writer import HistoryWriter
from fitcast.scheduler.run.runs import Run
from fitcast.trainer.attempt.spec import Measured
from fitcast.trainer.sweep.submission import Submission


def _rungs(submission: Submission) -> dict[str, str]:
    """Return what is told of rounds that eliminate candidates; nothing where all run."""
    rounds = submission.rounds
    if not rounds:
        return {}
    told = ", ".join(f"{one.runs} with {one.amount}" for one in rounds)
    return {"resource": rounds[0].resource, "rungs": told}


class Recorder:
    """Tells the history of workflows, without waiting for it.

    Parameters
    ----------
    store : HistoryStore
        The history.
    outbox : Path
        Folder for what couldn't be sent yet.
    keep_messages : bool
        Whether messages and output of fits go into the history.
    on_trouble : callable
        ``on_trouble(text)``, from any thread, when the history can't be reached.
    """

    def __init__(
        self,
        store: HistoryStore,
        outbox: Path,
        *,
        keep_messages: bool,
        on_trouble: Callable[[str], None],
    ) -> None:
        self._store = store
        self._keep_messages = keep_messages
        self._writer = HistoryWriter(store, outbox, on_trouble=on_trouble)

    def begin(self, run: Run) -> None:
        """Tell that a workflow was submitted; again, if it is gone on with."""
        submission = run.submission
        self._writer.start_workflow(
            WorkflowRun(
                workflow_id=run.workflow_id,
                name=submission.name,
                started_at=run.submitted_at,
                tags={"fitcast.dataset": submission.dataset, **origin_tags()},
                params={
                    "candidates": submission.rounds[0].runs
                    if submission.rounds
                    else len(submission.candidates),
                    "splits": submission.n_splits,
                    "fits": submission.fits_to_run,
                    "refit": submission.rule or str(submission.refit),
                    **_rungs(submission),
                },
            )
        )

    def attempt(self, record: Record, measured: Measured) -> Record:
        """Tell of an attempt that ended; return what may be told of it."""
        log = AttemptLog(
            record_id=record.record_id,
            stdout=measured.stdout,
            stderr=measured.stderr,
            warnings=measured.warnings,
            traceback=measured.traceback,
        )
        if not self._keep_messages:
            record = replace(record, error_message="")
            log = AttemptLog(record_id=record.record_id, traceback=measured.places)
        self._writer.add(record, log)
        return record

    def end(self, run: Run) -> None:
        """Tell how a workflow ended."""
        view = run.view()
        ended_at = view.ended_at or run.now()
        metrics = {
            "makespan_s/measured": (ended_at - view.submitted_at).total_seconds(),
        }
        with suppress(Exception):  # whoever submitted it was interrupted before it was forecast
            eta = run.forecast.result()
            metrics |= {
                "makespan_s/forecast_p10": eta.p10_s,
                "makespan_s/forecast_p50": eta.p50_s,
                "makespan_s/forecast_p90": eta.p90_s,
            }
        self._writer.finish_workflow(
            run.workflow_id, state=view.state, summary_metrics=metrics, ended_at=ended_at
        )
        run.recorded.set()

    def flush(self, runs: Iterable[Run], timeout_s: float) -> bool:
        """Wait until the history has all of these; False if it hasn't after `timeout_s`."""
        until_s = time.monotonic() + timeout_s
        for run in runs:
            if run.is_over:  # one that is over a moment ago may not have been handed on yet
                run.recorded.wait(max(0.0, until_s - time.monotonic()))
        return self._writer.flush(max(0.0, until_s - time.monotonic()))

    def url(self, workflow_id: str, timeout_s: float) -> str | None:
        """Return where a workflow is seen in the MLflow UI."""
        self._writer.flush(timeout_s)
        known = self._writer.url(workflow_id)
        if known is None:  # an earlier process told of it
            with suppress(HistoryError):
                known = self._store.url(workflow_id)
        return known

    def log_model(self, workflow_id: str, model: Any, timeout_s: float, **how: Any) -> str:
        """Keep a workflow's best model in the history; see :meth:`KeepsModels.log_model`."""
        if not isinstance(self._store, KeepsModels):
            raise HistoryError("this history keeps no models: use an MLflow store")
        self._writer.flush(timeout_s)  # the workflow comes first
        return self._store.log_model(workflow_id, model, **how)

    def close(self, timeout_s: float) -> None:
        """Send what can be within that time; the rest is kept and sent later."""
        self._writer.close(timeout_s)
