"""What commands say to programs: one JSON document on standard output, and nothing beside it.

In here: the documents, with the column names of the tables in Python (`docs/reference.md` lists
them), and keeping all else off standard output meanwhile. Not in here: tables for people
(:mod:`fitcast.reports`).
"""

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import pandas as pd

from fitcast.scheduler.forecast.eta import Eta
from fitcast.scheduler.forecast.what_if import SweepCost
from fitcast.scheduler.plan.pools import Pool

if TYPE_CHECKING:
    from fitcast.scheduler.forecast.sweep_estimate import SweepEstimate
    from fitcast.scheduler.run.views import WorkflowView
    from fitcast.scheduler.session.results import Result
    from fitcast.scheduler.session.workflow import Workflow

POOL_FIELDS = ("name", "cpus", "memory_bytes", "workers", "price_per_hour")

STATUS_FIELDS = (
    *("workflow_id", "workflow_name", "state", "done", "running", "fits"),
    *("eta_s_p10", "eta_s_p50", "eta_s_p90", "finish_at"),
    *("notes", "submitted_at", "ended_at", "error"),
)

_STDOUT = 1


@contextmanager
def output(as_json: bool) -> Iterator[TextIO]:
    """Give the stream that a command writes to: standard output.

    For JSON all else that writes there meanwhile goes to standard error: the user's file,
    libraries in C, processes that are started. They all know the file descriptor only.
    """
    if not as_json:
        yield sys.stdout
        return
    sys.stdout.flush()
    ours = os.dup(_STDOUT)
    os.dup2(sys.stderr.fileno(), _STDOUT)
    try:
        with os.fdopen(os.dup(ours), "w", encoding="utf-8") as stream:
            yield stream
    finally:
        sys.stdout.flush()
        os.dup2(ours, _STDOUT)
        os.close(ours)


def dump(document: dict[str, Any] | list[dict[str, Any]], stream: TextIO) -> None:
    """Write a document; NaN and infinity, which JSON doesn't know, as null."""
    json.dump(_plain(document), stream, indent=2, allow_nan=False)
    stream.write("\n")


def estimate_document(
    estimate: "SweepEstimate", choices: pd.DataFrame | None = None, *, wished: bool = False
) -> dict[str, Any]:
    """Return a forecast.

    Parameters
    ----------
    estimate : SweepEstimate
        The forecast.
    choices : DataFrame, optional
        What its `what_if` returned.
    wished : bool
        Whether it was asked which workers meet a wish.
    """
    document: dict[str, Any] = {
        "eta": estimate.eta,
        "sequential_s": estimate.sequential_s,
        "cost": estimate.cost,
        "pools": estimate.pools,
        "candidates": estimate.candidates,
        "fits": estimate.fits,
    }
    if choices is not None:
        document["what_if"] = choices
        document["answer"] = choices.attrs["answer"] if wished else None
    return document


def status_document(view: "WorkflowView") -> dict[str, Any]:
    """Return how far a workflow is."""
    done, running, total = view.counts()
    left = view.left(datetime.now(UTC))
    return {
        "workflow_id": view.workflow_id,
        "workflow_name": view.name,
        "state": view.state,
        "done": done,
        "running": running,
        "fits": total,
        "eta_s_p10": left and left.p10_s,
        "eta_s_p50": left and left.p50_s,
        "eta_s_p90": left and left.p90_s,
        "finish_at": None if left is None or view.is_over else left.finish_at,
        "notes": view.notes,
        "submitted_at": view.submitted_at,
        "ended_at": view.ended_at,
        "error": None if view.error is None else str(view.error),
    }


def unreadable_document(workflow_id: str, why: str) -> dict[str, Any]:
    """Return that of a workflow of which nothing can be read."""
    row: dict[str, Any] = dict.fromkeys(STATUS_FIELDS)
    return row | {
        "workflow_id": workflow_id,
        "workflow_name": "",
        "state": "unreadable",
        "done": 0,
        "running": 0,
        "fits": 0,
        "notes": (),
        "error": why,
    }


def run_document(
    estimate: "SweepEstimate | None", workflow: "Workflow", result: "Result"
) -> dict[str, Any]:
    """Return what was forecast of a workflow, what came out, and what it took."""
    return {
        "workflow": {
            "workflow_id": workflow.id,
            "workflow_name": workflow.name,
            "state": workflow.state,
            "took_s": workflow.took_s,
        },
        "estimate": None if estimate is None else estimate_document(estimate),
        "best": {
            "candidate": result.best_candidate_,
            "params": result.best_params_,
            "score": result.best_score_,
        },
        "leaderboard": result.leaderboard,
        "fits": workflow.fits,
        "errors": result.errors,
    }


def _plain(value: Any) -> Any:
    """Return what JSON has for a value; of what it has nothing for, the text that shows it."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return None if value is pd.NaT else value.isoformat()
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, pd.DataFrame):
        return _plain(value.to_dict("records"))
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Eta | SweepCost):
        return _plain(asdict(value))
    if isinstance(value, Pool):
        return {name: _plain(getattr(value, name)) for name in POOL_FIELDS}
    return repr(value)
