"""The Dask cluster of one workflow on Kubernetes: made, watched, grown, shrunk, ended.

A thread looks at the cluster's pods once a second rather than being told of changes: a look that
fails is made up for by the next, whatever happened to the API server or the operator meanwhile.

What the operator does of itself is waited for with a time limit. It is never asked to shrink a
group: it would choose workers of any group (it has no way to ask the scheduler under TLS). Workers
to go are chosen by the plan, retired, and their Deployments deleted.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from fitcast.errors import BackendError, ClusterError, ClusterUnreachableError
from fitcast.scheduler.backends.dask_config import DASK_CONFIG
from fitcast.scheduler.backends.kubernetes import objects, pods
from fitcast.scheduler.backends.kubernetes.api import KubernetesApi
from fitcast.scheduler.backends.kubernetes.certificates import Identity, identities
from fitcast.scheduler.backends.kubernetes.pools import KubernetesPool
from fitcast.scheduler.backends.kubernetes.start_up import Fault, Waiting, fault_of
from fitcast.scheduler.backends.protocol import Limit, Listener, Loss
from fitcast.scheduler.pools import WorkerSize, planned_workers
from fitcast.trainer.sealing import SealedDataset

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
ALIVE_FOR_S = 900.0
"""A cluster whose owner hasn't renewed its claim for so long is swept away by the next."""

RENEW_EVERY_S = 60.0
PATIENCE_S = 60.0
"""So long an API server that is away is waited for where nothing goes on without it."""

GROUP_LABEL = "dask.org/workergroup-name"
_CALL_S = 20.0


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
        ``started(seconds)`` is told how long one took.
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
        owner_labels: Mapping[str, str],
    ) -> None:
        self.named = objects.Named(workflow_id=sealed.workflow_id)
        self._api = api
        self._pools = {pool.name: pool for pool in kubernetes_pools}
        self._pods_as = pod_settings
        self._sealed, self._key = sealed, key
        self._reads_uri, self._forwarded = reads_uri, forwarded
        self._start_within_s = start_within_s
        self._start_s, self._started = start_s, started
        self._owner_labels = owner_labels
        self._pod_identity, self._client_identity = identities(sealed.workflow_id, "pods", "client")
        self._listener: Listener | None = None
        self._dask: Any = None
        self._forward: int | None = None
        self._scheduler_life = ""
        self._cluster: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._wanted: dict[str, int] = {}
        self._asked_s: dict[str, float] = {}  # by pool, when it was last let grow
        self._retiring: list[str] = []
        self._ready: dict[str, dict[str, Any]] = {}  # by address: what workers told
        self._seen: dict[str, dict[str, Any]] = {}  # pods by name, at the last look
        self._pod_of: dict[str, str] = {}  # by address: the pod of a worker
        self._limits: dict[str, Limit] = {}
        self._notes: tuple[str, ...] = ()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    # -- what a dispatcher asks ------------------------------------------------------------------

    @property
    def start_s(self) -> float:
        """About how long it takes until a worker is there."""
        return self._start_s()

    def workers(self) -> list[WorkerSize]:
        """Return the workers that there may be, under made-up names."""
        return planned_workers([pool.pool for pool in self._pools.values()])

    def start(self, key_dir: Path, listener: Listener) -> Any:
        """Make the cluster and return a connected ``distributed.Client``."""
        self._listener = listener
        try:
            self._create()
            self._connect(self._scheduler())
        except BaseException:
            self.close()
            raise
        self._thread = threading.Thread(target=self._keep_looking, name="fitcast-pods", daemon=True)
        self._thread.start()
        return self._dask

    def present(self, dask: Any) -> list[WorkerSize]:
        """Return the workers that are ready for fits."""
        sizes = {size.pool: size for size in self.workers()}
        with self._lock:
            ready = dict(self._ready)
        return [replace(sizes[told["pool"]], address=address) for address, told in ready.items()]

    def limits(self) -> Mapping[str, Limit]:
        """Return what each pool may have now."""
        with self._lock:
            held = dict(self._limits)
        return {
            name: held.get(name, Limit(pool.max_workers, pool.min_workers))
            for name, pool in self._pools.items()
        }

    def resize(self, wanted: Mapping[str, int]) -> None:
        """Let pools grow to so many workers, at the next look."""
        with self._lock:
            self._wanted = dict(wanted)

    def retire(self, addresses: Collection[str]) -> None:
        """End these workers, at the next look."""
        with self._lock:
            self._retiring += addresses

    def why_lost(self, address: str) -> Loss:
        """Tell why a worker is gone, by the status of its pod."""
        name = self._pod_of.get(address)
        if name is None:
            return Loss()
        with suppress(ClusterError):
            self._see()
        with self._lock:
            return pods.why_gone(self._seen.get(name))

    def close(self) -> None:
        """Delete everything that belongs to the workflow."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(30)
        self._disconnect()
        try:  # all else belongs to it
            self._api.delete("daskclusters", self.named.cluster, patience_s=PATIENCE_S)
        except ClusterError as error:  # the next owner to start sweeps it away
            log.warning("%s could not be deleted: %s", self.named.cluster, error)

    # -- making it -------------------------------------------------------------------------------

    def _create(self) -> None:
        """Create the cluster's own objects; those that are there stay."""
        alive_until_s = time.time() + ALIVE_FOR_S
        wanted = objects.cluster(
            self.named, self._pods_as, alive_until_s, self._sealed.sealed_bytes
        )
        self._cluster = self._api.create("daskclusters", wanted, patience_s=PATIENCE_S)
        owner = [objects.owned_by(self._cluster)]
        for kind, body in (
            ("networkpolicies", objects.network_policy(self.named, self._owner_labels)),
            ("secrets", objects.secret(self.named, self.named.tls, self._pod_identity.files())),
            ("secrets", objects.secret(self.named, self.named.key, {"dataset.key": self._key})),
        ):
            body["metadata"]["ownerReferences"] = owner
            self._api.create(kind, body, patience_s=PATIENCE_S)

    def _scheduler(self) -> dict[str, Any]:
        """Return the scheduler's pod once it is ready.

        Raises
        ------
        BackendError
            It can't be, or takes too long; with what the cluster says about it.
        """
        waiting = Waiting(self._start_within_s)
        events: list[str] = []
        labels = self.named.labels | {"dask.org/component": "scheduler"}
        while not self._stop.wait(0.3):
            try:
                fault = self._scheduler_fault(labels)
            except ClusterUnreachableError as error:
                fault = Fault("away", str(error))
            if isinstance(fault, dict):
                return fault
            self._say([fault.note] if fault.note else [])
            if waiting.is_over(fault, time.monotonic()):
                with suppress(ClusterError):
                    events = self._api.events_of("pods", self.named.scheduler)
                raise BackendError(waiting.message(self.named.scheduler, fault, events))
        raise BackendError("the cluster was closed while it was made")

    def _scheduler_fault(self, labels: Mapping[str, str]) -> dict[str, Any] | Fault:
        """Return the scheduler's pod if it is ready, else what is wrong."""
        found = self._api.find("pods", labels)
        living = [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]
        for pod in living:
            if pods.is_ready(pod):
                return pod
        cluster = self._api.get("daskclusters", self.named.cluster) or {}
        deployment = self._api.get("deployments", self.named.scheduler)
        return fault_of(cluster, deployment, living)

    def _connect(self, scheduler: dict[str, Any]) -> None:
        """Connect to a scheduler, give it the dataset, and be told of its workers."""
        import dask
        from distributed import Client

        from fitcast.scheduler.sealed_transfer import TOPIC, send

        port = objects.SCHEDULER_PORT
        if self._forwarded:
            self._forward = self._api.forward(scheduler["metadata"]["name"], port)
            address = f"tls://127.0.0.1:{self._forward}"
        else:
            address = self._service_address()
        # It tells at length of schedulers that are gone, which is ours to deal with.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        try:
            with dask.config.set(DASK_CONFIG):
                client = Client(
                    address,
                    security=_security(self._client_identity),
                    set_as_default=False,
                    timeout=30,
                )
        except (OSError, TimeoutError) as error:
            raise BackendError(
                f"the workflow's scheduler can't be reached at {address}: {error}"
            ) from error
        self._dask = client
        self._scheduler_life = pods.life_of(scheduler)
        client.subscribe_topic(TOPIC, lambda event: self._note_ready(client, event[1]))
        if not self._reads_uri:
            path = Path(self._sealed.uri)
            client.sync(send, client.scheduler, self._sealed.dataset_id, path)
        known = client.sync(client.scheduler.fitcast_workers, callback_timeout=_CALL_S)
        self._note_ready(client, known)

    def _service_address(self) -> str:
        service = self._api.get("services", self.named.scheduler)
        if service is None:
            raise BackendError(
                f"the Dask operator made no Service {self.named.scheduler!r}: is it running?"
            )
        ip = service["spec"]["clusterIP"]
        return (
            f"tls://[{ip}]:{objects.SCHEDULER_PORT}"
            if ":" in ip
            else (f"tls://{ip}:{objects.SCHEDULER_PORT}")
        )

    def _disconnect(self) -> None:
        client, self._dask = self._dask, None
        if client is not None:
            with suppress(Exception):
                client.close(timeout=5)
        if self._forward is not None:
            self._api.end_forward(self._forward)
            self._forward = None

    def _note_ready(self, client: Any, ready: dict[str, dict[str, Any]]) -> None:
        if client is not self._dask:
            return
        with self._lock:
            came = set(ready) - set(self._ready)
            self._ready = {a: told for a, told in ready.items() if told["pool"] in self._pools}
        for address in came:
            asked_s = self._asked_s.get(ready[address]["pool"])
            if asked_s is not None:
                self._started(time.monotonic() - asked_s)
        if self._listener is not None:
            self._listener.workers_changed()

    # -- looking after it ------------------------------------------------------------------------

    def _keep_looking(self) -> None:
        renew_s = time.monotonic() + RENEW_EVERY_S
        while not self._stop.wait(LOOK_EVERY_S):
            try:
                self._see()
                self._reconnect_if_needed()
                self._retire()
                self._grow()
                if time.monotonic() >= renew_s:
                    renew_s = time.monotonic() + RENEW_EVERY_S
                    self._renew()
            except ClusterUnreachableError as error:
                self._say([f"{error}; workers that are there go on"])
            except ClusterError as error:
                self._say([str(error)])
            except Exception:  # it must not be the last look
                log.exception("the pods of a workflow could not be looked after")

    def _see(self) -> None:
        """Take in the status of all pods, and what keeps pools from growing."""
        seen = {pod["metadata"]["name"]: pod for pod in self._api.find("pods", self.named.labels)}
        by_ip = {pod.get("status", {}).get("podIP"): name for name, pod in seen.items()}
        with self._lock:
            self._seen = seen
            for address, told in self._ready.items():
                name = by_ip.get(address.rpartition(":")[0].removeprefix("tls://"))
                if name is not None and name.startswith(told["name"]):
                    self._pod_of[address] = name
        notes = []
        limits = {}
        for name, pool in self._pools.items():
            group = self.named.group(name)
            stuck = {
                pod["metadata"]["name"]: why
                for pod in seen.values()
                if pod["metadata"].get("labels", {}).get(GROUP_LABEL) == group
                and (why := pods.why_pending(pod))
            }
            if stuck:
                why = next(iter(stuck.values()))
                notes.append(f"pool {name!r}: {len(stuck)} of its workers can't start: {why}")
                deployments = len(self._deployments(name))
                most = max(0, min(pool.max_workers, deployments - len(stuck)))
                limits[name] = Limit(most, min(pool.min_workers, most))
            elif self._wanted.get(name, 0) > 0:
                refused = filter(None, map(pods.why_no_pod, self._deployments(name)))
                reasons = list(refused)
                if reasons:
                    notes.append(f"pool {name!r}: no pod could be made: {reasons[0]}")
                    most = max(0, len(self._deployments(name)) - len(reasons))
                    limits[name] = Limit(most, min(pool.min_workers, most))
        with self._lock:
            changed = limits != self._limits
            self._limits = limits
        self._say(notes)
        if changed and self._listener is not None:
            self._listener.workers_changed()

    def _deployments(self, pool: str) -> list[dict[str, Any]]:
        labels = self.named.labels | {GROUP_LABEL: self.named.group(pool)}
        return self._api.find("deployments", labels)

    def _reconnect_if_needed(self) -> None:
        """Go on with a new scheduler if the last one is gone."""
        labels = {"dask.org/component": "scheduler"}
        schedulers = [
            pod
            for pod in self._seen.values()
            if labels.items() <= pod["metadata"].get("labels", {}).items()
        ]
        same = any(pods.life_of(pod) == self._scheduler_life for pod in schedulers)
        if same and self._dask is not None and self._dask.status == "running":
            return
        with self._lock:
            self._ready = {}
        self._disconnect()
        if self._api.get("daskclusters", self.named.cluster) is None:
            self._create()
        self._connect(self._scheduler())
        if self._listener is not None:
            self._listener.cluster_replaced(self._dask)

    def _grow(self) -> None:
        with self._lock:
            wanted = dict(self._wanted)
        for name, pool in self._pools.items():
            count = max(wanted.get(name, 0), pool.min_workers)
            group = self._api.get("daskworkergroups", self.named.group(name))
            if group is None:
                if count:
                    self._asked_s[name] = time.monotonic()
                    self._api.create("daskworkergroups", self._group(pool, count))
                continue
            there = self._deployments(name)
            if count < len(there):
                there = self._drop_stuck(name, there, len(there) - count)
            asked = group["spec"]["worker"]["replicas"]
            target = max(count, len(there))
            if target > asked or (target == len(there) and target != asked and count <= asked):
                if target > asked:
                    self._asked_s[name] = time.monotonic()
                self._scale(name, target)

    def _drop_stuck(
        self, pool: str, there: list[dict[str, Any]], most: int
    ) -> list[dict[str, Any]]:
        """Delete workers that never started and are no longer wanted; return what is left."""
        joined = {told["name"] for told in self._ready.values()}
        dropped: list[str] = []
        for deployment in there:
            name = deployment["metadata"]["name"]
            mine = [pod for pod_name, pod in self._seen.items() if pod_name.startswith(name)]
            if name not in joined and len(dropped) < most and any(map(pods.why_pending, mine)):
                self._api.delete("deployments", name)
                dropped.append(name)
        return [one for one in there if one["metadata"]["name"] not in dropped]

    def _retire(self) -> None:
        with self._lock:
            going, self._retiring = self._retiring, []
            names = {a: self._ready[a] for a in going if a in self._ready}
        if not names:
            return
        with suppress(Exception):  # what is left of it is deleted all the same
            self._dask.sync(
                self._dask.scheduler.retire_workers,
                workers=list(names),
                close_workers=True,
                remove=True,
                callback_timeout=_CALL_S,
            )
        for told in names.values():
            self._api.delete("deployments", told["name"])
        for pool in {told["pool"] for told in names.values()}:
            # The operator counts Deployments, and finds nothing to do.
            self._scale(pool, len(self._deployments(pool)))

    def _scale(self, pool: str, replicas: int) -> None:
        self._api.patch(
            "daskworkergroups",
            self.named.group(pool),
            {"spec": {"worker": {"replicas": replicas}}},
        )

    def _group(self, pool: KubernetesPool, replicas: int) -> dict[str, Any]:
        return objects.worker_group(
            self.named,
            self._pods_as,
            pool,
            scheduler_address=self._service_address(),
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
            self.named.cluster,
            {"metadata": {"annotations": {objects.ALIVE_UNTIL: until}}},
        )

    def _say(self, notes: list[str]) -> None:
        now = tuple(notes)
        if now != self._notes:
            self._notes = now
            if self._listener is not None:
                self._listener.trouble(now)


def _security(identity: Identity) -> Any:
    from distributed import Security

    return Security(
        require_encryption=True,
        tls_ca_file=identity.authority,
        tls_client_cert=identity.certificate,
        tls_client_key=identity.key,
    )
