"""What the status and the warnings of pods mean: why one doesn't start, why one is gone. Pure.

Three parts: a pod's status, the warnings that tell what a silent status doesn't, and whether a
scheduler that isn't there yet is still to be hoped for. Times are given, never read.
Not in: waiting for a scheduler's pod (:mod:`fitcast.scheduler.backends.kubernetes.scheduler_pod`).

Pod status alone proves little: a process that was killed for want of memory inside its container
leaves no trace there (seen on Kubernetes 1.36), so running out of memory is believed only of a
container that says so itself; otherwise the fit's own process must prove it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from fitcast.history.records import Outcome
from fitcast.scheduler.backends.protocol import WorkerLoss

Object = Mapping[str, Any]

SILENT_FOR_S = 10.0
"""How long a pod may have a node and tell nothing before its warnings are asked for."""

ASK_EVERY_S = 5.0
"""How often they are asked for then."""

HOPELESS_AFTER_S = 10.0
"""How long an image that can't be pulled, or a start that fails, is tried before it is given up."""

OPERATOR_WITHIN_S = 20.0
"""How soon the operator notices a new DaskCluster, if it runs."""

_IMAGE_REASONS = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
_START_REASONS = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
# All else may resolve: nodes are added, volumes attached, networks set up meanwhile.
_HOPELESS = _IMAGE_REASONS | _START_REASONS | {"CrashLoopBackOff"}
_TAKEN_AWAY = {"Evicted", "Preempting", "Preempted", "NodeLost", "NodeShutdown", "Terminated"}
_GENERATED = {
    "apps.kubernetes.io/pod-index",
    "controller-revision-hash",
    "pod-template-hash",
    "statefulset.kubernetes.io/pod-name",
}


# -- the status of a pod ---------------------------------------------------------------------------


def is_ready(pod: Object) -> bool:
    """Tell whether a pod's containers are all ready."""
    return _condition(pod, "Ready") is not None


def why_pending(pod: Object) -> str:
    """Return in the cluster's own words why a pod doesn't start; empty if nothing is wrong."""
    if unplaced := _condition(pod, "PodScheduled", "False"):
        return f"{unplaced.get('reason', 'Unschedulable')}: {unplaced.get('message', '')}"
    for container in _containers(pod):
        waiting = container.get("state", {}).get("waiting", {})
        reason = waiting.get("reason", "")
        if reason in _IMAGE_REASONS | _START_REASONS:
            return f"{reason}: {waiting.get('message', '')}"
        if reason == "CrashLoopBackOff":
            ended = container.get("lastState", {}).get("terminated", {})
            log = ended.get("message", "").strip()  # the end of it
            said = log.splitlines()[-1][:500] if log else waiting.get("message", "")
            return f"{reason}: exit code {ended.get('exitCode', 'unknown')}; {said}"
    return ""


def is_silent(pod: Object) -> bool:
    """Tell whether a pod has a node but no container that ever ran, and no reason for it."""
    if why_pending(pod) or pod.get("status", {}).get("phase") != "Pending":
        return False
    return _condition(pod, "PodScheduled") is not None


def why_no_pod(deployment: Object) -> str:
    """Return why a deployment could make no pod at all, for example its quota; else empty."""
    if failure := _condition(deployment, "ReplicaFailure"):
        return f"{failure.get('reason', 'FailedCreate')}: {failure.get('message', '')}"
    return ""


def why_gone(pod: Object | None, life: str = "") -> WorkerLoss:
    """Return why the worker of a pod is gone.

    Parameters
    ----------
    pod : mapping or None
        None stands for a pod that isn't there any more.
    life : str
        The worker's (:func:`life_of`), if it is known: how the life before it ended says nothing.
    """
    if pod is None:
        return WorkerLoss(Outcome.PREEMPTED, "its pod was deleted")
    status = pod.get("status", {})
    if disruption := _condition(pod, "DisruptionTarget"):
        return WorkerLoss(Outcome.PREEMPTED, _said(disruption))
    if status.get("reason") in _TAKEN_AWAY:
        return WorkerLoss(Outcome.PREEMPTED, _said(status))
    states = ["state"] if life and life_of(pod) == life else ["state", "lastState"]
    for container in _containers(pod):
        for state in states:
            ended = container.get(state, {}).get("terminated", {})
            if ended.get("reason") == "OOMKilled":
                said = "its container was ended out of memory (OOMKilled)"
                return WorkerLoss(Outcome.OUT_OF_MEMORY, said)
    if pod["metadata"].get("deletionTimestamp"):
        return WorkerLoss(Outcome.PREEMPTED, "its pod was deleted")
    return WorkerLoss()


def life_of(pod: Object) -> str:
    """Return what tells apart a pod's processes: itself, and how often it was started again."""
    restarts = sum(container.get("restartCount", 0) for container in _containers(pod))
    return f"{pod['metadata']['uid']}-{restarts}"


def lasting_labels(pod: Object) -> dict[str, str]:
    """Return the labels that a pod shares with those that will stand in for it."""
    labels: Mapping[str, str] = pod["metadata"].get("labels") or {}
    return {name: value for name, value in labels.items() if name not in _GENERATED}


# -- warnings --------------------------------------------------------------------------------------


class StartObstacles:
    """Why pods don't start: by their status or, where that is silent, by the cluster's warnings.

    A volume that can't be mounted, or a sandbox that can't be made, leaves a pod
    "ContainerCreating" without a reason; events alone tell it.

    Parameters
    ----------
    warnings_of : callable
        ``warnings_of(pod)`` returns the cluster's warnings about a pod, the latest last.
    """

    def __init__(self, warnings_of: Callable[[str], Sequence[str]]) -> None:
        self._warnings_of = warnings_of
        self._ask_s: dict[str, float] = {}  # by name, when to ask (again)
        self._known: dict[str, str] = {}

    def why_not(self, pod: Object, now_s: float) -> str:
        """Return why a pod doesn't start; empty if nothing is known to be wrong."""
        name = pod["metadata"]["name"]
        if not is_silent(pod):
            self._ask_s.pop(name, None)
            self._known.pop(name, None)
            return why_pending(pod)
        if now_s >= self._ask_s.setdefault(name, now_s + SILENT_FOR_S):
            self._ask_s[name] = now_s + ASK_EVERY_S
            warnings = [one for one in self._warnings_of(name) if _prevents_start(one)]
            self._known[name] = warnings[-1] if warnings else ""
        return self._known.get(name, "")


def _prevents_start(warning: str) -> bool:
    """Tell whether a warning is of what keeps a pod from starting once it has a node."""
    reason = warning.partition(":")[0]
    return reason == "NetworkNotReady" or (
        reason.startswith("Failed") and reason != "FailedScheduling"
    )


# -- a scheduler that isn't there yet --------------------------------------------------------------


class FaultKind(Enum):
    """How long a fault of a start may last."""

    NONE = "none"
    PASSING = "passing"  # may resolve by itself
    NO_OPERATOR = "no operator"  # nobody has noticed the cluster yet
    HOPELESS = "hopeless"


@dataclass(frozen=True, slots=True)
class StartFault:
    """What keeps a scheduler from starting."""

    kind: FaultKind = FaultKind.NONE
    note: str = ""


def start_fault(
    cluster: Object,
    deployment: Object | None,
    found: Sequence[Object],
    why_not: Callable[[Object], str] = why_pending,
) -> StartFault:
    """Return what is wrong, judged by a DaskCluster and what was made of it.

    `why_not` tells why a pod doesn't start.
    """
    phase = cluster.get("status", {}).get("phase")
    if deployment is None and not phase:
        return StartFault(FaultKind.NO_OPERATOR, "the Dask operator hasn't noticed the cluster yet")
    if phase == "Error":
        return StartFault(FaultKind.HOPELESS, "the Dask operator refused the cluster")
    if deployment is not None and not found and (why := why_no_pod(deployment)):
        return StartFault(FaultKind.HOPELESS, f"the scheduler's pod can't be made: {why}")
    for pod in found:
        if why := why_not(pod):
            hopeless = why.partition(":")[0] in _HOPELESS
            kind = FaultKind.HOPELESS if hopeless else FaultKind.PASSING
            return StartFault(kind, f"the scheduler's pod can't start: {why}")
    return StartFault()


@dataclass(slots=True)
class StartPatience:
    """How long a start has been waited for, and how long its present fault has lasted."""

    within_s: float
    _began_s: float | None = field(default=None, init=False)
    _kind: FaultKind = field(default=FaultKind.NONE, init=False)
    _since_s: float = field(default=0.0, init=False)

    def is_over(self, fault: StartFault, now_s: float) -> bool:
        """Note what is wrong now; return whether there is no point in waiting on."""
        if self._began_s is None:
            self._began_s = self._since_s = now_s
        if fault.kind is not self._kind:
            self._kind, self._since_s = fault.kind, now_s
        if now_s - self._began_s >= self.within_s:
            return True
        lasted_s = now_s - self._since_s
        if fault.kind is FaultKind.NO_OPERATOR:
            return lasted_s >= OPERATOR_WITHIN_S
        return fault.kind is FaultKind.HOPELESS and lasted_s >= HOPELESS_AFTER_S

    def message(self, name: str, fault: StartFault, warnings: Sequence[str]) -> str:
        """Return what to tell the user once it is over."""
        if fault.kind is FaultKind.NO_OPERATOR:
            return (
                f"nobody takes care of the DaskCluster of {name!r}: the Dask operator isn't "
                "running, or doesn't watch this namespace. Install it (docs/how-to/kubernetes.md), "
                "or let it watch this namespace."
            )
        what = fault.note or f"it wasn't ready within {self.within_s:.0f} s"
        said = f" Its events: {'; '.join(warnings)}" if warnings else ""
        return f"the workflow's scheduler {name!r} doesn't start: {what}.{said}"


# -- reading objects -------------------------------------------------------------------------------


def _condition(of: Object, kind: str, status: str = "True") -> Object | None:
    """Return the condition of a kind if it has this status."""
    conditions: Iterable[Object] = of.get("status", {}).get("conditions", ())
    for one in conditions:
        if one.get("type") == kind and one.get("status") == status:
            return one
    return None


def _containers(pod: Object) -> Iterable[Object]:
    statuses: Iterable[Object] = pod.get("status", {}).get("containerStatuses", ())
    return statuses


def _said(what: Object) -> str:
    return ": ".join(filter(None, (what.get("reason", ""), what.get("message", ""))))
