"""What the history is told of an attempt: its record, with a name that is the same for the same.

Not in: what is told when (:mod:`fitcast.scheduler.run.worker_reports`).
"""

from dataclasses import replace
from functools import cache
from hashlib import sha256
from importlib.metadata import version

from fitcast.history.records import Record
from fitcast.scheduler.run.runs import Run
from fitcast.sizing.laws.families import with_threads
from fitcast.trainer.attempt.spec import Measured
from fitcast.trainer.sweep.submission import Fit


@cache
def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that fits' costs depend on."""
    return {name: version(name) for name in ("fitcast", "scikit-learn", "xgboost", "lightgbm")}


def _record_id(run: Run, fit: Fit, attempt: int) -> str:
    """Return the same for the same attempt, whoever tells of it: the history has each once."""
    told = f"{run.workflow_id}/{run.opened}/{fit.fit_id}/{attempt}"
    return sha256(told.encode()).hexdigest()[:32]


def record_of(
    run: Run,
    fit: Fit,
    attempt: int,
    measured: Measured,
    *,
    pool: str,
    worker: str,
    host: str,
    threads: int,
    memory_limit_bytes: int,
    deadline_s: float | None,
    versions: dict[str, str],
    machine_speed: float,
) -> Record:
    """Return the record of an attempt: request, cost, end, and what had been forecast."""
    estimate = run.row(fit.fit_id).estimate
    return Record(
        record_id=_record_id(run, fit, attempt),
        workflow_id=run.workflow_id,
        workflow_name=run.submission.name,
        dataset=run.submission.dataset,
        candidate=fit.candidate.label,
        candidate_index=fit.candidate.index,
        fold=fit.fold,
        attempt=attempt,
        request=replace(fit.request, threads=threads),
        estimate=with_threads(estimate, threads),
        outcome=measured.outcome,
        runtime_s=measured.runtime_s,
        cpu_s=measured.cpu_s,
        peak_memory_bytes=measured.peak_memory_bytes,
        base_memory_bytes=measured.base_memory_bytes,
        memory_limit_bytes=memory_limit_bytes,
        deadline_s=deadline_s,
        pool=pool,
        worker=worker,
        host=host,
        started_at=measured.started_at,
        ended_at=measured.ended_at,
        scores=dict(measured.scores),
        error_type=measured.error_type,
        error_message=measured.error_message,
        versions=versions,
        machine_speed=machine_speed,
        shared_s=measured.shared_s,
        cpu_wait_s=measured.cpu_wait_s,
    )
