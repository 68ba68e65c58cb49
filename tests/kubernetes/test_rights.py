"""The Role of deploy/: what the backend asks for is granted, and nothing that it never asks for."""

import pytest

from fitcast import KubernetesBackend, KubernetesPool
from fitcast.scheduler.backends.kubernetes import api as kubernetes_api
from fitcast.scheduler.backends.kubernetes import cluster as workflow_cluster
from fitcast.scheduler.backends.kubernetes import objects
from tests.emulated_cluster.cluster import EmulatedCluster, Node
from tests.emulated_cluster.rights import rules_of_users
from tests.kubernetes.conftest import MIB, SMALL
from tests.kubernetes.workflow_clusters import Heard
from tests.marks import slow

pytestmark = [pytest.mark.security, pytest.mark.timeout(400)]

STUCK = KubernetesPool(
    name="stuck",
    cpus=1,
    memory_bytes=400 * MIB,
    node_selector={"disk": "none"},
    egress=({"cidr": "10.1.0.0/16", "port": 443},),
)
NAMED = objects.ResourceNames(workflow_id="20260101-000000-ab")


def granted():
    return {
        (verb, group, resource)
        for rule in rules_of_users()
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def test_no_secret_can_be_read():
    assert {verb for verb, _, resource in granted() if resource == "secrets"} == {
        "create",
        "delete",
    }


@pytest.mark.slow
def test_a_workflow_with_faults_asks_for_all_that_is_granted_and_for_no_more(
    tmp_path, sealed, monkeypatch
):
    monkeypatch.setattr(workflow_cluster, "RENEW_EVERY_S", 0.0)
    with EmulatedCluster(tmp_path, (Node("one"),)) as cluster:
        left_over = objects.secret(NAMED, NAMED.key, {"dataset.key": b"of somebody else"})
        cluster.call(lambda: cluster.store.create("secrets", "fitcast", left_over))
        policy = objects.network_policy(NAMED, {})
        cluster.call(lambda: cluster.store.create("networkpolicies", "fitcast", policy))
        dead = objects.cluster(
            objects.ResourceNames(workflow_id="dead"), objects.PodSettings(image="i"), 1.0, 1
        )
        cluster.call(lambda: cluster.store.create("daskclusters", "fitcast", dead))
        KubernetesBackend(**cluster.settings).close()  # pools of the nodes
        backend = KubernetesBackend([SMALL, STUCK], **(cluster.settings | {"forwarded": True}))
        workers, heard = backend.for_workflow(*sealed), Heard()
        dask = workers.start(tmp_path, heard)
        try:
            (key,) = (s for s in cluster.objects("secrets") if s["metadata"]["name"] == NAMED.key)
            assert key["data"] != left_over["data"]
            workers.resize({"small": 1, "stuck": 1})
            cluster.wait(lambda: workers.present(dask) and heard.notes, "a worker, and trouble")
            workers.resize({"small": 2})
            cluster.wait(lambda: len(workers.present(dask)) == 2, "another worker")
            workers.resize({"small": 1})
            workers.retire([workers.present(dask)[0].address])
            cluster.wait(lambda: len(workers.present(dask)) == 1, "one to go")
            cluster.delete("daskclusters", NAMED.cluster)
            cluster.wait(lambda: heard.replaced, "another cluster")
        finally:
            workers.close()
            backend.close()
        cluster.until_nothing_is_left()
        without_a_volume(cluster, tmp_path, sealed)
        inside(cluster, tmp_path, monkeypatch)
        assert cluster.rights_used == granted()


def without_a_volume(cluster, tmp_path, sealed):
    """Have workers whose pods say nothing of what keeps them away, but the cluster's events do."""
    nowhere = {"volumes": {"/nowhere": {"secret": {"secretName": "nobody"}}}}
    backend = KubernetesBackend([SMALL], **cluster.settings, pods=nowhere)
    workers, heard = backend.for_workflow(*sealed), Heard()
    workers.start(tmp_path, heard)
    try:
        workers.resize({"small": 1})
        cluster.wait(lambda: "FailedMount" in " ".join(heard.notes), "a note")
    finally:
        workers.close()
        backend.close()
    cluster.until_nothing_is_left()


def inside(cluster, tmp_path, monkeypatch):
    """Look, as a client that is a pod itself, for its own labels."""
    here = tmp_path / "namespace"
    here.write_text("fitcast")
    monkeypatch.setattr(kubernetes_api, "_OWN_NAMESPACE", here)
    monkeypatch.setenv("HOSTNAME", "client")
    pod = {
        "metadata": {"name": "client", "labels": {"app": "client"}},
        "spec": {"containers": [{"name": "client", "image": "missing"}]},
    }
    cluster.call(lambda: cluster.store.create("pods", "fitcast", pod))
    KubernetesBackend([SMALL], **cluster.settings).close()


@pytest.mark.parametrize("written", ["nan", *slow("soon", "", "inf", None)])
def test_a_claim_that_cannot_be_read_stays_is_told_of_and_stops_nobody(tmp_path, caplog, written):
    with EmulatedCluster(tmp_path, (Node("one"),), operator=False) as cluster:
        for name in ("a-odd", "b-dead"):  # the odd one is looked at first
            named = objects.ResourceNames(workflow_id=name)
            made = objects.cluster(named, objects.PodSettings(image="i"), 1.0, 1)
            if name == "a-odd" and written is None:
                del made["metadata"]["annotations"]
            elif name == "a-odd":
                made["metadata"]["annotations"][objects.ALIVE_UNTIL] = written
            cluster.call(lambda made=made: cluster.store.create("daskclusters", "fitcast", made))
        KubernetesBackend([SMALL], **cluster.settings).close()
        assert cluster.left() == ["DaskCluster fitcast-a-odd"]
    assert "fitcast-a-odd stays" in caplog.text
    assert "kubectl delete daskcluster" in caplog.text
