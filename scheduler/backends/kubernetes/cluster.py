"""The Dask cluster of one workflow on Kubernetes: made, watched, grown, shrunk, ended.

A thread observes the cluster's pods once a second rather than watching for changes: what one
observation misses the next makes up for, whatever happened to the API server or the operator
meanwhile.

What the operator does of itself is waited for with a time limit.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from fitcast.errors import (
    BackendError,
    ClusterAccessError,
    ClusterError,
    ClusterRejectedError,
    ClusterUnreachableError,
)
from fitcast.scheduler.backends.interruptible import InterruptibleStart
from fitcast.scheduler.backends.kubernetes import objects
from fitcast.scheduler.backends.kubernetes.api import KubernetesApi, Object
from fitcast.scheduler.backends.kubernetes.certificates import identities
from fitcast.scheduler.backends.kubernetes.connection import SchedulerLink, WorkerInfo
from fitcast.scheduler.backends.kubernetes.groups import WorkerGroups
from fitcast.scheduler.backends.kubernetes.pod_observer import PodObserver
from fitcast.scheduler.backends.kubernetes.pod_status import HOPELESS_AFTER_S
from fitcast.scheduler.backends.kubernetes.pools import KubernetesPool
from fitcast.scheduler.backends.kubernetes.scheduler_pod import SchedulerPod, schedulers
from fitcast.scheduler.backends.protocol import Limit, Listener, WorkerLoss
from fitcast.scheduler.plan.pools import WorkerSize, planned_workers
from fitcast.trainer.sealing import SealedDataset

log = logging.getLogger(__name__)

OBSERVE_EVERY_S = 1.0
ALIVE_FOR_S = 900.0
"""A cluster whose owner hasn't renewed its claim for so long is swept away by the next."""

API_WITHIN_S = 10.0
RENEW_EVERY_S = 60.0
PATIENCE_S = 60.0
"""How long an API server that is away is waited for where nothing goes on without it."""

JOIN_S = 30.0
"""How long a thread that was told to stop is waited for."""

_CONNECTS = 3
_SPEEDS = 100  # only the latest count


class WorkflowCluster:
    """The workers of one workflow; see :class:`fitcast.scheduler.backends.protocol.Workers`.

    Parameters
    ----------
    api : KubernetesApi
        Where the cluster is to be.
    kubernetes_pools : sequence of KubernetesPool
        The kinds of workers that it may have.
    pod_settings : PodSettings
        What all pods have in common.
    sealed : SealedDataset
        The workflow's dataset, as a file here, or where workers can read it too.
    key : bytes
        Its key.
    reads_uri : bool
        Whether workers read the dataset from its URI; else it is sent to them.
    forwarded : bool
        Whether the scheduler is reached by a forwarded port, as from outside the cluster.
    start_within_s : float
        How long the scheduler may take to be there.
    start_s : callable
        Returns about how long workers take to start.
    started : callable
        ``started(seconds)`` is called with how long one took.
    speeds : list of float
        The speeds that workers measured of their cores, of all workflows; added to.
    owner_labels : mapping
        Labels of pods that may reach the workflow's beside its own.
    """

    is_elastic = True

    def __init__(
        self,
        api: KubernetesApi,
        kubernetes_pools: tuple[KubernetesPool, ...],
        pod_settings: objects.PodSettings,
        sealed: SealedDataset,
        key: bytes,
        *,
        reads_uri: bool,
        forwarded: bool,
        start_within_s: float,
        start_s: Callable[[], float],
        started: Callable[[float], None],
        speeds: list[float],
        owner_labels: Mapping[str, str],
    ) -> None:
        self.names = objects.ResourceNames.new(sealed.workflow_id)
        self._api = api
        self._pools = {pool.name: pool for pool in kubernetes_pools}
        self._pods_as = pod_settings
        self._sealed, self._key = sealed, key
        self._reads_uri = reads_uri
        self._start_s, self._started = start_s, started
        self._owner_labels = owner_labels
        self._identity, for_client = identities(sealed.workflow_id, "pods", "client")
        self._link = SchedulerLink(
            api,
            self.names,
            for_client,
            sealed,
            sends=not reads_uri,
            forwarded=forwarded,
            on_ready=self._note_ready,
        )
        self._groups = WorkerGroups(api, self.names, kubernetes_pools, self._group)
        self._listener: Listener | None = None
        self._cluster: Object = {}
        self._lock = threading.Lock()
        self._wanted: dict[str, int] = {}
        self._retiring: list[str] = []
        self._limits: dict[str, Limit] = {}
        self._notes: tuple[str, ...] = ()
        self._speeds = speeds
        self._stop = threading.Event()
        self._observer = PodObserver(
            lambda within_s: api.find("pods", self.names.labels, within_s=within_s),
            self._link.ready,
        )
        self._scheduler = SchedulerPod(
            api,
            self._observer.observe,
            self.names,
            within_s=start_within_s,
            stop=self._stop,
            report=self._report,
        )
        self._refused_since_s: float | None = None
        self._is_alone = False  # no earlier cluster of the workflow is left
        self._starting = InterruptibleStart("fitcast-cluster")
        self._creating = threading.Lock()  # held while objects of the cluster are made
        self._thread: threading.Thread | None = None

    # -- what a dispatcher asks ------------------------------------------------------------------

    @property
    def machine_speed(self) -> float:
        """Speed of the workers' cores; 0 while unknown."""
        return median_speed(self._speeds)

    @property
    def start_s(self) -> float:
        """About how long it takes until a worker is there."""
        return self._start_s()

    def workers(self) -> list[WorkerSize]:
        """Return the workers that there may be, under placeholder names."""
        return planned_workers([pool.pool for pool in self._pools.values()])

    def start(self, key_dir: Path, listener: Listener) -> Any:
        """Make the cluster and return a connected ``distributed.Client``."""
        self._listener = listener
        try:
            return self._starting.run(self._make)
        except BaseException:
            if not self._starting.is_interrupted:  # else nothing is waited for: `close` will
                self.close()
            raise

    def present(self, dask: Any) -> list[WorkerSize]:
        """Return the workers that are ready for fits."""
        sizes = {size.pool: size for size in self.workers()}
        ready = self._link.ready(dask)
        return [replace(sizes[one["pool"]], address=address) for address, one in ready.items()]

    def limits(self) -> Mapping[str, Limit]:
        """Return what each pool may have now."""
        with self._lock:
            held = dict(self._limits)
        return {
            name: held.get(name, Limit(pool.max_workers, pool.min_workers))
            for name, pool in self._pools.items()
        }

    def resize(self, wanted: Mapping[str, int]) -> None:
        """Let pools grow to so many workers, at the next observation."""
        with self._lock:
            self._wanted = dict(wanted)

    def retire(self, addresses: Collection[str]) -> None:
        """End these workers, at the next observation."""
        with self._lock:
            self._retiring += addresses

    def why_lost(self, addresses: Collection[str]) -> dict[str, WorkerLoss]:
        """Return why workers are gone, by the status of their pods."""
        return self._observer.why_lost(addresses)

    def interrupt(self) -> None:
        """Give up starting, and keeping what was started."""
        self._stop.set()
        self._starting.interrupt()
        self._observer.close()
        self._link.interrupt()

    def close(self) -> None:
        """Delete everything that belongs to the workflow."""
        self.interrupt()
        self._starting.join(JOIN_S)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(JOIN_S)
        self._link.disconnect()
        with self._creating:  # what is on its way to the server goes too
            pass
        try:  # all else belongs to it
            self._own_default_group()
            self._api.delete("daskclusters", self.names.cluster, patience_s=PATIENCE_S)
        except ClusterError as error:  # the next owner to start sweeps it away
            log.warning("%s could not be deleted: %s", self.names.cluster, error)

    def _own_default_group(self) -> None:
        """See to it that the cluster's own group goes with it, however far the operator is."""
        if not self._cluster:
            return
        kind, name = "daskworkergroups", self.names.default_group
        group = self._api.get(kind, name)
        if group is None:  # the operator leaves alone what is there
            wanted = objects.default_group(self.names, self._pods_as, self._cluster)
            group = self._api.create(kind, wanted)
        if not group["metadata"].get("ownerReferences"):
            owner = [objects.owned_by(self._cluster)]
            self._api.patch(kind, name, {"metadata": {"ownerReferences": owner}})

    # -- making it -------------------------------------------------------------------------------

    def _make(self) -> Any:
        self._create()
        self._connect_first()
        self._starting.check()
        self._thread = threading.Thread(
            target=self._keep_observing, name="fitcast-pods", daemon=True
        )
        self._thread.start()
        return self._link.dask

    def _create(self) -> None:
        """Create the cluster's own objects, all of which belong to it."""
        with self._creating:
            alive_until_s = time.time() + ALIVE_FOR_S
            wanted = objects.cluster(
                self.names, self._pods_as, alive_until_s, self._sealed.sealed_bytes
            )
            self._check_open()
            self._cluster = self._api.create(
                "daskclusters", wanted, patience_s=PATIENCE_S, stop=self._stop
            )
            owner = [objects.owned_by(self._cluster)]
            for kind, body in (
                ("networkpolicies", objects.network_policy(self.names, self._owner_labels)),
                *(
                    ("networkpolicies", objects.pool_network_policy(self.names, pool))
                    for pool in self._pools.values()
                    if pool.egress
                ),
                ("secrets", objects.secret(self.names, self.names.tls, self._identity.files())),
                ("secrets", objects.secret(self.names, self.names.key, {"dataset.key": self._key})),
            ):
                body["metadata"]["ownerReferences"] = owner
                self._check_open()
                self._api.replace(kind, body, patience_s=PATIENCE_S, stop=self._stop)
        self._check_open()
        with suppress(ClusterError):  # else it is tried again with every observation
            self._delete_earlier()

    def _delete_earlier(self) -> None:
        """Delete clusters that the workflow had before: whoever ran it there is gone, or cut off.

        What still runs there ends: nothing is run twice.
        """
        labels = self.names.labels_of_workflow
        for one in self._api.find("daskclusters", labels, within_s=API_WITHIN_S):
            name = one["metadata"]["name"]
            if name != self.names.cluster:
                log.info("cluster %s of an earlier process is deleted", name)
                self._api.delete("daskclusters", name)
        self._is_alone = True

    def _check_open(self) -> None:
        if self._stop.is_set():
            raise BackendError("the cluster was closed while it was made")

    def _connect_first(self) -> None:
        """Connect to the scheduler; one that goes just then is replaced by the cluster."""
        for left in reversed(range(_CONNECTS)):
            scheduler = self._scheduler.wait()
            try:
                self._link.connect(scheduler)
                return
            except ClusterAccessError:
                raise
            except BackendError:
                if not left:
                    raise
                self._stop.wait(OBSERVE_EVERY_S)

    def _note_ready(self, came: list[WorkerInfo]) -> None:
        for worker in came:
            self._speeds.append(worker["machine_speed"])
            took_s = self._groups.start_of(worker["name"], worker["pool"])
            if took_s is not None:
                self._started(took_s)
        if self._listener is not None:
            self._listener.workers_changed()

    # -- keeping it -----------------------------------------------------------------------------

    def _keep_observing(self) -> None:
        renew_s = time.monotonic() + RENEW_EVERY_S
        while not self._stop.wait(OBSERVE_EVERY_S):
            try:
                self._observer.observe()
                if not self._is_alone:
                    self._delete_earlier()
                self._note_limits()
                self._reconnect_if_needed()
                self._follow()
                if time.monotonic() >= renew_s:
                    renew_s = time.monotonic() + RENEW_EVERY_S
                    self._renew()
                self._refused_since_s = None
            except ClusterUnreachableError as error:
                self._report([f"{error}; workers that are there go on"])
            except (ClusterAccessError, ClusterRejectedError) as error:
                self._note_refusal(error)
            except BackendError as error:
                self._report([str(error)])
            except Exception:  # the next time may do better
                log.exception("the pods of a workflow could not be observed")

    def _note_refusal(self, error: ClusterError) -> None:
        """Give up if the cluster goes on refusing what no worker comes without."""
        self._report([str(error)])
        now_s = time.monotonic()
        if self._refused_since_s is None:
            self._refused_since_s = now_s
        if now_s - self._refused_since_s >= HOPELESS_AFTER_S and not self._link.ready():
            self._give_up(error)

    def _give_up(self, error: BackendError) -> None:
        self.interrupt()
        if self._listener is not None:
            self._listener.workers_lost(error)

    def _note_limits(self) -> None:
        """Note what keeps pools from growing."""
        limits, notes = self._groups.hindered(self._observer.pods.values())
        with self._lock:
            changed = limits != self._limits
            self._limits = limits
        self._report(notes)
        if changed and self._listener is not None:
            self._listener.workers_changed()

    def _reconnect_if_needed(self) -> None:
        """Go on with a new scheduler if the last one is gone."""
        if self._link.is_well(schedulers(self._observer.pods.values())):
            return
        self._link.disconnect()
        try:
            if self._api.get("daskclusters", self.names.cluster) is None:
                self._create()
            scheduler = self._scheduler.wait()
        except ClusterError:
            raise
        except BackendError as error:  # there will be none
            self._give_up(error)
            return
        self._link.connect(scheduler)
        if self._listener is not None:
            self._listener.cluster_replaced(self._link.dask)

    def _follow(self) -> None:
        """Let the number of workers follow what the dispatcher asked for."""
        with self._lock:
            wanted = dict(self._wanted)
            going, self._retiring = self._retiring, []
        ready = self._link.ready()
        if leaving := {address: ready[address] for address in going if address in ready}:
            self._link.retire(list(leaving))
            try:
                self._groups.remove({one["name"]: one["pool"] for one in leaving.values()})
            except ClusterError:  # at the next observation, then
                with self._lock:
                    self._retiring += going
                raise
        joined = [one["name"] for one in ready.values()]
        self._groups.follow(wanted, self._observer.pods.values(), joined)

    def _group(self, pool: KubernetesPool, replicas: int) -> Object:
        return objects.worker_group(
            self.names,
            self._pods_as,
            pool,
            scheduler_address=self._link.service_address(),
            dataset_id=self._sealed.dataset_id,
            dataset_uri=self._sealed.uri if self._reads_uri else "",
            dataset_bytes=self._sealed.sealed_bytes,
            replicas=replicas,
            owner=self._cluster,
        )

    def _renew(self) -> None:
        until = f"{time.time() + ALIVE_FOR_S:.0f}"
        self._api.patch(
            "daskclusters",
            self.names.cluster,
            {"metadata": {"annotations": {objects.ALIVE_UNTIL: until}}},
        )

    def _report(self, notes: list[str]) -> None:
        now = tuple(notes)
        if now != self._notes:
            self._notes = now
            if self._listener is not None:
                self._listener.trouble(now)


def median_speed(speeds: list[float]) -> float:
    """Return the median of what workers measured; 0 if none did."""
    known = [speed for speed in speeds[-_SPEEDS:] if speed > 0.0]
    return median(known) if known else 0.0
