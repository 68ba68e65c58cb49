"""The cluster that tests run on: an emulated one, or the real one that FITCAST_IMAGE asks for."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from fitcast.scheduler.backends.kubernetes.api import KubernetesApi, Object
from fitcast.scheduler.backends.kubernetes.objects import MANAGED_BY
from tests.acceptance import estimators as harmful
from tests.emulated_cluster.cluster import EmulatedCluster, Node
from tests.kubernetes import estimators as slow
from tests.polling import LONGEST_S


@contextmanager
def a_cluster(folder: Path) -> Iterator["EmulatedCluster | RealCluster"]:
    """Give a cluster for tests."""
    if image := os.environ.get("FITCAST_IMAGE"):
        for module in (harmful, slow):  # which the image doesn't have
            cloudpickle.register_pickle_by_value(module)
        with RealCluster(image, os.environ.get("FITCAST_NAMESPACE")) as real:
            yield real
    else:
        with EmulatedCluster(folder, (Node("one"), Node("two"))) as emulated:
            yield emulated


class RealCluster:
    """The cluster that KUBECONFIG leads to, as far as tests can harm it.

    Parameters
    ----------
    image : str
        Already on its nodes.
    namespace : str, optional
        By default the kubeconfig's.
    """

    def __init__(self, image: str, namespace: str | None) -> None:
        self._api = KubernetesApi(namespace)
        self.settings: dict[str, Any] = {"image": image, "namespace": namespace}

    def __enter__(self) -> "RealCluster":
        return self

    def __exit__(self, *error: object) -> None:
        self._api.close()

    def objects(self, kind: str, labels: Mapping[str, str] | None = None) -> list[Object]:
        """Return the objects of a kind that fitcast made."""
        return self._api.find(kind, MANAGED_BY | dict(labels or {}))

    def names(self, kind: str, labels: Mapping[str, str] | None = None) -> list[str]:
        """Return their names."""
        return [one["metadata"]["name"] for one in self.objects(kind, labels)]

    def delete(self, kind: str, name: str) -> None:
        """Delete an object, as anybody may."""
        self._api.delete(kind, name)

    def left(self) -> list[str]:
        """Return what fitcast made and is still there."""
        kinds = ("daskclusters", "daskworkergroups", "deployments", "pods", "secrets", "services")
        return [f"{kind} {name}" for kind in kinds for name in self.names(kind)]

    def until_nothing_is_left(self) -> None:
        """Wait until all of that is gone; fail if it stays."""
        self.wait(lambda: not self.left(), "everything to go")

    def wait(self, is_so: Callable[[], Any], what: str = "") -> Any:
        """Return the first true answer; fail if there is none in a long time."""
        until = time.monotonic() + LONGEST_S
        while not (answer := is_so()):
            assert time.monotonic() < until, f"waited in vain for {what or is_so}"
            time.sleep(0.2)
        return answer

    def kill(self, pod: str, *, for_memory: bool = False) -> None:
        """Delete a pod."""
        if for_memory:
            pytest.skip("the kernel of a real cluster can't be asked to run out of memory")
        self._api.delete("pods", pod)

    evict = preempt = kill

    def __getattr__(self, name: str) -> Any:
        pytest.skip(f"a real cluster isn't harmed so: {name}")
