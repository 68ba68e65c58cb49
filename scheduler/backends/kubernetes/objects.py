"""How a workflow looks on Kubernetes: the objects that make its Dask cluster, as plain dicts.

Pure. Everything of a workflow carries its labels and belongs to its DaskCluster, so that deleting
that deletes all. What the Dask operator makes of the cluster (a scheduler's Deployment and Service,
a Deployment per worker) inherits labels and owner.

Pods run as nobody in particular: not root, without a token for the API, without capabilities, on a
read-only root filesystem; what they write lies in volumes of their own. The memory that a pod may
use is what it asks for, so that no neighbour on its node can take it away. They reach their own
workflow's pods, DNS, and what their pool lists.
"""

import math
from base64 import b64encode
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, Final

from fitcast.scheduler.backends.kubernetes.pools import KubernetesPool

Object = dict[str, Any]

MANAGED_BY = {"app.kubernetes.io/managed-by": "fitcast"}
WORKFLOW_LABEL = "fitcast.dev/workflow"
CLUSTER_LABEL = "fitcast.dev/cluster"
POOL_LABEL = "fitcast.dev/pool"
ALIVE_UNTIL = "fitcast.dev/alive-until"
"""Annotation of a cluster: seconds since the epoch after which nobody cares for it any more."""

_DNS: Final = {
    "to": [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }
    ],
    "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
}

SCHEDULER_PORT = 8786
TLS_DIR, KEY_DIR, DATA_DIR, TEMP_DIR = "/fitcast/tls", "/fitcast/keys", "/fitcast/data", "/tmp"  # noqa: S108
USER_ID = 10_001
"""The user that the image's processes run as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSettings:
    """What all pods of a backend have in common.

    Parameters
    ----------
    image : str
        With fitcast and every library that the sweeps need.
    pull_policy : str
        When the image is pulled.
    pull_secrets : tuple of str
        Names of Secrets with the registry's credentials.
    scheduler_cpus : float
        What the scheduler's pod asks for.
    scheduler_memory_bytes : int
        The same of memory; its limit too.
    env : mapping
        Environment variables of every pod.
    volumes : mapping
        Volumes of workers' pods, as Kubernetes writes them, by the path where they are mounted:
        for datasets under a `dataset_root` that is such a path.
    service_account : str, optional
        Whose name the pods run under; they get no token of it.
    """

    image: str
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    scheduler_cpus: float = 0.2
    scheduler_memory_bytes: int = 512 * 2**20
    env: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, Object] = field(default_factory=dict)
    service_account: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceNames:
    """A workflow's cluster by name.

    Parameters
    ----------
    workflow_id : str
        Whose it is.
    cluster_id : str
        Which of its clusters; by default it has but one. Whoever goes on with a workflow makes a
        cluster anew: by a name of its own it meets nothing of the last one's, which may still be
        going, with its pods and their certificates. It is short, whatever the workflow's id is:
        names of Services have 63 characters at most, and the operator appends to them.
    """

    workflow_id: str
    cluster_id: str = ""

    @classmethod
    def new(cls, workflow_id: str) -> "ResourceNames":
        """Return the names of a new cluster of a workflow."""
        return cls(workflow_id=workflow_id, cluster_id=f"{workflow_id[:15]}-{token_hex(4)}")

    @property
    def cluster(self) -> str:
        """Name of the DaskCluster."""
        return f"fitcast-{self.cluster_id or self.workflow_id}"

    @property
    def scheduler(self) -> str:
        """Name of the scheduler's Deployment and Service, as the operator calls them."""
        return f"{self.cluster}-scheduler"

    @property
    def tls(self) -> str:
        """Name of the Secret with the certificate of the pods."""
        return f"{self.cluster}-tls"

    @property
    def key(self) -> str:
        """Name of the Secret with the dataset's key."""
        return f"{self.cluster}-key"

    @property
    def default_group(self) -> str:
        """Name of the DaskWorkerGroup that the operator makes for every cluster."""
        return f"{self.cluster}-default"

    def group(self, pool: str) -> str:
        """Return the name of a pool's DaskWorkerGroup."""
        return f"{self.cluster}-{pool}-pool"  # not the operator's own, if it is called "default"

    @property
    def labels(self) -> dict[str, str]:
        """Labels of everything that belongs to it."""
        return {**self.labels_of_workflow, CLUSTER_LABEL: self.cluster}

    @property
    def labels_of_workflow(self) -> dict[str, str]:
        """Labels of every cluster of the workflow."""
        return {**MANAGED_BY, WORKFLOW_LABEL: self.workflow_id}

    @property
    def selector(self) -> dict[str, str]:
        """The label by which its pods are told from all others."""
        return {CLUSTER_LABEL: self.cluster}


def _no_workers(pods: PodSettings) -> Object:
    return {"replicas": 0, "spec": {"containers": [_nothing(pods)]}}


def secret(names: ResourceNames, name: str, contents: Mapping[str, bytes]) -> Object:
    """Return a Secret that pods mount as files."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": names.labels},
        "type": "Opaque",
        "immutable": True,
        "data": {file: b64encode(content).decode() for file, content in contents.items()},
    }


def cluster(
    names: ResourceNames, pods: PodSettings, alive_until_s: float, dataset_bytes: int
) -> Object:
    """Return the DaskCluster: a scheduler, and a default group of workers that stays empty."""
    scheduler = _pod(
        pods,
        {"FITCAST_ROLE": "scheduler"},
        cpus=pods.scheduler_cpus,
        memory_bytes=pods.scheduler_memory_bytes,
        volumes={
            TLS_DIR: _of_secret(names.tls),
            DATA_DIR: {"emptyDir": {"sizeLimit": str(dataset_bytes + 2**26)}},
            TEMP_DIR: {"emptyDir": {}},
        },
        ports={"tcp-comm": SCHEDULER_PORT},
    )
    container = scheduler["containers"][0]
    container["readinessProbe"] = {
        "tcpSocket": {"port": "tcp-comm"},
        "periodSeconds": 1,
        "timeoutSeconds": 2,
    }
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {
            "name": names.cluster,
            "labels": names.labels,
            "annotations": {ALIVE_UNTIL: f"{alive_until_s:.0f}"},
        },
        "spec": {
            "worker": _no_workers(pods),
            "scheduler": {
                "spec": scheduler,
                "service": {
                    "type": "ClusterIP",
                    "selector": {
                        "dask.org/cluster-name": names.cluster,
                        "dask.org/component": "scheduler",
                    },
                    "ports": [
                        {
                            "name": "tcp-comm",
                            "protocol": "TCP",
                            "port": SCHEDULER_PORT,
                            "targetPort": "tcp-comm",  # the operator's schema takes no number here
                        }
                    ],
                },
            },
        },
    }


def default_group(names: ResourceNames, pods: PodSettings, owner: Object) -> Object:
    """Return a cluster's own DaskWorkerGroup, as the operator makes it, but with its owner named.

    The operator names it later, so that of a cluster deleted in between it would stay for good.
    """
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskWorkerGroup",
        "metadata": {
            "name": names.default_group,
            "labels": {
                **names.labels,
                "dask.org/cluster-name": names.cluster,
                "dask.org/component": "workergroup",
            },
            "ownerReferences": [owned_by(owner)],
        },
        "spec": {"cluster": names.cluster, "worker": _no_workers(pods)},
    }


def worker_group(
    names: ResourceNames,
    pods: PodSettings,
    pool: KubernetesPool,
    *,
    scheduler_address: str,
    dataset_id: str,
    dataset_uri: str,
    dataset_bytes: int,
    replicas: int,
    owner: Object,
) -> Object:
    """Return a pool's DaskWorkerGroup.

    `dataset_uri` is where workers read the sealed dataset; empty if they get it from each other.
    """
    env = {
        "FITCAST_ROLE": "worker",
        "FITCAST_SCHEDULER": scheduler_address,
        "FITCAST_WORKER_POOL": pool.name,
        "FITCAST_WORKER_CPUS": str(pool.cpus),
        "FITCAST_WORKER_MEMORY_BYTES": str(pool.memory_bytes),
        "FITCAST_DATASET_ID": dataset_id,
        "FITCAST_DATASET_URI": dataset_uri,
        "FITCAST_DATASET_BYTES": str(dataset_bytes),
    }
    spec = _pod(
        pods,
        env,
        cpus=pool.cpus,
        memory_bytes=pool.pod_memory_bytes,
        volumes={
            TLS_DIR: _of_secret(names.tls),
            KEY_DIR: _of_secret(names.key),
            DATA_DIR: {"emptyDir": {"sizeLimit": str(dataset_bytes + 2**26)}},
            TEMP_DIR: {"emptyDir": {}},
            **pods.volumes,
        },
        ports={},
    )
    if pool.gpus:
        for amounts in spec["containers"][0]["resources"].values():
            amounts[pool.gpu_resource] = str(pool.gpus)
    if pool.node_selector:
        spec["nodeSelector"] = dict(pool.node_selector)
    if pool.tolerations:
        spec["tolerations"] = [dict(one) for one in pool.tolerations]
    if pool.priority_class:
        spec["priorityClassName"] = pool.priority_class
    labels = names.labels | {POOL_LABEL: pool.name}
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskWorkerGroup",
        "metadata": {
            "name": names.group(pool.name),
            "labels": labels,
            "ownerReferences": [owned_by(owner)],
        },
        "spec": {"cluster": names.cluster, "worker": {"replicas": replicas, "spec": spec}},
    }


def network_policy(names: ResourceNames, owner_labels: Mapping[str, str]) -> Object:
    """Return the NetworkPolicy of all pods of a workflow.

    Only its own pods and its owner reach them, and they reach only each other, and DNS.
    `owner_labels` are those of the pods that may connect beside its own, in the same namespace: the
    broker's. A port-forward comes from the node and needs no rule.
    """
    own: Object = {"podSelector": {"matchLabels": names.selector}}
    peers = [own]
    if owner_labels:
        peers.append({"podSelector": {"matchLabels": dict(owner_labels)}})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": names.cluster, "labels": names.labels},
        "spec": {
            "podSelector": {"matchLabels": names.selector},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": peers}],
            "egress": [{"to": [own]}, deepcopy(_DNS)],
        },
    }


def pool_network_policy(names: ResourceNames, pool: KubernetesPool) -> Object:
    """Return the NetworkPolicy that lets a pool's workers reach what the pool lists, too."""
    workers = {**names.selector, POOL_LABEL: pool.name}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": names.group(pool.name), "labels": names.labels},
        "spec": {
            "podSelector": {"matchLabels": workers},
            "policyTypes": ["Egress"],
            "egress": pool.egress_rules,
        },
    }


def alive_until_s(cluster: Mapping[str, Any]) -> float | None:
    """Return until when a DaskCluster's owner cares for it; None if that can't be told."""
    text = (cluster["metadata"].get("annotations") or {}).get(ALIVE_UNTIL)
    try:
        until_s = float(text or "")
    except ValueError:
        return None
    return until_s if math.isfinite(until_s) else None


def owned_by(owner: Object) -> Object:
    """Return the reference that makes an object go with its owner."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": False,
        "blockOwnerDeletion": False,
    }


def _pod(
    pods: PodSettings,
    env: Mapping[str, str],
    *,
    cpus: float,
    memory_bytes: int,
    volumes: Mapping[str, Object],
    ports: Mapping[str, int],
) -> Object:
    names = {path: path.strip("/").replace("/", "-") for path in volumes}
    places = {
        "FITCAST_TLS_DIR": TLS_DIR,
        "FITCAST_KEY_DIR": KEY_DIR,
        "FITCAST_DATA_DIR": DATA_DIR,
        "TMPDIR": TEMP_DIR,
        "HOME": TEMP_DIR,
    }
    known = {name: path for name, path in places.items() if path in volumes}
    safe = {"PYTHONSAFEPATH": "1"}  # the same for every Python that it starts
    variables: list[Object] = [
        {"name": name, "value": value}
        for name, value in {**known, **safe, **pods.env, **env}.items()
        if value
    ]
    variables.append(
        {"name": "FITCAST_POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    )
    container = {
        "name": env["FITCAST_ROLE"],
        "image": pods.image,
        "imagePullPolicy": pods.pull_policy,
        # -P: no module of the folder that it runs in takes the place of one of the image's.
        "command": ["python", "-P", "-m", "fitcast.scheduler.backends.kubernetes.pod"],
        "env": variables,
        "ports": [{"name": name, "containerPort": port} for name, port in ports.items()],
        "resources": {
            "requests": {"cpu": f"{cpus:g}", "memory": str(memory_bytes)},
            "limits": {"memory": str(memory_bytes)},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": names[path], "mountPath": path, "readOnly": "secret" in volume}
            for path, volume in volumes.items()
        ],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    spec: Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": 10,
        "containers": [container],
        "volumes": [{"name": names[path], **volume} for path, volume in volumes.items()],
    }
    if pods.service_account:
        spec["serviceAccountName"] = pods.service_account
    if pods.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in pods.pull_secrets]
    return spec


def _of_secret(name: str) -> Object:
    return {"secret": {"secretName": name, "defaultMode": 0o440}}


def _nothing(pods: PodSettings) -> Object:
    return {"name": "worker", "image": pods.image}
