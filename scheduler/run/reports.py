"""What is reported to a dispatcher: the events of the plan, and what becomes events there."""

from dataclasses import dataclass
from typing import TypeAlias

from fitcast.errors import FitcastError
from fitcast.scheduler.kept.results import KeptAttempt
from fitcast.scheduler.plan import events
from fitcast.scheduler.run.attempts import ProcessEnded, ProcessFailed
from fitcast.scheduler.run.live_eta import Forecast
from fitcast.scheduler.run.runs import Run
from fitcast.scheduler.run.worker_reports import Told
from fitcast.scheduler.run.worker_set import WorkersReport


@dataclass(frozen=True, slots=True)
class Handed:
    """A workflow was handed in."""

    run: Run
    submitted: events.Submitted


@dataclass(frozen=True, slots=True)
class Committed:
    """What a process of fits came to is kept, or can't be."""

    told: Told
    kept: tuple[KeptAttempt, ...]
    error: FitcastError | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """Interrupt what runs, and end."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing was reported for a while."""


Report: TypeAlias = (
    events.Event
    | Handed
    | Forecast
    | ProcessEnded
    | ProcessFailed
    | Committed
    | WorkersReport
    | Stop
    | Tick
)


def workflow_of(what: object) -> str | None:
    """Return the workflow that a report or an action is about; None if it is about none, or all."""
    for inner in ("told", "run", "sent", "action", "submitted"):
        if (found := getattr(what, inner, None)) is not None:
            what = found
            break
    if (start := getattr(what, "start", None)) is not None:
        what = start
    key = getattr(what, "key", None)
    found = getattr(key if isinstance(key, events.FitKey) else what, "workflow_id", None)
    return found if isinstance(found, str) else None
