"""A workflow's cluster itself: growing, shrinking by chosen workers, growing again."""

import numpy as np
import pytest

from fitcast import KubernetesBackend
from fitcast.scheduler.backends.kubernetes.connection import SchedulerLink
from fitcast.scheduler.backends.kubernetes.groups import GROUP_LABEL, WorkerGroups
from fitcast.scheduler.backends.kubernetes.objects import Named
from fitcast.trainer.sealing import new_key, seal
from fitcast.trainer.sweep.datasets import DatasetContent
from tests.kubernetes.conftest import LARGE, SMALL


class Heard:
    """Takes in what a backend tells."""

    def __init__(self):
        self.notes = ()
        self.lost = []
        self.replaced = []

    def workers_changed(self):
        pass

    def workers_lost(self, error):
        self.lost.append(error)

    def cluster_replaced(self, dask):
        self.replaced.append(dask)

    def trouble(self, notes):
        self.notes = notes


@pytest.fixture
def sealed(tmp_path):
    key = new_key()
    content = DatasetContent(np.zeros((10, 2)), np.zeros(10))
    return seal(content, str(tmp_path / "w.sealed"), key, workflow_id="20260101-000000-ab"), key


def test_news_of_workers_that_arrives_late_is_old_news():
    told = []
    link = SchedulerLink(
        None, Named(workflow_id="w"), None, None, sends=False, forwarded=False, on_ready=told.append
    )
    link.dask = client = object()
    one, two = {"name": "one"}, {"name": "two"}
    link._note(client, {"version": 2, "workers": {"a": one, "b": two}})
    link._note(client, {"version": 1, "workers": {"a": one}})  # answered before, heard after
    assert link.ready(client) == {"a": one, "b": two}
    assert told == [[one, two]]


def test_a_worker_that_comes_back_says_nothing_of_how_long_a_start_takes():
    groups = WorkerGroups(None, Named(workflow_id="w"), [SMALL], None)
    assert groups.start_of("first", "small") is None  # nobody asked for it
    groups._asked_s["small"] = 0.0
    assert groups.start_of("first", "small") > 0.0
    assert groups.start_of("first", "small") is None


@pytest.mark.kubernetes
def test_groups_grow_and_shrink_by_the_workers_that_are_chosen(cluster, sealed, tmp_path):
    backend = KubernetesBackend([SMALL, LARGE], **cluster.settings)
    workers = backend.for_workflow(*sealed)
    heard = Heard()
    dask = workers.start(tmp_path, heard)
    try:
        assert workers.present(dask) == []
        workers.resize({"small": 2, "large": 1})
        cluster.wait(lambda: len(workers.present(dask)) == 3, "three workers")
        there = workers.present(dask)
        assert sorted(worker.pool for worker in there) == ["large", "small", "small"]
        chosen = next(worker.address for worker in there if worker.pool == "small")
        workers.resize({"small": 1, "large": 1})
        workers.retire([chosen])
        cluster.wait(lambda: len(workers.present(dask)) == 2, "one to go")
        left = {worker.address for worker in workers.present(dask)}
        assert left == {worker.address for worker in there} - {chosen}
        small = {GROUP_LABEL: "fitcast-20260101-000000-ab-small"}
        cluster.wait(lambda: len(cluster.names("deployments", small)) == 1, "its Deployment")
        workers.resize({"small": 2})  # while large is wanted no more, nothing of it is ended
        cluster.wait(lambda: len(workers.present(dask)) == 3, "another one")
        assert left < {worker.address for worker in workers.present(dask)}
        assert backend.start_s != 15.0  # learned from what was seen
        assert heard.lost == []
        assert heard.replaced == []
    finally:
        workers.close()
        backend.close()
    cluster.until_nothing_is_left()


@pytest.mark.kubernetes
def test_a_cluster_that_somebody_deletes_is_made_again(cluster, sealed, tmp_path):
    backend = KubernetesBackend([SMALL], **cluster.settings)
    workers = backend.for_workflow(*sealed)
    heard = Heard()
    dask = workers.start(tmp_path, heard)
    try:
        workers.resize({"small": 1})
        cluster.wait(lambda: workers.present(dask), "a worker")
        cluster.delete("daskclusters", "fitcast-20260101-000000-ab")
        cluster.wait(lambda: heard.replaced, "another cluster")
        assert workers.present(dask)  # who isn't told yet sees the last one
        cluster.wait(lambda: workers.present(heard.replaced[-1]), "a worker there")
    finally:
        workers.close()
        backend.close()
    cluster.until_nothing_is_left()


@pytest.mark.kubernetes
def test_a_worker_that_could_not_be_deleted_is_deleted_later(cluster, sealed, tmp_path):
    cluster.deny("delete", "deployments")
    backend = KubernetesBackend([SMALL], **cluster.settings)
    workers = backend.for_workflow(*sealed)
    heard = Heard()
    dask = workers.start(tmp_path, heard)
    small = {GROUP_LABEL: "fitcast-20260101-000000-ab-small"}
    try:
        workers.resize({"small": 2})
        cluster.wait(lambda: len(workers.present(dask)) == 2, "two workers")
        workers.resize({"small": 1})
        workers.retire([workers.present(dask)[0].address])
        cluster.wait(lambda: heard.notes, "the trouble to be told")
        assert "you may not delete deployments" in heard.notes[0]
        assert len(cluster.names("deployments", small)) == 2
        cluster.allow("delete", "deployments")
        cluster.wait(lambda: len(workers.present(dask)) == 1, "one to go")
        assert len(cluster.names("deployments", small)) == 1
    finally:
        cluster.allow("delete", "deployments")
        workers.close()
        backend.close()
    cluster.until_nothing_is_left()
