"""What makes an emulated cluster live: Deployments keep pods, Services lead there, nodes hold."""

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from typing import Any

from fitcast.scheduler.backends.kubernetes.pools import quantity
from tests.emulated_cluster.store import Object, RefusedError, Store

NETWORK = 1 + os.getpid() % 120
"""Second number of Services' addresses: test runs beside each other have their own."""


class Deployments:
    """Keeps as many pods as each Deployment asks for (one ReplicaSet's worth, without it)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def look(self) -> None:
        """Make or delete pods."""
        pods = self._store.find("pods")
        for deployment in list(self._store.find("deployments")):
            metadata, spec = deployment["metadata"], deployment["spec"]
            mine = [pod for pod in pods if _owner_uid(pod) == metadata["uid"]]
            gone = ("Failed", "Succeeded")
            living = [
                pod
                for pod in mine
                if "deletionTimestamp" not in pod["metadata"]
                and pod.get("status", {}).get("phase") not in gone
            ]
            wanted = spec.get("replicas", 1)
            refused = None
            for _ in range(wanted - len(living)):
                refused = self._make(deployment)
            for pod in living[wanted:] if len(living) > wanted else ():
                self._store.delete("pods", metadata["namespace"], pod["metadata"]["name"])
            conditions = [] if refused is None else [refused]
            ready = sum(map(is_ready, living))
            status = {"replicas": len(living), "readyReplicas": ready, "conditions": conditions}
            self._store.status("deployments", metadata["namespace"], metadata["name"], status)

    def _make(self, deployment: Object) -> Object | None:
        metadata, template = deployment["metadata"], deployment["spec"]["template"]
        body = {
            "metadata": {
                "generateName": f"{metadata['name']}-",
                "labels": dict(template["metadata"].get("labels", {})),
                "annotations": dict(template["metadata"].get("annotations", {})),
                "ownerReferences": [
                    {
                        "apiVersion": "apps/v1",
                        "kind": "Deployment",
                        "name": metadata["name"],
                        "uid": metadata["uid"],
                        "controller": True,
                    }
                ],
            },
            "spec": deepcopy(template["spec"]),
            "status": {"phase": "Pending"},
        }
        try:
            self._store.create("pods", metadata["namespace"], body)
        except RefusedError as error:
            return {
                "type": "ReplicaFailure",
                "status": "True",
                "reason": "FailedCreate",
                "message": str(error),
            }
        return None


class GarbageCollector:
    """Deletes what belongs to nobody that is there any more."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def look(self) -> None:
        """Delete what was made for an owner that went meanwhile."""
        living = {one["metadata"]["uid"] for one in self._store.everything()}
        for one in list(self._store.everything()):
            metadata = one["metadata"]
            owners = {owner["uid"] for owner in metadata.get("ownerReferences", ())}
            if owners and not owners & living:
                plural = self._store.plural_of(one)
                self._store.delete(plural, metadata["namespace"], metadata["name"])


class Scheduler:
    """Gives pods to nodes that have room for what they ask for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def look(self) -> None:
        """Place what waits."""
        for pod in list(self._store.find("pods")):
            if pod["spec"].get("nodeName") or "deletionTimestamp" in pod["metadata"]:
                continue
            metadata = pod["metadata"]
            lacking = []
            for node in self._store.find("nodes"):
                why = self._unfit(pod, node)
                if not why:
                    body = deepcopy(pod)
                    body["spec"]["nodeName"] = node["metadata"]["name"]
                    self._store.change("pods", metadata["namespace"], metadata["name"], body)
                    break
                lacking.append(why)
            else:
                self._tell(pod, lacking)

    def _tell(self, pod: Object, lacking: list[str]) -> None:
        total = len(lacking)
        counts = ", ".join(f"{lacking.count(why)} {why}" for why in sorted(set(lacking)))
        said = f"0/{total} nodes are available: {counts}."
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": said,
        }
        if pod.get("status", {}).get("conditions") != [condition]:
            metadata = pod["metadata"]
            status = {"phase": "Pending", "conditions": [condition]}
            self._store.status("pods", metadata["namespace"], metadata["name"], status)
            self._store.event(pod, "FailedScheduling", said)

    def _unfit(self, pod: Object, node: Object) -> str:
        labels = node["metadata"].get("labels", {})
        if not pod["spec"].get("nodeSelector", {}).items() <= labels.items():
            return "node(s) didn't match Pod's node affinity/selector"
        tolerated = {one.get("key") for one in pod["spec"].get("tolerations", ())}
        for taint in node.get("spec", {}).get("taints", ()):
            if taint["key"] not in tolerated:
                return f"node(s) had untolerated taint {{{taint['key']}: }}"
        name = node["metadata"]["name"]
        beside = [p for p in self._store.find("pods") if p["spec"].get("nodeName") == name]
        for resource, amount in requests(pod).items():
            used = sum(requests(one).get(resource, 0) for one in beside)
            if used + amount > quantity(node["status"]["allocatable"].get(resource, 0)):
                return f"Insufficient {resource}"
        return ""


class Services:
    """Gives Services addresses of the loopback network, and leads connections to ready pods."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._servers: dict[str, list[asyncio.Server]] = {}  # by the Service's uid
        self._count = 0

    async def look(self) -> None:
        """Begin or end to serve."""
        services = {one["metadata"]["uid"]: one for one in self._store.find("services")}
        for uid in set(self._servers) - set(services):
            for server in self._servers.pop(uid):
                server.close()
        for uid, service in services.items():
            if uid in self._servers:
                continue
            self._count += 1
            address = f"127.{NETWORK}.{self._count // 250}.{self._count % 250 + 1}"
            body = deepcopy(service)
            body["spec"] |= {"clusterIP": address, "type": body["spec"].get("type", "ClusterIP")}
            body["status"] = {"loadBalancer": {}}
            metadata = service["metadata"]
            self._servers[uid] = [
                await asyncio.start_server(self._leading(service, port), address, port["port"])
                for port in service["spec"]["ports"]
            ]
            self._store.change("services", metadata["namespace"], metadata["name"], body)

    def close(self) -> None:
        """Serve no more."""
        for servers in self._servers.values():
            for server in servers:
                server.close()

    def _leading(self, service: Object, port: Object) -> Callable[..., Any]:
        async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            namespace = service["metadata"]["namespace"]
            chosen = service["spec"]["selector"]
            pods = [p for p in self._store.find("pods", namespace, chosen) if is_ready(p)]
            try:
                if not pods:
                    return
                wanted = port.get("targetPort", port["port"])
                ports = pods[0]["spec"]["containers"][0].get("ports", ())
                named = {one.get("name"): one["containerPort"] for one in ports}
                address = pods[0]["status"]["podIP"]
                there = await asyncio.open_connection(address, named.get(wanted, wanted))
                both = (_copy(reader, there[1]), _copy(there[0], writer))
                await asyncio.gather(*both)
            except OSError:
                pass
            finally:
                writer.close()

        return lead


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def is_ready(pod: Object) -> bool:
    """Tell whether a pod is ready."""
    conditions = pod.get("status", {}).get("conditions", ())
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def requests(pod: Object) -> dict[str, Any]:
    """Return what a pod's containers ask for together."""
    total: dict[str, Any] = {}
    for container in pod["spec"]["containers"]:
        asked = container.get("resources", {})
        for resource, amount in (asked.get("limits", {}) | asked.get("requests", {})).items():
            total[resource] = total.get(resource, 0) + quantity(amount)
    return total


def _owner_uid(pod: Object) -> str:
    owners = pod["metadata"].get("ownerReferences") or [{}]
    return str(owners[0].get("uid", ""))


class Clock:
    """Says when something that fails again and again may be tried next."""

    def __init__(self, first_s: float = 0.5, longest_s: float = 5.0) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self._pause_s, self._next_s = 0.0, 0.0

    def failed(self) -> None:
        """Note a failure: the pause grows."""
        self._pause_s = min(max(self._first_s, 2 * self._pause_s), self._longest_s)
        self._next_s = time.monotonic() + self._pause_s

    def is_due(self) -> bool:
        """Tell whether the pause is over."""
        return time.monotonic() >= self._next_s
