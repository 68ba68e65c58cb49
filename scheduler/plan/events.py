"""What happens to a plan, and what the plan answers: the vocabulary of the decisions.

Events go in, actions come out (:mod:`fitcast.scheduler.plan.decisions`). Both are frozen data, the
same for real Dask workers and for the simulator.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from fitcast.history.records import Estimate, Outcome
from fitcast.scheduler.plan.pools import WorkerSize


class FitKey(NamedTuple):
    """Names a fit across workflows."""

    workflow_id: str
    fit_id: str


class SharedWork(NamedTuple):
    """Work that a fit has in common with others: done once if they run in one process."""

    name: str  # equal for fits that share it
    share: float  # of the fit's runtime alone, forecast; 0 to 1


class Follower(NamedTuple):
    """An attempt that runs after another in the same process."""

    key: FitKey
    attempt: int
    deadline_s: float  # from its own beginning
    saved_s: float = 0.0  # forecast of the work that is done for it already
    begin_within_s: float = math.inf  # its turn comes so soon after the leader's, or never


@dataclass(frozen=True, slots=True)
class WorkerJoined:
    """A worker is ready for attempts."""

    worker: WorkerSize


@dataclass(frozen=True, slots=True)
class WorkerLeft:
    """A worker is gone, and the attempts on it with it."""

    address: str
    preempted: bool = False  # it was taken away, so no attempt on it can be to blame
    out_of_memory: bool = False  # proven of all that ran there together
    returns: bool = False  # another one of its size will come instead


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A workflow whose fits may start."""

    workflow_id: str
    estimates: Mapping[str, Estimate]  # by fit_id, one thread, in submission order
    dataset_bytes: int  # held once by every worker while the workflow runs
    folds: Mapping[str, int] = field(default_factory=dict)  # of fits that share a fold's rows
    candidates: Mapping[str, int] = field(default_factory=dict)  # whose folds err together
    shared: Mapping[str, SharedWork] = field(default_factory=dict)
    process_start_s: float = 0.0  # that a fit is spared in the process of another
    memory_bytes: int | None = None  # the user's own bound for a fit, instead of the forecast
    deadline_s: float | None = None  # the user's own cap on an attempt
    final: bool = False  # a last fit (the refit) follows when all others are done


@dataclass(frozen=True, slots=True)
class Reforecast:
    """Estimates of fits that wait were corrected."""

    workflow_id: str
    estimates: Mapping[str, Estimate]
    shared: Mapping[str, SharedWork] = field(default_factory=dict)  # where that was corrected too


@dataclass(frozen=True, slots=True)
class FinalChosen:
    """The answer to `ChooseFinal`: the last fit, or none if there is nothing to refit."""

    workflow_id: str
    fit_id: str | None
    estimate: Estimate | None


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """An attempt came to an end that its worker reported.

    A follower whose turn never came, as their process had ended before, is preempted.
    """

    key: FitKey
    attempt: int
    outcome: Outcome
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """The user gave the workflow up, or it can't go on."""

    workflow_id: str
    reason: str = "cancelled"  # that its fits show


Event: TypeAlias = (
    WorkerJoined
    | WorkerLeft
    | Submitted
    | Reforecast
    | FinalChosen
    | AttemptEnded
    | CancelRequested
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start an attempt on a worker; its followers run after it in the same process, in order."""

    key: FitKey
    attempt: int
    worker: str
    pool: str
    threads: int
    memory_limit_bytes: int  # what it may never exceed
    share_bytes: int  # what it is counted with; beyond, it goes first when the worker is full
    deadline_s: float
    followers: tuple[Follower, ...] = ()


@dataclass(frozen=True, slots=True)
class Kill:
    """End a running attempt; its report no longer counts."""

    key: FitKey
    attempt: int
    worker: str


@dataclass(frozen=True, slots=True)
class Settle:
    """A fit has its final outcome; `reason` says why when it isn't a success."""

    key: FitKey
    attempt: int
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ChooseFinal:
    """All fits of a workflow but the last are settled: choose the last one."""

    workflow_id: str


@dataclass(frozen=True, slots=True)
class Close:
    """Every fit of a workflow is settled."""

    workflow_id: str


Action: TypeAlias = Start | Kill | Settle | ChooseFinal | Close
