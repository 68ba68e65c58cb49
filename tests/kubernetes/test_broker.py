"""A shared platform on a cluster: workflows of several users, each in pods of its own."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score
from sklearn.tree import DecisionTreeClassifier

from fitcast import Client, KubernetesPool, Sweep
from fitcast.scheduler.backends.kubernetes.objects import CLUSTER_LABEL, WORKFLOW_LABEL
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.store import BrokerStore
from tests.brokers import MIB, Served, broker, no_broker_variables
from tests.kubernetes.conftest import Noted
from tests.kubernetes.estimators import SlowTree
from tests.polling import LONGEST_S
from tests.ports import free_port

pytestmark = pytest.mark.timeout(400)

ROWS = np.random.default_rng(0).normal(size=(300, 6))
TARGET = (ROWS[:, 0] + 0.5 * ROWS[:, 1] > 0).astype(int)
DEPTHS = [1, 2, 3, 4]
FOLDS = 3
POOL = KubernetesPool(name="small", cpus=1, memory_bytes=400 * MIB, max_workers=2)
POOLS = [{"name": "small", "cpus": 1, "memory_bytes": "400Mi", "max_workers": 2}]
WORKER = {"dask.org/component": "worker"}


@pytest.fixture(autouse=True)
def no_platform(monkeypatch):
    no_broker_variables(monkeypatch)


def sweep(sleep_s=1.0):
    return Sweep((SlowTree(sleep_s=sleep_s), {"max_depth": DEPTHS}), ROWS, TARGET, cv=FOLDS)


def check_result(result):
    for depth, mean in zip(DEPTHS, result.cv_results_["mean_test_score"], strict=True):
        trees = DecisionTreeClassifier(max_depth=depth, random_state=0)
        assert mean == cross_val_score(trees, ROWS, TARGET, cv=FOLDS).mean()


@pytest.mark.kubernetes
def test_two_users_have_clusters_keys_and_parts_of_their_own(cluster, tmp_path):
    backend = Noted([POOL], **cluster.settings)
    with broker(tmp_path / "home", backend=backend) as there:
        clients = [
            Client(there.url, token=there.token(user), home=tmp_path / user)
            for user in ("ann", "bob")
        ]
        workflows = [client.submit(sweep()) for client in clients]
        cluster.wait(lambda: all(one.counts()[1] for one in workflows), "both to run")
        named = {one["metadata"]["name"]: one for one in cluster.objects("daskclusters")}
        assert len(named) == 2
        assert {one["metadata"]["labels"][WORKFLOW_LABEL] for one in named.values()} == {
            workflow.id for workflow in workflows
        }
        for name in named:
            pods = cluster.objects("pods", {CLUSTER_LABEL: name})
            assert {pod["metadata"]["labels"]["dask.org/component"] for pod in pods} == {
                "scheduler",
                "worker",
            }
            (policy,) = cluster.objects("networkpolicies", {CLUSTER_LABEL: name})
            peers = policy["spec"]["ingress"][0]["from"]
            assert {"podSelector": {"matchLabels": {CLUSTER_LABEL: name}}} in peers
        if hasattr(cluster, "store"):  # nobody reads Secrets of a real one
            keys = [
                one["data"] for one in cluster.objects("secrets") if "dataset.key" in one["data"]
            ]
            assert len({one["dataset.key"] for one in keys}) == 2
        # neither grows beyond its part of what the pools have
        made = backend.made
        cluster.wait(lambda: [one._wanted.get("small") for one in made] == [1, 1], "their parts")
        for workflow in workflows:
            check_result(workflow.result(timeout_s=LONGEST_S))
        assert {row.state for row in there.store.workflows()} == {State.SUCCEEDED}
        cluster.until_nothing_is_left()
        for client in clients:
            client.close()


@pytest.mark.kubernetes
def test_a_broker_that_is_killed_leaves_no_pods_and_goes_on(cluster, tmp_path, monkeypatch):
    wanted = {name: cluster.settings.get(name) for name in ("image", "namespace", "kubeconfig")}
    for name, value in (wanted | {"pools": json.dumps(POOLS)}).items():
        if value is not None:
            monkeypatch.setenv(f"FITCAST_KUBERNETES_{name.upper()}", str(value))
    home = tmp_path / "platform"
    (home / "broker").mkdir(parents=True)
    for folder in (home, home / "broker"):
        folder.chmod(0o700)
    with (
        closing(BrokerStore(f"sqlite:///{home / 'broker' / 'broker.db'}").open()) as store,
        Served(home, free_port()) as served,
        ThreadPoolExecutor(1) as waiting,
    ):
        store.add_user("ann")
        token = store.create_token("ann", "test", frozenset({"read", "submit"}))[1]
        with Client(served.url, token=token, home=tmp_path / "ann") as client:
            workflow = client.submit(sweep(sleep_s=2.0))
            cluster.wait(lambda: workflow.counts()[0] >= 2 and workflow.counts()[1], "two fits")
            done = {one.record_id for one in workflow.records if one.outcome == "succeeded"}
            (first,) = cluster.names("daskclusters")
            result = waiting.submit(workflow.result, LONGEST_S)
            served.kill()
            assert cluster.names("daskclusters") == [first]  # nobody was there to delete it
            served.start()
            cluster.wait(
                lambda: (
                    first not in cluster.names("daskclusters") and cluster.names("daskclusters")
                ),
                "its cluster to be replaced",
            )
            check_result(result.result(LONGEST_S))
            kept = [one.record_id for one in workflow.records if one.outcome == "succeeded"]
            assert done <= set(kept)
            assert len(kept) == len(DEPTHS) * FOLDS + 1  # each once, and the refit
            cluster.until_nothing_is_left()
