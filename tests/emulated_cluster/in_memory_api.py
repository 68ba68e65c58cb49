"""The API of Kubernetes in memory: what `KubernetesApi` offers, on a store, without a server.

Objects are what they are for the emulated cluster; who makes pods of them is `operator`, which is
called after every object that was created. Every call is told to `before` first, from the thread
that makes it: there a test interrupts, holds a call up, or refuses it by raising. Nothing waits.
"""

import threading
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from tests.emulated_cluster.store import Kind, Object, RefusedError, Store

NAMESPACE = "fitcast"
_DASK = "kubernetes.dask.org"


class InMemoryApi:
    """An API without a server; may be called from any thread.

    Parameters
    ----------
    operator : callable, optional
        ``operator(api, kind, body)`` is called after every object that was created.
    """

    namespace = NAMESPACE

    def __init__(
        self, operator: Callable[["InMemoryApi", str, Object], None] = lambda api, kind, body: None
    ) -> None:
        self.store = Store()
        for plural, kind in (
            ("daskclusters", "DaskCluster"),
            ("daskworkergroups", "DaskWorkerGroup"),
        ):
            self.store.kinds[plural] = Kind(_DASK, "v1", plural, kind)
        self.calls: list[tuple[str, str]] = []  # verb and kind, of every call
        self.warnings: dict[str, list[str]] = {}  # by pod
        self.before: Callable[[str, str], None] = lambda verb, kind: None
        self._operator = operator
        self._lock = threading.RLock()

    def create(self, kind: str, body: Object, **given: Any) -> Object:
        """Create an object; one of this name that is there already is returned as it is."""
        self._note("create", kind)
        with self._lock:
            try:
                made = self.store.create(kind, NAMESPACE, body)
            except RefusedError as error:
                if error.code != 409:
                    raise
                return deepcopy(self.store.get(kind, NAMESPACE, body["metadata"]["name"]))
            self._operator(self, kind, made)
            return deepcopy(made)

    def replace(self, kind: str, body: Object, **given: Any) -> None:
        """Create an object in the place of one of this name."""
        with self._lock:
            if (kind, NAMESPACE, body["metadata"]["name"]) in self.store._objects:
                self.delete(kind, body["metadata"]["name"])
        self.create(kind, body)

    def get(self, kind: str, name: str) -> Object | None:
        """Return an object; None if there is none."""
        self._note("get", kind)
        with self._lock:
            return deepcopy(self.store._objects.get((kind, NAMESPACE, name)))

    def find(
        self, kind: str, labels: Mapping[str, str] | None = None, **given: Any
    ) -> list[Object]:
        """Return the objects that have these labels."""
        self._note("list", kind)
        with self._lock:
            return deepcopy(self.store.find(kind, NAMESPACE, labels))

    def patch(self, kind: str, name: str, body: Object) -> Object:
        """Change fields of an object's metadata."""
        self._note("patch", kind)
        with self._lock:
            changed = deepcopy(self.store.get(kind, NAMESPACE, name))
            changed["metadata"] |= body["metadata"]
            return deepcopy(self.store.change(kind, NAMESPACE, name, changed))

    def delete(self, kind: str, name: str, **given: Any) -> bool:
        """Delete an object and all that it owns; False if there is none."""
        self._note("delete", kind)
        with self._lock:
            try:
                self.store.delete(kind, NAMESPACE, name)
            except RefusedError:
                return False
            return True

    def warnings_of(self, pod: str) -> list[str]:
        """Return what the cluster warned of about a pod, the latest last."""
        self._note("list", "events")
        return self.warnings.get(pod, [])

    def left(self) -> list[str]:
        """Return what is there."""
        with self._lock:
            return [f"{o['kind']} {o['metadata']['name']}" for o in self.store.everything()]

    def status(self, pod: str, **status: Any) -> None:
        """Set some fields of a pod's status."""
        with self._lock:
            self.store.status("pods", NAMESPACE, pod, status)

    def _note(self, verb: str, kind: str) -> None:
        with self._lock:
            self.calls.append((verb, kind))
        self.before(verb, kind)
