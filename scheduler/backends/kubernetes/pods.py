"""What the status of pods means: why one doesn't start, why one is gone. Pure.

Pod status alone proves little: a process that was killed for want of memory inside its container
leaves no trace there (seen on Kubernetes 1.36), so running out of memory is believed only of a
container that says so itself; otherwise the fit's own process must prove it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from fitcast.history.records import Outcome
from fitcast.scheduler.backends.protocol import WorkerLoss

Object = Mapping[str, Any]

IMAGE_REASONS = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
START_REASONS = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
_TAKEN_AWAY = {"Evicted", "Preempting", "Preempted", "NodeLost", "NodeShutdown", "Terminated"}
_GENERATED = {
    "apps.kubernetes.io/pod-index",
    "controller-revision-hash",
    "pod-template-hash",
    "statefulset.kubernetes.io/pod-name",
}


def why_pending(pod: Object) -> str:
    """Return in the cluster's own words why a pod doesn't start; empty if nothing is wrong."""
    if unplaced := _condition(pod, "PodScheduled", "False"):
        return f"{unplaced.get('reason', 'Unschedulable')}: {unplaced.get('message', '')}"
    for container in _containers(pod):
        waiting = container.get("state", {}).get("waiting", {})
        reason = waiting.get("reason", "")
        if reason in IMAGE_REASONS | START_REASONS:
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


def why_gone(pod: Object | None) -> WorkerLoss:
    """Return why the worker of a pod is gone; None stands for a pod that isn't there any more."""
    if pod is None:
        return WorkerLoss(Outcome.PREEMPTED, "its pod was deleted")
    status = pod.get("status", {})
    if disruption := _condition(pod, "DisruptionTarget"):
        return WorkerLoss(Outcome.PREEMPTED, _said(disruption))
    if status.get("reason") in _TAKEN_AWAY:
        return WorkerLoss(Outcome.PREEMPTED, _said(status))
    for container in _containers(pod):
        for state in (container.get("state", {}), container.get("lastState", {})):
            ended = state.get("terminated", {})
            if ended.get("reason") == "OOMKilled":
                said = "its container was ended out of memory (OOMKilled)"
                return WorkerLoss(Outcome.OUT_OF_MEMORY, said)
    if pod["metadata"].get("deletionTimestamp"):
        return WorkerLoss(Outcome.PREEMPTED, "its pod was deleted")
    return WorkerLoss()


def lasting_labels(pod: Object) -> dict[str, str]:
    """Return the labels that a pod shares with those that will stand in for it."""
    labels: Mapping[str, str] = pod["metadata"].get("labels") or {}
    return {name: value for name, value in labels.items() if name not in _GENERATED}


def life_of(pod: Object) -> str:
    """Return what tells apart a pod's processes: itself, and how often it was started again."""
    restarts = sum(container.get("restartCount", 0) for container in _containers(pod))
    return f"{pod['metadata']['uid']}-{restarts}"


def is_ready(pod: Object) -> bool:
    """Tell whether a pod's containers are all ready."""
    return _condition(pod, "Ready") is not None


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
