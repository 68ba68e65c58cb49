"""A cluster for all tests of this folder, and clients that submit to it."""

from collections.abc import Iterator

import numpy as np
import pytest

from fitcast import Client, KubernetesBackend, KubernetesPool
from fitcast.history.store import MemoryHistory
from fitcast.scheduler.backends.protocol import Workers
from fitcast.trainer.sealing import new_key, seal
from fitcast.trainer.sweep.datasets import DatasetContent
from tests.emulated_cluster.cluster import EmulatedCluster
from tests.kubernetes.clusters import RealCluster, a_cluster

MIB = 2**20
SMALL = KubernetesPool(name="small", cpus=1, memory_bytes=400 * MIB, max_workers=2)
LARGE = KubernetesPool(name="large", cpus=1, memory_bytes=1200 * MIB, max_workers=1)


class Noted(KubernetesBackend):
    """Keeps what it made for workflows, to be looked at."""

    def __init__(self, *given, **more) -> None:
        super().__init__(*given, **more)
        self.made: list[Workers] = []

    def for_workflow(self, sealed, key) -> Workers:
        self.made.append(super().for_workflow(sealed, key))
        return self.made[-1]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[EmulatedCluster | RealCluster]:
    with a_cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def client_of(cluster, tmp_path):
    """Return clients of pools, closed after the test; nothing of theirs may be left then."""
    opened = []

    def make(*pools: KubernetesPool, **given) -> Client:
        backend = Noted(pools or (SMALL, LARGE), **(cluster.settings | given))
        opened.append(Client(backend, home=tmp_path / "home", history=MemoryHistory()))
        return opened[-1]

    yield make
    for client in opened:
        client.close()
    cluster.until_nothing_is_left()


@pytest.fixture
def sealed(tmp_path):
    """A sealed dataset of a workflow, and its key."""
    key = new_key()
    content = DatasetContent(np.zeros((10, 2)), np.zeros(10))
    return seal(content, str(tmp_path / "w.sealed"), key, workflow_id="20260101-000000-ab"), key
