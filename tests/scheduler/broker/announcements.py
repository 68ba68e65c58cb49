"""Announcements of workflows, as a client makes them."""

import base64
import json
from datetime import UTC, datetime
from uuid import uuid4

from fitcast.trainer.sweep.submission_file import to_json
from fitcast.version import __version__

FILE = {
    "dataset_id": 32 * "a",
    "plaintext_bytes": 100,
    "sealed_bytes": 200,
    "sealed_sha256": 64 * "b",
}


def announced(prepared, **changes):
    """Return the announcement of a sweep, with files that nobody has."""
    submission = json.loads(json.dumps(to_json(prepared.submission)))
    submission["error_score"] = 0.0  # NaN is no JSON
    return {
        "workflow_id": f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid4().hex}",
        "version": __version__,
        "submission": submission,
        "key": base64.b64encode(32 * b"k").decode(),
        "priority": 0,
        "dataset": dict(FILE),
        "sweep": dict(FILE),
        **changes,
    }
