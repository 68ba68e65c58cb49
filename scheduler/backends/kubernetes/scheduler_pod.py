"""Waits for the pod of a workflow's scheduler, and says what keeps it away."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from fitcast.errors import BackendError, ClusterError, ClusterUnreachableError
from fitcast.scheduler.backends.kubernetes import pods
from fitcast.scheduler.backends.kubernetes.api import KubernetesApi, Object
from fitcast.scheduler.backends.kubernetes.objects import Named
from fitcast.scheduler.backends.kubernetes.start_up import Fault, Waiting, fault_of
from fitcast.scheduler.backends.kubernetes.starting import Starting

COMPONENT: Final = {"dask.org/component": "scheduler"}
"""The operator's label of schedulers."""

_LOOK_EVERY_S = 0.3


class SchedulerPod:
    """The pod of a workflow's scheduler, whichever is that now.

    Parameters
    ----------
    api : KubernetesApi
        Where it is.
    named : Named
        Whose it is.
    within_s : float
        How long it may take to be there.
    stop : threading.Event
        Once set, nobody waits any more.
    say : callable
        Is told what keeps it away, nothing if nothing does.
    """

    def __init__(
        self,
        api: KubernetesApi,
        named: Named,
        *,
        within_s: float,
        stop: threading.Event,
        say: Callable[[list[str]], None],
    ) -> None:
        self._api, self._named = api, named
        self._within_s = within_s
        self._stop = stop
        self._say = say
        self._starting = Starting(api)

    def wait(self) -> Object:
        """Return the pod once it is ready.

        Raises
        ------
        BackendError
            It can't be, or takes too long; with what the cluster says about it.
        """
        waiting = Waiting(self._within_s)
        while not self._stop.wait(_LOOK_EVERY_S):
            warnings: list[str] = []
            try:
                found = self._api.find("pods", self._named.labels | COMPONENT)
                living = [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]
                for pod in living:
                    if pods.is_ready(pod):
                        return pod
                fault = self._fault(living)
            except ClusterUnreachableError as error:
                living, fault = [], Fault("away", str(error))
            self._say([fault.note] if fault.note else [])
            if waiting.is_over(fault, time.monotonic()):
                for pod in living:
                    with suppress(ClusterError):
                        warnings += self._api.warnings_of(pod["metadata"]["name"])[-3:]
                raise BackendError(waiting.message(self._named.scheduler, fault, warnings))
        raise BackendError("the cluster was closed while it was made")

    def _fault(self, living: list[Object]) -> Fault:
        cluster = self._api.get("daskclusters", self._named.cluster) or {}
        deployment = self._api.get("deployments", self._named.scheduler)
        return fault_of(cluster, deployment, living, self._starting.why_not)
