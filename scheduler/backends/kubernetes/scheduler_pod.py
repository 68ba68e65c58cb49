"""Waits for the pod of a workflow's scheduler, and reports what keeps it away.

Not in: what the status of pods means (:mod:`fitcast.scheduler.backends.kubernetes.pod_status`).
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final

from fitcast.errors import BackendError, ClusterError, ClusterUnreachableError
from fitcast.scheduler.backends.kubernetes import pod_status
from fitcast.scheduler.backends.kubernetes.api import KubernetesApi, Object
from fitcast.scheduler.backends.kubernetes.objects import ResourceNames
from fitcast.scheduler.backends.kubernetes.pod_status import (
    FaultKind,
    StartFault,
    StartObstacles,
    StartPatience,
)

COMPONENT: Final = {"dask.org/component": "scheduler"}
"""The operator's label of schedulers."""

_OBSERVE_EVERY_S = 0.3


def schedulers(pods: Iterable[Object]) -> list[Object]:
    """Return those of a workflow's pods that are its scheduler's."""
    return [pod for pod in pods if COMPONENT.items() <= pod["metadata"].get("labels", {}).items()]


class SchedulerPod:
    """The pod of a workflow's scheduler, whichever is that now.

    Parameters
    ----------
    api : KubernetesApi
        Where it is.
    observe : callable
        Returns the workflow's pods by name, as they are now.
    names : ResourceNames
        Whose it is.
    within_s : float
        How long it may take to be there.
    stop : threading.Event
        Once set, nobody waits any more.
    report : callable
        Called with what keeps it away; with nothing if nothing does.
    """

    def __init__(
        self,
        api: KubernetesApi,
        observe: Callable[[], Mapping[str, Object]],
        names: ResourceNames,
        *,
        within_s: float,
        stop: threading.Event,
        report: Callable[[list[str]], None],
    ) -> None:
        self._api, self._observe, self._names = api, observe, names
        self._within_s = within_s
        self._stop = stop
        self._report = report
        self._obstacles = StartObstacles(api.warnings_of)

    def wait(self) -> Object:
        """Return the pod once it is ready.

        Raises
        ------
        BackendError
            It can't be, or takes too long; with what the cluster says about it.
        """
        patience = StartPatience(self._within_s)
        while not self._stop.wait(_OBSERVE_EVERY_S):
            warnings: list[str] = []
            try:
                found = schedulers(self._observe().values())
                if self._stop.is_set():
                    break
                living = [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]
                for pod in living:
                    if pod_status.is_ready(pod):
                        return pod
                fault = self._fault(living)
            except ClusterUnreachableError as error:
                living, fault = [], StartFault(FaultKind.PASSING, str(error))
            self._report([fault.note] if fault.note else [])
            if patience.is_over(fault, time.monotonic()):
                for pod in living:
                    with suppress(ClusterError):
                        warnings += self._api.warnings_of(pod["metadata"]["name"])[-3:]
                raise BackendError(patience.message(self._names.scheduler, fault, warnings))
        raise BackendError("the cluster was closed while it was made")

    def _fault(self, living: list[Object]) -> StartFault:
        cluster = self._api.get("daskclusters", self._names.cluster) or {}
        deployment = self._api.get("deployments", self._names.scheduler)
        now_s = time.monotonic()
        return pod_status.start_fault(
            cluster, deployment, living, lambda pod: self._obstacles.why_not(pod, now_s)
        )
