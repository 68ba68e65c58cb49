"""A workflow's cluster itself: growing, shrinking by chosen workers, growing again."""

import pytest

from fitcast import KubernetesBackend
from fitcast.history.records import Outcome
from fitcast.scheduler.backends.kubernetes.connection import SchedulerLink
from fitcast.scheduler.backends.kubernetes.groups import GROUP_LABEL, WorkerGroups
from fitcast.scheduler.backends.kubernetes.objects import ResourceNames
from tests.emulated_cluster.in_memory_api import InMemoryApi
from tests.kubernetes.conftest import LARGE, SMALL
from tests.kubernetes.workflow_clusters import Heard, workers_on


def test_news_of_workers_that_arrives_late_is_old_news():
    told = []
    link = SchedulerLink(
        None,
        ResourceNames(workflow_id="w"),
        None,
        None,
        sends=False,
        forwarded=False,
        on_ready=told.append,
    )
    link.dask = client = object()
    one, two = {"name": "one"}, {"name": "two"}
    link._note(client, {"version": 2, "workers": {"a": one, "b": two}})
    link._note(client, {"version": 1, "workers": {"a": one}})  # answered before, heard after
    assert link.ready(client) == {"a": one, "b": two}
    assert told == [[one, two]]


def test_a_worker_that_comes_back_says_nothing_of_how_long_a_start_takes():
    groups = WorkerGroups(InMemoryApi(), ResourceNames(workflow_id="w"), [SMALL], None)
    assert groups.start_of("first", "small") is None  # nobody asked for it
    groups._asked_s["small"] = 0.0
    assert groups.start_of("first", "small") > 0.0
    assert groups.start_of("first", "small") is None


def test_eight_workers_that_are_lost_at_once_cost_one_list_of_the_pods(sealed):
    api = InMemoryApi()
    workers = workers_on(api, sealed)
    ready = {}
    for number in range(8):
        name, ip = f"w{number}", f"10.0.0.{number}"
        metadata = {"name": f"{name}-x", "labels": workers.names.labels}
        api.create("pods", {"metadata": metadata, "spec": {}, "status": {"podIP": ip}})
        ready[f"tls://{ip}:4000"] = {"name": name, "pool": "small", "machine_speed": 1.0}
    workers._link.dask = client = object()
    workers._link._note(client, {"version": 1, "workers": ready})
    workers._observer.observe()
    workers._link._note(client, {"version": 2, "workers": {}})
    for number in range(8):
        api.delete("pods", f"w{number}-x")
    api.calls.clear()
    losses = workers.why_lost(ready)
    assert {loss.outcome for loss in losses.values()} == {Outcome.PREEMPTED}
    assert set(losses) == set(ready)
    assert api.calls == [("list", "pods")]


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
        small = {GROUP_LABEL: "fitcast-20260101-000000-ab-small-pool"}
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
    small = {GROUP_LABEL: "fitcast-20260101-000000-ab-small-pool"}
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
