"""What a benchmark measured → records as the history keeps them."""

import math
from collections.abc import Mapping

from fitcast.history.records import Record, Request
from fitcast.trainer.attempt.spec import Measured


def attempt_record(
    record_id: str,
    request: Request,
    measured: Measured,
    *,
    workflow: str,
    dataset: str,
    candidate: str,
    candidate_index: int,
    fold: int,
    memory_limit_bytes: int,
    deadline_s: float = math.inf,
    scores: Mapping[str, float] | None = None,
    machine_speed: float = 0.0,
) -> Record:
    """Return the record of a fit's only attempt."""
    return Record(
        record_id=record_id,
        workflow_id=workflow,
        workflow_name=workflow,
        dataset=dataset,
        candidate=candidate,
        candidate_index=candidate_index,
        fold=fold,
        attempt=1,
        request=request,
        estimate=None,
        outcome=measured.outcome,
        runtime_s=measured.runtime_s,
        cpu_s=measured.cpu_s,
        cpu_wait_s=measured.cpu_wait_s,
        peak_memory_bytes=measured.peak_memory_bytes,
        base_memory_bytes=measured.base_memory_bytes,
        memory_limit_bytes=memory_limit_bytes,
        deadline_s=deadline_s if math.isfinite(deadline_s) else None,
        pool="benchmark",
        worker="benchmark",
        host="benchmark",
        started_at=measured.started_at,
        ended_at=measured.ended_at,
        scores=measured.scores if scores is None else scores,
        error_type=measured.error_type,
        error_message=measured.error_message[:200],
        machine_speed=machine_speed,
    )
