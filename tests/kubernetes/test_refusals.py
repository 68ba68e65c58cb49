"""What can't be: each ends by itself, is told with its reason, and leaves nothing behind."""

import re
import time

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from fitcast import Client, KubernetesBackend, KubernetesPool, Pool, Sweep, errors
from fitcast.history.store import MemoryHistory
from tests.emulated_cluster.cluster import EmulatedCluster, Node
from tests.kubernetes.conftest import MIB, SMALL
from tests.polling import LONGEST_S

ROWS = np.random.default_rng(0).normal(size=(60, 3))
SWEEP = Sweep({"lr": LogisticRegression()}, ROWS, (ROWS[:, 0] > 0).astype(int), cv=2, refit=False)


def backend(cluster, **given):
    return KubernetesBackend([SMALL], **(cluster.settings | given))


def submitted(cluster, home, **given):
    """Return the error of a workflow that can't start."""
    with Client(backend(cluster, **given), home=home, history=MemoryHistory()) as client:
        workflow = client.submit(SWEEP).wait(LONGEST_S)
        assert workflow.state == "failed"
        with pytest.raises(errors.FitcastError) as told:
            workflow.result()
    cluster.until_nothing_is_left()
    return str(told.value)


def test_no_cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(errors.ClusterUnreachableError, match="set KUBECONFIG"):
        KubernetesBackend([SMALL], image="i")


def test_a_cluster_that_does_not_answer(tmp_path):
    with EmulatedCluster(tmp_path, operator=False) as cluster:
        cluster.stop_api()
        with pytest.raises(errors.ClusterUnreachableError, match="kubectl version"):
            backend(cluster)
        cluster.start_api()


def test_custom_resources_that_are_missing(tmp_path):
    with (
        EmulatedCluster(tmp_path, crds=False, operator=False) as cluster,
        pytest.raises(errors.OperatorMissingError, match="install the Dask operator"),
    ):
        backend(cluster)


@pytest.mark.kubernetes
def test_an_operator_that_does_not_run(tmp_path):
    with EmulatedCluster(tmp_path, operator=False) as cluster:
        assert "the Dask operator isn't running" in submitted(cluster, tmp_path / "home")


@pytest.mark.slow
def test_an_image_that_is_missing(cluster, tmp_path):
    said = submitted(cluster, tmp_path / "home", image="missing:1")
    assert re.search(r"(ErrImagePull|ImagePullBackOff): .*missing:1", said)


@pytest.mark.parametrize(
    ("verb", "resource"), [("list", "daskclusters"), ("create", "daskclusters")]
)
def test_a_right_that_is_missing_is_named(cluster, tmp_path, verb, resource):
    cluster.deny(verb, resource)
    try:
        if verb == "list":
            with pytest.raises(errors.ClusterAccessError) as told:
                backend(cluster)
            said = str(told.value)
        else:
            said = submitted(cluster, tmp_path / "home")
    finally:
        cluster.allow(verb, resource)
    assert f"you may not {verb} {resource} in namespace 'fitcast'" in said
    assert "deploy/" in said


@pytest.mark.kubernetes
def test_a_pool_that_the_cluster_rejects_ends_the_workflow(cluster, client_of):
    wrong = KubernetesPool(
        name="wrong", cpus=1, memory_bytes=400 * MIB, tolerations=[{"tolerationSeconds": "soon"}]
    )
    workflow = client_of(wrong).submit(SWEEP).wait(LONGEST_S)
    assert workflow.state == "failed"
    with pytest.raises(errors.ClusterRejectedError, match=r"tolerations.*tolerationSeconds"):
        workflow.result()


@pytest.mark.kubernetes
def test_a_volume_that_is_missing_is_told_of_though_pods_say_nothing(cluster, client_of):
    nowhere = {"secret": {"secretName": "nobody"}}
    client = client_of(SMALL, pods={"volumes": {"/nowhere": nowhere}})
    workflow = client.submit(SWEEP)
    cluster.wait(lambda: "FailedMount" in " ".join(workflow.notes), "a note")
    assert "nobody" in " ".join(workflow.notes)
    workflow.cancel()
    assert workflow.wait(LONGEST_S).state == "cancelled"


@pytest.mark.kubernetes
def test_a_quota_that_is_used_up(cluster, tmp_path):
    cluster.limit_pods(0)
    try:
        said = submitted(cluster, tmp_path / "home")
    finally:
        cluster.limit_pods(None)
    assert "exceeded quota" in said


def test_pools_that_are_none(cluster):
    with pytest.raises(errors.InvalidPoolError, match="KubernetesPool"):
        KubernetesBackend([Pool("a", 1, 400 * MIB)], image="i", kubeconfig=str(cluster.kubeconfig))


@pytest.mark.slow
def test_without_pools_the_nodes_are_the_pools(cluster):
    made = KubernetesBackend(image="i", kubeconfig=str(cluster.kubeconfig))
    (pool,) = made.pools
    assert (pool.cpus, pool.workers) == (7, 2)
    made.close()
    cluster.deny("list", "nodes")
    try:
        with pytest.raises(errors.ClusterAccessError, match="pools="):
            KubernetesBackend(image="i", kubeconfig=str(cluster.kubeconfig))
    finally:
        cluster.allow("list", "nodes")


def test_a_fit_that_no_pool_could_hold(cluster, tmp_path):
    tiny = KubernetesPool(name="tiny", cpus=1, memory_bytes=20 * MIB)
    with (
        Client(
            KubernetesBackend([tiny], **cluster.settings),
            home=tmp_path / "h",
            history=MemoryHistory(),
        ) as client,
        pytest.raises(errors.FitTooLargeError),
    ):
        client.submit(SWEEP)


@pytest.mark.slow
def test_what_a_crashed_owner_left_is_swept_away_and_a_living_ones_stays(tmp_path):
    from fitcast.scheduler.backends.kubernetes import objects

    with EmulatedCluster(tmp_path, (Node("one"),), operator=False) as cluster:
        pods = objects.PodSettings(image="i")
        for name, until_s in (("dead", 1.0), ("living", time.time() + 100)):
            made = objects.cluster(objects.ResourceNames(workflow_id=name), pods, until_s, 1)
            cluster.call(lambda made=made: cluster.store.create("daskclusters", "fitcast", made))
        owner = cluster.objects("daskclusters")[0]
        secret = objects.secret(objects.ResourceNames(workflow_id="dead"), "s", {"k": b"k"})
        secret["metadata"]["ownerReferences"] = [objects.owned_by(owner)]
        cluster.call(lambda: cluster.store.create("secrets", "fitcast", secret))
        backend(cluster).close()
        assert cluster.left() == ["DaskCluster fitcast-living"]


def test_a_workflow_is_cancelled_while_it_waits_for_room(cluster, tmp_path):
    pods = {"scheduler_cpus": 99.0}
    with Client(
        backend(cluster, pods=pods), home=tmp_path / "home", history=MemoryHistory()
    ) as client:
        workflow = client.submit(SWEEP)
        cluster.wait(lambda: "Insufficient cpu" in " ".join(workflow.notes), "a note")
        workflow.cancel()
        assert workflow.wait(LONGEST_S).state == "cancelled"
        cluster.until_nothing_is_left()
