"""A Kubernetes cluster for tests: an API server, pods that really run, the real Dask operator.

Everything is on the loopback network of this machine and ends with the context.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from tests.emulated_cluster.api_server import ApiServer
from tests.emulated_cluster.controllers import Deployments, GarbageCollector, Scheduler, Services
from tests.emulated_cluster.kubelet import Kubelet
from tests.emulated_cluster.rights import CHART, rules_of_operator, rules_of_users
from tests.emulated_cluster.store import Kind, Object, RefusedError, Store
from tests.polling import wait_for

LOOK_EVERY_S = 0.1
GIB = 2**30


@dataclass(frozen=True)
class Node:
    """A node, by what it can give."""

    name: str
    cpus: int = 8
    memory_bytes: int = 32 * GIB
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Mapping[str, str], ...] = ()


class EmulatedCluster:
    """A cluster, as a context.

    Parameters
    ----------
    folder : Path
        Where pods' files and the kubeconfig lie.
    nodes : tuple of Node
        Its nodes.
    crds : bool
        Whether it knows Dask's custom resources.
    operator : bool
        Whether the Dask operator runs.
    everywhere : bool
        Whether it watches all namespaces, or one alone.
    namespace : str
        That one, and the kubeconfig's.
    """

    def __init__(
        self,
        folder: Path,
        nodes: tuple[Node, ...] = (Node("one"), Node("two")),
        *,
        crds: bool = True,
        operator: bool = True,
        everywhere: bool = False,
        namespace: str = "fitcast",
    ) -> None:
        self.namespace = namespace
        self.kubeconfig = folder / "kubeconfig"
        self._operators_kubeconfig = folder / "operator.kubeconfig"
        self.store = Store()
        self._folder = folder
        self._with_operator = operator
        self._everywhere = everywhere
        self._operator: subprocess.Popen[bytes] | None = None
        rights = {
            "someone": rules_of_users(),
            "operator": rules_of_operator(everywhere=everywhere),
        }
        self._server = ApiServer(self.store, rights)
        self._kubelet = Kubelet(self.store, folder / "pods")
        self._services = Services(self.store)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._task: Any = None
        self.troubles: list[str] = []
        if crds:
            self._add_custom_resources()
        self.store.create("namespaces", "", {"metadata": {"name": namespace}})
        for node in nodes:
            self._add(node)

    def __enter__(self) -> Self:
        self._thread.start()
        self._sync(self._begin())
        self._write_kubeconfig(self.kubeconfig, "someone")
        self._write_kubeconfig(self._operators_kubeconfig, "operator")
        if self._with_operator:
            self.start_operator()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop_operator()
        self._sync(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    # -- the outside -----------------------------------------------------------------------------

    @property
    def settings(self) -> dict[str, Any]:
        """What a backend needs to use it."""
        return {"image": "fitcast", "kubeconfig": str(self.kubeconfig), "forwarded": False}

    @property
    def shared_folder(self) -> Path:
        """A folder that pods reach too."""
        return self._folder / "shared"

    @property
    def requests(self) -> int:
        """How many requests its API server has had."""
        return self._server.requests

    @property
    def rights_used(self) -> set[tuple[str, str, str]]:
        """What whoever submits has asked for: verb, group and resource."""
        return self.call(lambda: set(self._server.used.get("someone", ())))

    def objects(self, plural: str, labels: Mapping[str, str] | None = None) -> list[Object]:
        """Return copies of the objects of a kind in the namespace."""
        return self.call(lambda: deepcopy(self.store.find(plural, self.namespace, labels)))

    def names(self, plural: str, labels: Mapping[str, str] | None = None) -> list[str]:
        """Return their names."""
        return [one["metadata"]["name"] for one in self.objects(plural, labels)]

    def left(self) -> list[str]:
        """Return what is there beside nodes, namespaces, kinds and events."""
        common = ("Node", "Namespace", "CustomResourceDefinition", "Event")
        return self.call(
            lambda: [
                f"{one['kind']} {one['metadata']['name']}"
                for one in self.store.everything()
                if one["kind"] not in common
            ]
        )

    def until_nothing_is_left(self) -> None:
        """Wait until all but that is gone; fail if it stays."""
        assert wait_for(lambda: not self.left()), self.left()

    def wait(self, is_so: Callable[[], Any], what: str = "") -> Any:
        """Return the first true answer; fail if there is none in a long time."""
        answers: list[Any] = []

        def is_answered() -> bool:
            answers[:] = [is_so()]
            return bool(answers[0])

        assert wait_for(is_answered), f"waited in vain for {what or is_so}"
        return answers[0]

    def call(self, function: Callable[[], Any]) -> Any:
        """Call something on the cluster's own thread."""

        async def run() -> Any:
            return function()

        return self._sync(run())

    # -- faults ----------------------------------------------------------------------------------

    def kill(self, pod: str, *, for_memory: bool = False) -> None:
        """Kill the container of a pod; for want of memory, its status says."""
        self.call(lambda: self._kubelet.kill(pod, for_memory=for_memory))

    def pids(self, pod: str) -> list[int]:
        """Return the processes of a pod."""
        return self.call(lambda: self._kubelet.pids(pod))

    def log(self, pod: str) -> str:
        """Return what a pod wrote."""
        return self._kubelet.log(pod)

    def evict(self, pod: str) -> None:
        """Evict a pod, as a node does that is short of memory."""
        status = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."}
        self.call(lambda: self.store.status("pods", self.namespace, pod, status))

    def preempt(self, pod: str) -> None:
        """Take a pod's place away for a more important one."""
        self.call(lambda: self._disrupt(pod, "PreemptionByScheduler"))
        self.call(lambda: self.store.delete("pods", self.namespace, pod))

    def delete(self, plural: str, name: str) -> None:
        """Delete an object, as anybody may."""
        self.call(lambda: self.store.delete(plural, self.namespace, name))

    def remove_node(self, name: str) -> None:
        """Lose a node with all that runs there."""

        def remove() -> None:
            self.store.remove("nodes", "", name)
            for pod in list(self.store.find("pods")):
                if pod["spec"].get("nodeName") == name:
                    self._disrupt(pod["metadata"]["name"], "DeletionByTaintManager")
                    self.store.remove("pods", self.namespace, pod["metadata"]["name"])

        self.call(remove)

    def add_node(self, name: str) -> None:
        """Have one more node."""
        self.call(lambda: self._add(Node(name)))

    def stop_api(self) -> None:
        """Let the API server be away."""
        self._sync(self._server.stop())

    def start_api(self) -> None:
        """Let it be back."""
        self._sync(self._server.start())

    def cut_watches(self) -> None:
        """Cut all watches."""
        self.call(self.store.cut_watches)

    def cut_forwards(self) -> None:
        """Cut all connections through forwarded ports."""
        self._sync(self._server.cut_forwards())

    def limit_pods(self, most: int | None) -> None:
        """Set a quota."""
        self.store.most_pods = most

    def deny(self, verb: str, resource: str) -> None:
        """Take a right away."""
        self._server.denied.add((verb, resource))

    def allow(self, verb: str, resource: str) -> None:
        """Give it back."""
        self._server.denied.discard((verb, resource))

    def start_operator(self) -> None:
        """Start the Dask operator."""
        log = (self._folder / "operator.log").open("ab")
        command = [sys.executable, "-m", "kopf", "run", "--standalone", "--quiet"]
        command += ["--all-namespaces"] if self._everywhere else ["--namespace", self.namespace]
        command += ["-m", "dask_kubernetes.operator.controller"]
        env = os.environ | {"KUBECONFIG": str(self._operators_kubeconfig)}
        self._operator = subprocess.Popen(
            command, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
        log.close()

    def stop_operator(self) -> None:
        """End it."""
        process, self._operator = self._operator, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)

    # -- the inside ------------------------------------------------------------------------------

    async def _begin(self) -> None:
        await self._server.start()
        self._task = asyncio.create_task(self._live())

    async def _end(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._kubelet.close()
        self._services.close()
        await self._server.stop()

    async def _live(self) -> None:
        deployments, scheduler = Deployments(self.store), Scheduler(self.store)
        collector = GarbageCollector(self.store)
        while True:
            try:
                collector.look()
                deployments.look()
                scheduler.look()
                self._kubelet.look()
                await self._services.look()
            except (RefusedError, OSError) as error:  # an object went meanwhile
                self.troubles.append(repr(error))
            await asyncio.sleep(LOOK_EVERY_S)

    def _write_kubeconfig(self, path: Path, user: str) -> None:
        context = {"cluster": "emulated", "user": user, "namespace": self.namespace}
        server = {"server": f"http://127.0.0.1:{self._server.port}"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "emulated",
            "clusters": [{"name": "emulated", "cluster": server}],
            "users": [{"name": user, "user": {"token": user}}],
            "contexts": [{"name": "emulated", "context": context}],
        }
        path.write_text(yaml.safe_dump(config))

    def _sync(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def _disrupt(self, pod: str, reason: str) -> None:
        condition = {"type": "DisruptionTarget", "status": "True", "reason": reason}
        before = self.store.get("pods", self.namespace, pod).get("status", {}).get("conditions", [])
        status = {"conditions": [*before, condition]}
        self.store.status("pods", self.namespace, pod, status)

    def _add(self, node: Node) -> None:
        body = {
            "metadata": {"name": node.name, "labels": dict(node.labels)},
            "spec": {"taints": [dict(taint) for taint in node.taints]},
            "status": {"allocatable": {"cpu": str(node.cpus), "memory": str(node.memory_bytes)}},
        }
        self.store.create("nodes", "", body)

    def _add_custom_resources(self) -> None:
        for path in (CHART / "crds").iterdir():
            definition = yaml.safe_load(path.read_text(encoding="utf-8"))
            spec = definition["spec"]
            names = spec["names"]
            for version in spec["versions"]:
                kind = Kind(
                    spec["group"],
                    version["name"],
                    names["plural"],
                    names["kind"],
                    subresources=tuple(version.get("subresources", ())),
                )
                self.store.kinds[kind.plural] = kind
            self.store.create("customresourcedefinitions", "", definition)
