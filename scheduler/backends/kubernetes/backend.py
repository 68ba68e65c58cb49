"""The backend that runs each workflow on a Dask cluster of its own in Kubernetes."""

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from fitcast.errors import (
    ClusterAccessError,
    ClusterError,
    InvalidInputError,
    OperatorMissingError,
)
from fitcast.scheduler.backends.kubernetes import objects, pod_status
from fitcast.scheduler.backends.kubernetes.api import KubernetesApi, namespace_of_this_pod
from fitcast.scheduler.backends.kubernetes.cluster import WorkflowCluster, median_speed
from fitcast.scheduler.backends.kubernetes.pools import (
    KubernetesPool,
    check_kubernetes_pools,
    pool_of_settings,
    pools_of_nodes,
)
from fitcast.scheduler.backends.protocol import Workers
from fitcast.scheduler.plan.pools import Pool, WorkerSize, planned_workers
from fitcast.settings import KubernetesSettings
from fitcast.trainer.sealing import SealedDataset

log = logging.getLogger(__name__)

START_S = 15.0
"""About how long a first worker takes, while none has been seen to start: scheduler and worker."""

_LATEST_WEIGHT = 0.3  # of the latest start-up in the average


class KubernetesBackend:
    """Fits run in pods, each workflow on a Dask cluster of its own.

    The cluster needs the Dask operator, and this process the rights of the Role in ``deploy/``.

    Parameters
    ----------
    pools : sequence of KubernetesPool, optional
        Kinds of workers; by default one per size of node, each worker as large as a node.
    image : str
        Image of the pods, with fitcast and every library that sweeps use.
    namespace : str, optional
        Where they run; by default the kubeconfig's, or that of this pod.
    kubeconfig : str, optional
        File that says how to reach the cluster; by default ``KUBECONFIG``, ``~/.kube/config``, or
        the service account of this pod.
    context : str, optional
        A context of it.
    forwarded : bool, optional
        Whether schedulers are reached by a forwarded port; by default unless this is a pod.
    dataset_root : str, optional
        A folder that this process and all pods can reach, for example ``s3://bucket/fitcast``:
        sealed datasets lie there. By default they are sent to the workers.
    start_within_s : float
        How long a scheduler may take to start; nodes that are yet to be added count.
    pods : mapping
        More of :class:`~fitcast.scheduler.backends.kubernetes.objects.PodSettings`.
    owner_labels : mapping, optional
        Labels of pods of the same namespace that may reach schedulers beside the workflow's own; by
        default those of this pod, if it is one.

    Raises
    ------
    InvalidPoolError
        The pools can't be used.
    ClusterUnreachableError, ClusterAccessError, OperatorMissingError
        No cluster answers, this user may not use it, or it lacks the Dask operator.
    """

    def __init__(
        self,
        pools: Sequence[KubernetesPool] | None = None,
        *,
        image: str,
        namespace: str | None = None,
        kubeconfig: str | None = None,
        context: str | None = None,
        forwarded: bool | None = None,
        dataset_root: str | None = None,
        start_within_s: float = 300.0,
        pods: Mapping[str, Any] | None = None,
        owner_labels: Mapping[str, str] | None = None,
    ) -> None:
        given = None if pools is None else check_kubernetes_pools(pools)
        self._pod_settings = objects.PodSettings(image=image, **(pods or {}))
        outside = namespace_of_this_pod() is None
        self._forwarded = outside if forwarded is None else forwarded
        self.dataset_root = dataset_root
        self._start_within_s = start_within_s
        self._lock = threading.Lock()
        self._start_up_s = START_S
        self._speeds: list[float] = []
        self._api = KubernetesApi(namespace, kubeconfig=kubeconfig, context=context)
        try:
            self._check_operator()
            self._owner_labels = self._own_labels() if owner_labels is None else owner_labels
            self.kubernetes_pools = given or self._pools_of_nodes()
            self._sweep()
        except BaseException:
            self._api.close()
            raise

    @classmethod
    def from_settings(cls, settings: KubernetesSettings | None = None) -> "KubernetesBackend":
        """Return the backend that ``FITCAST_KUBERNETES_…`` variables describe.

        Raises
        ------
        InvalidInputError
            No image is set, or a variable can't be used.
        """
        known = settings or KubernetesSettings()
        if known.image is None:
            raise InvalidInputError(
                "FITCAST_KUBERNETES_IMAGE isn't set: it names the image of the pods"
            )
        return cls(
            None if known.pools is None else [pool_of_settings(pool) for pool in known.pools],
            image=known.image,
            namespace=known.namespace,
            kubeconfig=known.kubeconfig,
            context=known.context,
            dataset_root=known.dataset_root,
        )

    @property
    def pools(self) -> tuple[Pool, ...]:
        """The kinds of workers, as the plan sees them."""
        return tuple(pool.pool for pool in self.kubernetes_pools)

    @property
    def machine_speed(self) -> float:
        """Speed of its workers' cores, as they measured it; 0 while none has."""
        return median_speed(self._speeds)

    @property
    def start_s(self) -> float:
        """About how long it takes until a workflow's first worker is there, in seconds."""
        with self._lock:
            return self._start_up_s

    def workers(self) -> list[WorkerSize]:
        """Return the workers that a workflow may have, under placeholder names."""
        return planned_workers(self.pools)

    def note_machine_speed(self, speed: float) -> None:
        """Do nothing: its workers measure their own cores."""

    def shared(self) -> None:
        """Return None: no two workflows share workers."""
        return

    def for_workflow(self, sealed: SealedDataset, key: bytes) -> Workers:
        """Return the workers of one workflow."""
        return WorkflowCluster(
            self._api,
            self.kubernetes_pools,
            self._pod_settings,
            sealed,
            key,
            reads_uri=self.dataset_root is not None,
            forwarded=self._forwarded,
            start_within_s=self._start_within_s,
            start_s=lambda: self.start_s,
            started=self._note_start,
            speeds=self._speeds,
            owner_labels=self._owner_labels,
        )

    def close(self) -> None:
        """Close the connection."""
        self._api.close()

    def _note_start(self, took_s: float) -> None:
        with self._lock:
            self._start_up_s += _LATEST_WEIGHT * (min(took_s, 600.0) - self._start_up_s)

    def _own_labels(self) -> dict[str, str]:
        """Return the labels of this pod, for network policies to let it in."""
        namespace = namespace_of_this_pod()
        if self._forwarded or namespace is None:
            return {}
        name = os.environ.get("HOSTNAME", "")
        is_here = name and namespace == self._api.namespace
        pod = self._api.get("pods", name) if is_here else None
        labels = pod_status.lasting_labels(pod) if pod is not None else {}
        if not labels:
            log.warning(
                "a network policy may keep this pod from its schedulers: give it labels, let it "
                "run in namespace %r, or name its labels with owner_labels=",
                self._api.namespace,
            )
        return labels

    def _check_operator(self) -> None:
        for kind in ("daskclusters", "daskworkergroups"):
            if not self._api.has_kind(kind):
                raise OperatorMissingError(
                    "this cluster doesn't know Dask's custom resources: install the Dask operator "
                    "(docs/how-to/kubernetes.md says how)"
                )

    def _pools_of_nodes(self) -> tuple[KubernetesPool, ...]:
        try:
            nodes = self._api.find("nodes")
        except ClusterAccessError as error:
            raise ClusterAccessError(
                f"without pools= the nodes are asked for, but {error}; or give "
                "pools=[KubernetesPool(…)]"
            ) from error
        return pools_of_nodes(nodes)

    def _sweep(self) -> None:
        """Delete clusters whose owners are gone."""
        for cluster in self._api.find("daskclusters", objects.MANAGED_BY):
            name = cluster["metadata"]["name"]
            until_s = objects.alive_until_s(cluster)
            if until_s is None:  # whose it is can't be told
                log.warning(
                    "cluster %s stays, as its annotation %s is no time; if nobody uses it, "
                    "'kubectl delete daskcluster --namespace %s %s'",
                    name,
                    objects.ALIVE_UNTIL,
                    self._api.namespace,
                    name,
                )
            elif until_s < time.time():
                try:
                    self._api.delete("daskclusters", name)
                except ClusterError as error:
                    log.warning("cluster %s, which nobody owns, stays: %s", name, error)
