"""Whether a scheduler that isn't there yet will come, and what to tell if not. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fitcast.scheduler.backends.kubernetes import pods

Object = Mapping[str, Any]

HOPELESS_AFTER_S = 10.0
"""An image that couldn't be pulled, or a start that failed, for so long is given up."""

OPERATOR_WITHIN_S = 20.0
"""So soon the operator takes note of a new DaskCluster, if it runs."""

# All else may resolve: nodes are added, volumes attached, networks set up meanwhile.
_HOPELESS = pods.IMAGE_REASONS | pods.START_REASONS | {"CrashLoopBackOff"}


@dataclass(frozen=True, slots=True)
class Fault:
    """What keeps a scheduler from starting."""

    kind: str = ""  # "", "no operator", "hopeless", or the cluster's word for it
    note: str = ""


def fault_of(
    cluster: Object,
    deployment: Object | None,
    found: Sequence[Object],
    why_not: Callable[[Object], str] = pods.why_pending,
) -> Fault:
    """Return what is wrong, judged by a DaskCluster and what was made of it.

    `why_not` tells why a pod doesn't start.
    """
    if deployment is None and not cluster.get("status", {}).get("phase"):
        return Fault("no operator", "the Dask operator hasn't taken note of the cluster yet")
    if cluster.get("status", {}).get("phase") == "Error":
        return Fault("hopeless", "the Dask operator refused the cluster")
    if deployment is not None and not found and (why := pods.why_no_pod(deployment)):
        return Fault("hopeless", f"the scheduler's pod can't be made: {why}")
    for pod in found:
        why = why_not(pod)
        if why:
            word = why.partition(":")[0]
            kind = "hopeless" if word in _HOPELESS else word
            return Fault(kind, f"the scheduler's pod can't start: {why}")
    return Fault()


@dataclass(slots=True)
class Waiting:
    """How long a start has been waited for, and how long its present fault has lasted."""

    within_s: float
    _began_s: float | None = field(default=None, init=False)
    _kind: str = field(default="", init=False)
    _since_s: float = field(default=0.0, init=False)

    def is_over(self, fault: Fault, now_s: float) -> bool:
        """Take in what is wrong now; return whether there is no point in waiting on."""
        if self._began_s is None:
            self._began_s = self._since_s = now_s
        if fault.kind != self._kind:
            self._kind, self._since_s = fault.kind, now_s
        if now_s - self._began_s >= self.within_s:
            return True
        lasted_s = now_s - self._since_s
        if fault.kind == "no operator":
            return lasted_s >= OPERATOR_WITHIN_S
        return fault.kind == "hopeless" and lasted_s >= HOPELESS_AFTER_S

    def message(self, name: str, fault: Fault, events: Sequence[str]) -> str:
        """Return what to tell once it is over."""
        if fault.kind == "no operator":
            return (
                f"nobody takes care of the DaskCluster of {name!r}: the Dask operator isn't "
                "running, or doesn't watch this namespace. Install it (docs/how-to/kubernetes.md), "
                "or let it watch this namespace."
            )
        what = fault.note or f"it wasn't ready within {self.within_s:.0f} s"
        said = f" Its events: {'; '.join(events)}" if events else ""
        return f"the workflow's scheduler {name!r} doesn't start: {what}.{said}"
