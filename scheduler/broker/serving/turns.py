"""What decides whose turn it is, from what the store has: rows become what waits and what runs."""

from dataclasses import replace

from fitcast.scheduler.broker.resources import Resources
from fitcast.scheduler.broker.sharers import Limits, Running, Waiting
from fitcast.scheduler.broker.store import BrokerStore, StoredWorkflow
from fitcast.scheduler.session.engine import Engine


def waiting_of(row: StoredWorkflow) -> Waiting:
    """Return a workflow that waits."""
    return Waiting(
        workflow_id=row.workflow_id,
        user=row.user,
        priority=row.priority,
        queued_at_s=(row.queued_at or row.created_at).timestamp(),
        demand=row.demand,
        forecast_s=row.forecast_s,
    )


def running_of(row: StoredWorkflow) -> Running:
    """Return a workflow that runs."""
    return Running(
        workflow_id=row.workflow_id,
        user=row.user,
        priority=row.priority,
        used=row.used,
        demand=row.demand,
        started_at_s=(row.started_at or row.created_at).timestamp(),
        queued_at_s=(row.queued_at or row.created_at).timestamp(),
        forecast_s=row.eta_s,
    )


def capacity_of(engine: Engine) -> Resources:
    """Return all that workflows may use at once."""
    workers = engine.workers()
    return Resources(
        cpus=float(sum(worker.cpus for worker in workers)),
        memory_bytes=float(sum(worker.memory_bytes for worker in workers)),
    )


def limits_now(limits: Limits, store: BrokerStore) -> Limits:
    """Return the limits with the quotas that users have now."""
    return replace(limits, quotas={user.name: user.quota for user in store.users()})
