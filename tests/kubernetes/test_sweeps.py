"""Sweeps in an emulated cluster: real pods, real Dask, the real operator, and what goes wrong."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.tree import DecisionTreeClassifier

from fitcast import Client, KubernetesBackend, KubernetesPool, Sweep
from fitcast.history.store import MemoryHistory
from tests.emulated_cluster.cluster import EmulatedCluster
from tests.kubernetes.conftest import LARGE, MIB
from tests.kubernetes.estimators import Slow, SlowTree
from tests.polling import LONGEST_S

pytestmark = pytest.mark.timeout(400)  # most take half a minute on an idle machine

ROWS = np.random.default_rng(0).normal(size=(300, 6))
TARGET = (ROWS[:, 0] + 0.5 * ROWS[:, 1] > 0).astype(int)
WORKER = {"dask.org/component": "worker"}
SCHEDULER = {"dask.org/component": "scheduler"}


def sweep(models, cv=5, **given):
    return Sweep(models, ROWS, TARGET, cv=cv, refit=False, **given)


def until_done(cluster, workflow, count):
    cluster.wait(lambda: workflow.counts()[0] >= count, f"{count} fits to be done")


def until_seen(cluster, client, workflow):
    """Wait until a fit runs, and it is known which pods the workers are in."""
    cluster.wait(lambda: workflow.counts()[1] > 0, "a fit to run")
    (workers,) = client._platform.engine._backend.made
    ready = workers._link.ready
    known = workers._observer._pod_of
    cluster.wait(lambda: ready() and set(ready()) <= set(known), "pods to be looked at")


@pytest.mark.slow
def test_75_fits_over_two_pools_survive_a_killed_worker_and_a_killed_scheduler(
    cluster, client_of, no_process_left
):
    models = {
        "tree": (SlowTree(sleep_s=0.15), {"max_depth": [1, 2, 3, 4, 5]}),
        "hungry": (SlowTree(allocate_mib=450, sleep_s=0.05), {"max_depth": [1, 2, 3, 4, 5]}),
        "lr": (LogisticRegression(), {"C": [0.01, 0.1, 1.0, 10.0, 100.0]}),
    }
    client = client_of()
    workflow = client.submit(sweep(models))
    until_done(cluster, workflow, 5)
    (first, *_) = cluster.names("pods", WORKER)
    cluster.kill(first)
    until_done(cluster, workflow, 15)
    before = workflow.fits
    kept = before[before["state"] == "done"].set_index("fit_id")["ended_at"]
    cluster.kill(cluster.names("pods", SCHEDULER)[0])
    result = workflow.wait(LONGEST_S).result()

    fits = workflow.fits
    assert (fits["outcome"] == "succeeded").all()
    assert len(fits) == 75
    assert set(fits["pool"]) == {"small", "large"}
    # What was done before the scheduler died was not run again.
    assert (fits.set_index("fit_id")["ended_at"][kept.index] == kept).all()
    scores = result.leaderboard.set_index("candidate")["mean_score"]
    for depth in (1, 3, 5):
        plain = DecisionTreeClassifier(max_depth=depth, random_state=0)
        expected = cross_val_score(plain, ROWS, TARGET, cv=5).mean()
        assert scores[f"tree max_depth={depth}"] == pytest.approx(expected)
        assert scores[f"hungry max_depth={depth}"] == pytest.approx(expected)
    client.close()
    cluster.until_nothing_is_left()


@pytest.mark.kubernetes
def test_pods_that_are_taken_away_cost_nothing(cluster, client_of):
    client = client_of()
    workflow = client.submit(sweep({"slow": Slow(sleep_s=8.0)}, cv=2))
    until_seen(cluster, client, workflow)
    (first, *rest) = cluster.names("pods", WORKER)
    cluster.evict(first)
    for pod in rest:
        cluster.preempt(pod)
    workflow.wait(LONGEST_S)
    assert set(workflow.fits["outcome"]) == {"succeeded"}
    outcomes = [record.outcome.value for record in workflow.records]
    assert outcomes.count("preempted") >= 1
    assert outcomes.count("succeeded") == 2
    assert set(outcomes) == {"preempted", "succeeded"}


@pytest.mark.kubernetes
def test_a_server_an_operator_and_watches_that_are_away_hold_nothing_up(cluster, client_of):
    workflow = client_of().submit(sweep({"slow": Slow(sleep_s=4.0)}, cv=10))
    until_done(cluster, workflow, 1)
    cluster.stop_operator()
    cluster.stop_api()
    try:
        until_done(cluster, workflow, 3)  # what runs goes on
        cluster.wait(lambda: workflow.notes, "the trouble to be told")
        assert "doesn't answer" in workflow.notes[0]
        until_done(cluster, workflow, 8)
    finally:
        cluster.start_api()
        cluster.start_operator()
    workflow.wait(LONGEST_S)
    assert set(workflow.fits["outcome"]) == {"succeeded"}


@pytest.mark.kubernetes
def test_fits_whose_connection_breaks_are_run_again_and_what_runs_is_ended(cluster, client_of):
    workflow = client_of(forwarded=True).submit(sweep({"slow": Slow(sleep_s=5.0)}, cv=4))
    until_done(cluster, workflow, 1)
    cluster.wait(lambda: workflow.counts()[1] > 0, "the next to run")
    cluster.cut_forwards()  # Dask's client is connected again before anybody looks
    workflow.wait(LONGEST_S)
    assert set(workflow.fits["outcome"]) == {"succeeded"}
    outcomes = [record.outcome.value for record in workflow.records]
    assert outcomes.count("preempted") >= 1
    assert set(outcomes) == {"preempted", "succeeded"}


@pytest.mark.slow
def test_a_pool_without_room_is_told_and_done_without(cluster, client_of):
    nowhere = KubernetesPool(
        name="nowhere",
        cpus=1,
        memory_bytes=400 * MIB,
        max_workers=3,
        price_per_hour=0.01,
        node_selector={"disk": "none"},
    )
    dear = KubernetesPool(
        name="dear", cpus=1, memory_bytes=400 * MIB, max_workers=1, price_per_hour=9.0
    )
    workflow = client_of(nowhere, dear).submit(sweep({"slow": Slow(sleep_s=0.2)}, cv=3))
    told = "didn't match Pod's node affinity"
    cluster.wait(lambda: told in " ".join(workflow.notes), "the trouble to be told")
    workflow.wait(LONGEST_S)
    assert set(workflow.fits["pool"]) == {"dear"}


def test_from_outside_the_cluster_a_port_is_forwarded(cluster, client_of):
    workflow = client_of(forwarded=True).submit(sweep({"lr": LogisticRegression()}, cv=2))
    workflow.wait(LONGEST_S)
    assert set(workflow.fits["outcome"]) == {"succeeded"}


@pytest.mark.kubernetes
def test_a_dataset_in_a_place_that_all_reach_is_read_there(cluster, client_of):
    root = cluster.shared_folder
    root.mkdir()
    workflow = client_of(dataset_root=f"file://{root}").submit(
        sweep({"slow": Slow(sleep_s=1.0)}, cv=2)
    )
    cluster.wait(lambda: workflow.counts()[1] > 0, "a fit to run")
    assert len(list(root.glob("*.sealed"))) == 1
    assert set(workflow.wait(LONGEST_S).fits["outcome"]) == {"succeeded"}
    cluster.wait(lambda: not list(root.iterdir()), "the dataset to go")


@pytest.mark.kubernetes
def test_a_node_that_is_lost_costs_nothing(cluster, client_of):
    client = client_of()
    workflow = client.submit(sweep({"slow": Slow(sleep_s=8.0)}, cv=3))
    until_seen(cluster, client, workflow)
    (scheduler,) = cluster.objects("pods", SCHEDULER)
    nodes = {pod["spec"]["nodeName"] for pod in cluster.objects("pods", WORKER)}
    cluster.cut_watches()
    # A node that only runs workers, if there is one, else the one that runs all.
    cluster.remove_node(sorted(nodes, key=lambda node: node == scheduler["spec"]["nodeName"])[0])
    cluster.add_node("three")
    workflow.wait(LONGEST_S)
    assert set(workflow.fits["outcome"]) == {"succeeded"}
    assert {r.outcome.value for r in workflow.records} <= {"preempted", "succeeded"}


@pytest.mark.kubernetes
def test_a_container_that_is_ended_out_of_memory_proves_it_of_the_one_fit_there(cluster, client_of):
    client = client_of()
    workflow = client.submit(sweep({"slow": Slow(sleep_s=8.0)}, cv=2))
    until_seen(cluster, client, workflow)
    cluster.kill(cluster.names("pods", WORKER)[0], for_memory=True)
    workflow.wait(LONGEST_S)
    fits = workflow.fits.set_index("fit_id")
    assert set(fits["outcome"]) == {"succeeded"}
    (failed,) = [r for r in workflow.records if r.outcome.value != "succeeded"]
    assert failed.outcome.value == "out_of_memory"
    assert "OOMKilled" in failed.error_message
    again = fits.loc[f"c{failed.candidate_index:04d}-f{failed.fold}"]
    assert (again["attempts"], again["pool"]) == (2, "large")


@pytest.mark.kubernetes
def test_an_operator_that_watches_every_namespace_does_as_well(tmp_path):
    with EmulatedCluster(tmp_path, everywhere=True) as cluster:
        backend = KubernetesBackend([LARGE], **cluster.settings)
        with Client(backend, home=tmp_path / "home", history=MemoryHistory()) as client:
            workflow = client.submit(sweep({"lr": LogisticRegression()}, cv=2)).wait(LONGEST_S)
            assert set(workflow.fits["outcome"]) == {"succeeded"}
        cluster.until_nothing_is_left()
