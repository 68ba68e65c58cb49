"""The pods of a workflow as last observed, and why workers are gone, told by them.

Every list of the pods is asked for here, so that the API server isn't asked more often the more
threads want to know and the more workers are lost at once: one thread asks, the others get its
answer. Not in: what a status means (:mod:`fitcast.scheduler.backends.kubernetes.pod_status`).
"""

import math
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from fitcast.errors import ClusterError
from fitcast.scheduler.backends.kubernetes.api import Object
from fitcast.scheduler.backends.kubernetes.connection import WorkerInfo
from fitcast.scheduler.backends.kubernetes.pod_status import life_of, why_gone
from fitcast.scheduler.backends.protocol import STATUS_WITHIN_S, WorkerLoss

LIST_EVERY_S = 0.2
"""The pods are listed no more often than that, whoever asks."""


class PodObserver:
    """Lists a workflow's pods for all who ask; may be called from any thread.

    Parameters
    ----------
    list_pods : callable
        ``list_pods(within_s)`` returns the pods, or raises a `ClusterError` within that time; None
        stands for as long as is usual.
    ready : callable
        Returns the workers that are ready, by address.
    clock : callable
        Returns the time, in seconds.
    changed : threading.Condition
        Notified of every new list; waits by the same clock.
    """

    def __init__(
        self,
        list_pods: Callable[[float | None], Collection[Object]],
        ready: Callable[[], Mapping[str, WorkerInfo]],
        *,
        clock: Callable[[], float] = time.monotonic,
        changed: threading.Condition | None = None,
    ) -> None:
        self._list_pods, self._ready = list_pods, ready
        self._clock = clock
        self._changed = changed or threading.Condition()
        self._pods: Mapping[str, Object] = {}
        self._listed_s = -math.inf  # when the request for them began
        self._next_s = -math.inf  # when they may be listed next
        self._is_listing = False
        self._is_closed = False
        self._pod_of: dict[str, tuple[str, str]] = {}  # by address: a worker's pod, and its life

    @property
    def pods(self) -> Mapping[str, Object]:
        """The pods by name, as last observed."""
        return self._pods

    def observe(self) -> Mapping[str, Object]:
        """Return the pods by name, from a list no older than this call.

        Raises
        ------
        ClusterError
            They can't be listed.
        """
        began_s = self._clock()
        while self._listed_s < began_s and not self._is_closed:
            self._list_or_wait(math.inf)
        return self._pods

    def why_lost(self, addresses: Collection[str]) -> dict[str, WorkerLoss]:
        """Return why workers are gone, by the status of their pods.

        That changes a moment after a worker's connections end, so it is waited for; not for long,
        as a process that ends inside its container changes no status at all.
        """
        until_s = self._clock() + STATUS_WITHIN_S
        losses = dict.fromkeys(addresses, WorkerLoss())
        unclear = {one: self._pod_of[one] for one in losses if one in self._pod_of}
        while True:
            pods = self._pods
            for address, (name, life) in list(unclear.items()):
                pod = pods.get(name)
                losses[address] = why_gone(pod, life)
                was_restarted = pod is not None and life_of(pod) != life
                if losses[address].reason or was_restarted:
                    del unclear[address]
            if not unclear or self._is_closed or self._clock() >= until_s:
                return losses
            with suppress(ClusterError):
                self._list_or_wait(until_s)

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _list_or_wait(self, until_s: float) -> None:
        """List the pods if that is due, else wait until it is, or until another thread did."""
        with self._changed:
            now_s = self._clock()
            if self._is_closed:
                return
            if self._is_listing or now_s < self._next_s:
                due_s = min(until_s, math.inf if self._is_listing else self._next_s)
                self._changed.wait(None if math.isinf(due_s) else max(0.0, due_s - now_s))
                return
            self._is_listing = True
            self._next_s = now_s + LIST_EVERY_S
        try:
            found = self._list_pods(None if math.isinf(until_s) else max(0.0, until_s - now_s))
            self._note({pod["metadata"]["name"]: pod for pod in found}, now_s)
        finally:
            with self._changed:
                self._is_listing = False
                self._changed.notify_all()

    def _note(self, pods: Mapping[str, Object], listed_s: float) -> None:
        by_ip = {pod.get("status", {}).get("podIP"): name for name, pod in pods.items()}
        for address, worker in self._ready().items():
            host = address.rpartition(":")[0].removeprefix("tls://").strip("[]")
            name = by_ip.get(host)
            if name is not None and name.startswith(worker["name"]):
                self._pod_of.setdefault(address, (name, life_of(pods[name])))
        self._pods, self._listed_s = pods, listed_s
