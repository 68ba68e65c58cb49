"""What happens to a plan, and what the plan answers: the vocabulary of the decisions.

Events go in, actions come out (:mod:`fitcast.scheduler.plan.decisions`). Both are frozen data, the
same for real Dask workers and for the simulator.

Whatever is slow is an action that is answered by an event, or by its failed twin `ActionFailed`:

    Seal            Sealed              the dataset is encrypted; the user may change theirs
    OpenWorkers     WorkersOpened       a cluster for this workflow alone
    Start           AttemptEnded        and Kill only makes that come sooner
    ExplainLoss     WorkerLeft          why a worker is gone
    ChooseNext      NextChosen          which candidates go on; at last, which is fitted on all rows
    RecordEnd       Recorded            the history has the workflow's end
    ReleaseDataset  DatasetReleased     workers let go of it; its workflow is back in the queue
    RemoveDataset   DatasetRemoved      nothing is left of it
    CloseWorkers    WorkersClosed       the workflow's own cluster is gone
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from fitcast.errors import FitcastError
from fitcast.history.records import Estimate, Outcome
from fitcast.scheduler.plan.pools import WorkerSize


class FitKey(NamedTuple):
    """Names a fit across workflows."""

    workflow_id: str
    fit_id: str


class CommonWork(NamedTuple):
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
class WorkerExpected:
    """A worker may come: what needs one of its size waits for it."""

    worker: WorkerSize


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker is gone, nobody knows yet why: what ran there is neither tried again nor blamed."""

    address: str
    returns: bool = False  # another one of its size will come instead


@dataclass(frozen=True, slots=True)
class WorkerLeft:
    """A worker is gone for a known reason, and the attempts on it with it."""

    address: str
    preempted: bool = False  # it was taken away, so no attempt on it can be to blame
    out_of_memory: bool = False  # proven of all that ran there together
    returns: bool = False  # another one of its size will come instead


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A workflow that a user handed in."""

    workflow_id: str
    estimates: Mapping[str, Estimate]  # by fit_id, one thread, in submission order
    dataset_bytes: int  # held once by each worker that runs its fits
    folds: Mapping[str, int] = field(default_factory=dict)  # of fits that share a fold's rows
    candidates: Mapping[str, int] = field(default_factory=dict)  # whose folds err together
    common_work: Mapping[str, CommonWork] = field(default_factory=dict)
    attempts: Mapping[str, int] = field(default_factory=dict)  # that an earlier process made
    process_start_s: float = 0.0  # that a fit is spared in the process of another
    memory_bytes: int | None = None  # the user's own bound for a fit, instead of the forecast
    deadline_s: float | None = None  # the user's own cap on an attempt
    rounds: int = (
        0  # that follow, each chosen once all before it are done; the last may be the refit
    )
    sealed: bool = False  # its dataset is ready for workers already
    own_workers: bool = False  # its fits run in a cluster that is made for it
    share_of: str = ""  # the user whose share of the workers it has
    priority: int = 0  # within that user's own work


@dataclass(frozen=True, slots=True)
class SharesChanged:
    """Users share the workers by these weights, positive; without any, workflows take turns alike.

    What somebody had before is counted in. A user that isn't among them has the weight 1.
    """

    weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Reforecast:
    """Estimates of fits that wait were corrected."""

    workflow_id: str
    estimates: Mapping[str, Estimate]
    common_work: Mapping[str, CommonWork] = field(
        default_factory=dict
    )  # where that was corrected too


@dataclass(frozen=True, slots=True)
class StartLearned:
    """Fits have shown what one is spared that follows in the process of another."""

    workflow_id: str
    process_start_s: float


@dataclass(frozen=True, slots=True)
class LateFit:
    """A fit of a round that is chosen late: what `Submitted` says of those that are there first."""

    estimate: Estimate
    fold: int | None = None
    candidate: int | None = None
    common_work: CommonWork | None = None
    attempt: int = 0  # that an earlier process made


@dataclass(frozen=True, slots=True)
class NextChosen:
    """The answer to `ChooseNext`: the fits of the next round that are still to be run, by fit_id.

    There may be none left, where an earlier process ran them; None says that no round follows.
    """

    workflow_id: str
    fits: Mapping[str, LateFit] | None


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
    """The user gave a workflow up."""

    workflow_id: str


@dataclass(frozen=True, slots=True)
class Abandoned:
    """A workflow can't go on; its error says why."""

    workflow_id: str
    error: FitcastError


@dataclass(frozen=True, slots=True)
class AllWorkersLost:
    """There are no workers, and there will be none any more."""

    error: FitcastError


@dataclass(frozen=True, slots=True)
class Sealed:
    """A workflow's dataset is ready for workers."""

    workflow_id: str


@dataclass(frozen=True, slots=True)
class WorkersOpened:
    """A workflow's own cluster is there; its workers join one by one."""

    workflow_id: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """The history knows how a workflow ended."""

    workflow_id: str


@dataclass(frozen=True, slots=True)
class DatasetReleased:
    """No worker holds the dataset of a workflow any more; it may be opened again."""

    workflow_id: str


@dataclass(frozen=True, slots=True)
class DatasetRemoved:
    """Nothing is left of a workflow's dataset."""

    workflow_id: str


@dataclass(frozen=True, slots=True)
class WorkersClosed:
    """A workflow's own cluster is gone."""

    workflow_id: str


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
    """End a running attempt; it holds what it was given until its end is reported."""

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
class ChooseNext:
    """All fits that a workflow has are settled, and more rounds follow: choose the next one."""

    workflow_id: str


@dataclass(frozen=True, slots=True)
class Seal:
    """Encrypt a workflow's dataset."""

    workflow_id: str


@dataclass(frozen=True, slots=True)
class OpenWorkers:
    """Make a workflow's own cluster."""

    workflow_id: str


@dataclass(frozen=True, slots=True)
class InterruptChoice:
    """Let go of the choice of a workflow's best candidate, which is under way."""

    workflow_id: str


@dataclass(frozen=True, slots=True)
class InterruptOpening:
    """Stop making a workflow's own cluster; that `OpenWorkers` is answered all the same."""

    workflow_id: str


@dataclass(frozen=True, slots=True)
class ExplainLoss:
    """Find out why a worker is gone."""

    address: str
    returns: bool = False


@dataclass(frozen=True, slots=True)
class Conclude:
    """Every fit of a workflow is settled: its result is final, whatever is still to be ended."""

    workflow_id: str
    error: FitcastError | None = None  # why it was abandoned
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class RecordEnd:
    """Tell the history how a workflow ended."""

    workflow_id: str


@dataclass(frozen=True, slots=True)
class ReleaseDataset:
    """Let workers forget a dataset for now."""

    workflow_id: str


@dataclass(frozen=True, slots=True)
class RemoveDataset:
    """Let workers forget a dataset, and remove it and its key."""

    workflow_id: str


@dataclass(frozen=True, slots=True)
class CloseWorkers:
    """End a workflow's own cluster."""

    workflow_id: str


@dataclass(frozen=True, slots=True)
class Close:
    """Nothing of a workflow is left: forget it."""

    workflow_id: str


OfWorkflow: TypeAlias = (
    Seal | OpenWorkers | ChooseNext | RecordEnd | ReleaseDataset | RemoveDataset | CloseWorkers
)
"""Slow actions of a workflow."""

SlowAction: TypeAlias = OfWorkflow | ExplainLoss
"""Actions that take time: each is answered by its event, or by `ActionFailed`."""

Action: TypeAlias = (
    SlowAction | Start | Kill | Settle | InterruptChoice | InterruptOpening | Conclude | Close
)


@dataclass(frozen=True, slots=True)
class ActionFailed:
    """A slow action couldn't be carried out."""

    action: SlowAction
    error: FitcastError


Event: TypeAlias = (
    WorkerJoined
    | WorkerExpected
    | WorkerLost
    | WorkerLeft
    | AllWorkersLost
    | Submitted
    | SharesChanged
    | Reforecast
    | StartLearned
    | NextChosen
    | AttemptEnded
    | CancelRequested
    | Abandoned
    | Sealed
    | WorkersOpened
    | Recorded
    | DatasetReleased
    | DatasetRemoved
    | WorkersClosed
    | ActionFailed
)
