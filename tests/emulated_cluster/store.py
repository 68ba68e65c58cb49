"""The objects of an emulated cluster: versions, watches, deletion, owners. One event loop's."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")


@dataclass(frozen=True)
class Kind:
    """A kind of object, as discovery tells it."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    subresources: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        """Group and version as objects name them."""
        return f"{self.group}/{self.version}" if self.group else self.version


BUILT_IN = (
    Kind("", "v1", "namespaces", "Namespace", namespaced=False),
    Kind("", "v1", "nodes", "Node", namespaced=False),
    Kind("", "v1", "pods", "Pod", subresources=("status", "log", "portforward")),
    Kind("", "v1", "services", "Service", subresources=("status",)),
    Kind("", "v1", "secrets", "Secret"),
    Kind("", "v1", "events", "Event"),
    Kind("apps", "v1", "deployments", "Deployment", subresources=("status", "scale")),
    Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
    Kind(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        namespaced=False,
    ),
)


class RefusedError(Exception):
    """What the server answers instead of an object."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


@dataclass
class Store:
    """All objects, and the changes that watches are told of."""

    kinds: dict[str, Kind] = field(default_factory=lambda: {k.plural: k for k in BUILT_IN})
    most_pods: int | None = None  # a quota
    _objects: dict[tuple[str, str, str], Object] = field(default_factory=dict)
    _changes: list[tuple[int, str, str, Object]] = field(default_factory=list)
    _version: int = 1000
    _cut: int = 0

    @property
    def version(self) -> int:
        """The latest resourceVersion."""
        return self._version

    def find(
        self,
        plural: str,
        namespace: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> list[Object]:
        """Return the objects of a kind that carry these labels; not to be changed."""
        wanted = (labels or {}).items()
        return [
            one
            for (kind, place, _), one in self._objects.items()
            if kind == plural
            and namespace in ("", place)
            and wanted <= one["metadata"].get("labels", {}).items()
        ]

    def get(self, plural: str, namespace: str, name: str) -> Object:
        """Return an object; not to be changed."""
        try:
            return self._objects[plural, namespace, name]
        except KeyError:
            said = f'{plural} "{name}" not found'
            raise RefusedError(404, "NotFound", said) from None

    def create(self, plural: str, namespace: str, given: Object) -> Object:
        """Take in a new object."""
        kind = self.kinds[plural]
        body = deepcopy(given)
        metadata = body.setdefault("metadata", {})
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = f"{metadata['generateName']}{uuid.uuid4().hex[:5]}"
        name = metadata.get("name", "")
        if not _NAME.match(name) or (plural == "services" and len(name) > 63):
            raise RefusedError(422, "Invalid", f'{kind.kind} "{name}" is invalid: metadata.name')
        if (plural, namespace, name) in self._objects:
            raise RefusedError(409, "AlreadyExists", f'{plural} "{name}" already exists')
        if plural == "pods" and self.most_pods is not None:
            used = len(self.find("pods", namespace))
            if used >= self.most_pods:
                said = f'pods "{name}" is forbidden: exceeded quota: team, requested: pods=1, '
                said += f"used: pods={used}, limited: pods={self.most_pods}"
                raise RefusedError(403, "Forbidden", said)
        if kind.namespaced:
            metadata["namespace"] = namespace
        metadata |= {
            "uid": str(uuid.uuid4()),
            "creationTimestamp": timestamp(),
            "generation": 1,
        }
        body |= {"apiVersion": kind.api_version, "kind": kind.kind}
        return self._put("ADDED", plural, namespace, body)

    def change(self, plural: str, namespace: str, name: str, body: Object) -> Object:
        """Take in an object's new state; nothing happens if it is as before."""
        before = self.get(plural, namespace, name)
        kept = ("uid", "creationTimestamp", "namespace", "deletionTimestamp", "name")
        body["metadata"] |= {
            key: before["metadata"][key] for key in kept if key in before["metadata"]
        }
        body["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
        if body == before:
            return before
        if body.get("spec") != before.get("spec"):
            body["metadata"]["generation"] = before["metadata"].get("generation", 1) + 1
        changed = self._put("MODIFIED", plural, namespace, body)
        goes = "deletionTimestamp" in changed["metadata"]
        if goes and plural != "pods" and not changed["metadata"].get("finalizers"):
            self.remove(plural, namespace, name)
        return changed

    def status(self, plural: str, namespace: str, name: str, status: Object) -> None:
        """Set some fields of an object's status."""
        body = deepcopy(self.get(plural, namespace, name))
        body["status"] = body.get("status", {}) | status
        self.change(plural, namespace, name, body)

    def delete(self, plural: str, namespace: str, name: str) -> Object:
        """Begin to delete an object; a pod is gone once its kubelet says so."""
        body = deepcopy(self.get(plural, namespace, name))
        runs = plural == "pods" and body.get("spec", {}).get("nodeName")
        if runs or body["metadata"].get("finalizers"):
            if "deletionTimestamp" not in body["metadata"]:
                body["metadata"]["deletionTimestamp"] = timestamp()
                self._put("MODIFIED", plural, namespace, body)
            return body
        return self.remove(plural, namespace, name)

    def remove(self, plural: str, namespace: str, name: str) -> Object:
        """Remove an object at once, and what it owns."""
        body = self._objects.pop((plural, namespace, name))
        self._note("DELETED", plural, body)
        for kind, place, other in list(self._objects):
            one = self._objects.get((kind, place, other))
            owners = one["metadata"].get("ownerReferences", ()) if one else ()
            if any(owner["uid"] == body["metadata"]["uid"] for owner in owners):
                self.delete(kind, place, other)
        return body

    def event(self, about: Object, reason: str, message: str) -> None:
        """Note an event about an object."""
        metadata = about["metadata"]
        self.create(
            "events",
            metadata.get("namespace", "default"),
            {
                "metadata": {"generateName": f"{metadata['name']}."},
                "involvedObject": {
                    "kind": about["kind"],
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                    "namespace": metadata.get("namespace", ""),
                },
                "reason": reason,
                "message": message,
                "type": "Warning",
                "lastTimestamp": timestamp(),
            },
        )

    def everything(self) -> Iterator[Object]:
        """Yield all objects."""
        yield from self._objects.values()

    def plural_of(self, one: Object) -> str:
        """Return how the kind of an object is called in paths."""
        return next(kind.plural for kind in self.kinds.values() if kind.kind == one["kind"])

    async def watch(self, plural: str, since: int) -> AsyncIterator[tuple[str, Object]]:
        """Yield changes of a kind after a version, for as long as nobody cuts it."""
        cut, at = self._cut, 0
        while self._cut == cut:
            while at < len(self._changes):
                version, kind, what, body = self._changes[at]
                at += 1
                if version > since and kind == plural:
                    yield what, body
            await asyncio.sleep(0.05)

    def cut_watches(self) -> None:
        """End all watches."""
        self._cut += 1

    def _put(self, what: str, plural: str, namespace: str, body: Object) -> Object:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self._objects[plural, namespace, body["metadata"]["name"]] = body
        self._note(what, plural, body)
        return body

    def _note(self, what: str, plural: str, body: Object) -> None:
        self._version += what == "DELETED"
        if what == "DELETED":
            body["metadata"]["resourceVersion"] = str(self._version)
        self._changes.append((self._version, plural, what, deepcopy(body)))


def timestamp() -> str:
    """Return the time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
