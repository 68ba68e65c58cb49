"""Submissions for tests of the broker's store."""

import hashlib
import itertools

from fitcast.scheduler.broker.resources import Demand, Resources
from fitcast.scheduler.broker.store import NewWorkflow, Progress

_numbers = itertools.count(1)
DEMAND = Demand(
    cpu_s=100.0, memory_byte_s=100.0 * 2**30, gpu_s=0.0, most=Resources(4.0, 4.0 * 2**30, 0.0)
)


def submission(workflow_id=None, **changes):
    """Return a submission of 10 fits with files of 100 and 10 bytes."""
    number = next(_numbers)
    given = {
        "workflow_id": workflow_id or f"w{number}",
        "name": "a sweep",
        "fits_total": 10,
        "demand": DEMAND,
        "forecast_s": (10.0, 20.0, 40.0),
        "dataset_bytes": 100,
        "dataset_sha256": hashlib.sha256(b"dataset").hexdigest(),
        "sweep_bytes": 10,
        "sweep_sha256": hashlib.sha256(b"sweep").hexdigest(),
        "wrapped_key": b"wrapped",
        "key_version": "1",
        "request_sha256": hashlib.sha256(b"request").hexdigest(),
    }
    return NewWorkflow(**(given | changes))


def uploaded(store, workflow_id):
    """Send both files of a workflow."""
    workflow = store.get(workflow_id)
    store.note_received(workflow_id, "dataset", 0, workflow.dataset_bytes)
    store.note_received(workflow_id, "sweep", 0, workflow.sweep_bytes)


def queued(store, user_id, workflow_id=None, **changes):
    """Take a submission in and bring it into the queue; return its id."""
    workflow = store.add(user_id, submission(workflow_id, **changes))
    uploaded(store, workflow.workflow_id)
    return store.accept(workflow.workflow_id).workflow_id


def progress(fits_done=1, **changes):
    given = {
        "fits_done": fits_done,
        "demand_left": DEMAND,
        "eta_s": (1.0, 2.0, 3.0),
        "used": Resources(2.0, 2.0**30, 0.0),
    }
    return Progress(**(given | changes))
