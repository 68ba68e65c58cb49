"""Real sweeps on real Dask workers with a real MLflow store."""

import os
import signal
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.tree import DecisionTreeClassifier

from fitcast import Client, LocalBackend, Pool, SizedSearchCV, Sweep, errors
from fitcast.history.store import MemoryHistory
from tests.acceptance.estimators import Majority
from tests.leases import sealed_datasets
from tests.listing import files_matching
from tests.polling import LONGEST_S, wait_for

MIB = 2**20
X, Y = make_classification(400, 8, random_state=0)
TREES = {"max_depth": [2, 4], "random_state": [0]}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    backend = LocalBackend(
        [
            Pool("small", cpus=1, memory_bytes=400 * MIB),
            Pool("large", cpus=1, memory_bytes=900 * MIB),
        ]
    )
    with Client(backend, home=tmp_path_factory.mktemp("home")) as opened:
        yield opened


def test_scores_model_and_predictions_are_those_of_scikit_learn(client):
    sweep = Sweep({"tree": (DecisionTreeClassifier(), TREES)}, X, Y, cv=4, scoring="roc_auc")
    workflow = client.submit(sweep)
    assert workflow.state in ("preparing", "running")
    result = workflow.result(timeout_s=LONGEST_S)
    theirs = GridSearchCV(DecisionTreeClassifier(), TREES, cv=4, scoring="roc_auc").fit(X, Y)
    for key, values in theirs.cv_results_.items():
        if "time" not in key and key != "params":
            np.testing.assert_array_equal(result.cv_results_[key], values)
    assert result.best_params_ == theirs.best_params_
    np.testing.assert_array_equal(result.best_estimator_.predict(X), theirs.predict(X))
    shallow = cross_val_predict(DecisionTreeClassifier(max_depth=2, random_state=0), X, Y, cv=4)
    label = sweep.prepare().candidates[0].label
    np.testing.assert_array_equal(result.predictions[label], shallow)
    fits = workflow.fits
    assert (fits["outcome"] == "succeeded").all()
    assert (fits["runtime_s"] > 0).all()
    assert (fits["peak_memory_bytes"] > 50 * MIB).all()
    assert workflow.eta.p90_s == 0.0


@pytest.mark.slow
def test_a_failing_fit_keeps_its_traceback_and_the_rest_goes_on(client):
    sweep = Sweep({"m": (Majority(), {"fail": [False, True]})}, X, Y, cv=3, refit=False)
    workflow = client.submit(sweep)
    result = workflow.result(timeout_s=LONGEST_S)
    assert list(result.errors["outcome"]) == ["failed"] * 3
    assert result.leaderboard.iloc[0]["candidate"] == "m fail=False"
    assert (workflow.fits["attempts"] <= 2).all()  # in company once, then alone
    logs = workflow.logs("c0001-f0")
    assert "Traceback" in logs
    assert "told to fail" in logs


def test_out_of_memory_is_repaired_by_a_larger_worker(client):
    sweep = Sweep(Majority(allocate_mib=450), X, Y, cv=2, refit=False)
    workflow = client.submit(sweep)
    workflow.result(timeout_s=LONGEST_S)
    fits = workflow.fits
    assert (fits["outcome"] == "succeeded").all()
    assert (fits["pool"] == "large").all()
    assert (fits["peak_memory_bytes"] > 450 * MIB).all()


def test_a_fit_larger_than_every_worker_says_what_it_needs(client):
    sweep = Sweep({"m": (Majority(), {"allocate_mib": [0, 3000]})}, X, Y, cv=2, refit=False)
    workflow = client.submit(sweep)
    errors_ = workflow.result(timeout_s=LONGEST_S).errors
    assert list(errors_["outcome"]) == ["out_of_memory"] * 2
    assert errors_["error"].str.contains("needs more than").all()


def test_out_of_time_is_said_so(client):
    sweep = Sweep(Majority(sleep_s=60.0), X, Y, cv=2, refit=False, deadline_s=0.5)
    workflow = client.submit(sweep)
    with pytest.raises(errors.WorkflowFailedError):
        workflow.result(timeout_s=LONGEST_S)
    assert set(workflow.fits["outcome"]) == {"out_of_time"}


def test_cancel_stops_running_fits(client):
    workflow = client.submit(Sweep(Majority(sleep_s=10 * LONGEST_S), X, Y, cv=3, refit=False))
    assert wait_for(lambda: (workflow.fits["state"] == "running").any())
    workflow.cancel()
    workflow.wait(timeout_s=LONGEST_S)
    assert workflow.state == "cancelled"
    with pytest.raises(errors.WorkflowCancelledError):
        workflow.result()
    # The worker is free again at once.
    client.submit(Sweep(Majority(), X, Y, cv=2)).result(timeout_s=LONGEST_S)


def test_two_workflows_from_two_threads(client):
    results = {}

    def go(name, depth):
        tree = DecisionTreeClassifier(max_depth=depth, random_state=0)
        results[name] = client.submit(Sweep(tree, X, Y, cv=5, name=name)).result(
            timeout_s=LONGEST_S
        )

    threads = [threading.Thread(target=go, args=(f"w{depth}", depth)) for depth in (1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results["w1"].best_score_ != results["w5"].best_score_


def test_the_drop_in_search_gives_grid_search_s_numbers(client):
    grid = {"C": [0.1, 1.0]}
    ours = SizedSearchCV(LogisticRegression(), grid, cv=3, client=client).fit(X, Y)
    theirs = GridSearchCV(LogisticRegression(), grid, cv=3).fit(X, Y)
    np.testing.assert_array_equal(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"]
    )
    assert ours.best_params_ == theirs.best_params_
    np.testing.assert_array_equal(ours.predict_proba(X), theirs.predict_proba(X))
    assert ours.score(X, Y) == theirs.score(X, Y)


def test_a_killed_worker_costs_nothing(client):
    sweep = Sweep({"m": (Majority(), {"sleep_s": [0.4, 0.5]})}, X, Y, cv=4, refit=False)
    workflow = client.submit(sweep)
    assert wait_for(lambda: (workflow.fits["state"] == "running").any())
    address = workflow.fits["worker"].dropna().iloc[0]
    pid = client._platform.engine._shared._attempts.dask.run(os.getpid, workers=[address])[address]
    os.kill(pid, signal.SIGKILL)
    workflow.result(timeout_s=LONGEST_S)
    assert (workflow.fits["outcome"] == "succeeded").all()


def test_estimates_run_nothing_and_name_the_pool(client):
    estimate = client.estimate(Sweep(DecisionTreeClassifier(), X, Y, cv=3))
    assert len(estimate.fits) == 3
    assert set(estimate.fits["pool"]) <= {"small", "large"}
    assert 0 < estimate.eta.p10_s <= estimate.eta.p50_s <= estimate.eta.p90_s
    assert (estimate.fits["why"].str.len() > 5).all()


def test_bad_input_starts_nothing(client):
    before = len(client.workflows())
    for sweep in (
        Sweep(DecisionTreeClassifier(), X, Y[:-1]),
        Sweep((DecisionTreeClassifier(), {"depth": [1]}), X, Y),
        Sweep(DecisionTreeClassifier(), X, Y, scoring="roc_au"),
    ):
        with pytest.raises(errors.InvalidInputError):
            client.submit(sweep)
    with pytest.raises(errors.FitTooLargeError, match="largest worker"):
        client.submit(Sweep(DecisionTreeClassifier(), X, Y, memory_bytes=10**12))
    assert len(client.workflows()) == before


@pytest.mark.parametrize(
    "pool",
    [
        lambda: Pool("p", cpus=0, memory_bytes=1),
        lambda: Pool("", cpus=1, memory_bytes=1),
        lambda: Pool("p", cpus=1, memory_bytes=-5),
        lambda: LocalBackend([]),
        lambda: LocalBackend([Pool("p", 1, 1), Pool("p", 1, 1)]),
        lambda: LocalBackend([Pool("p", cpus=1, memory_bytes=2**60)]),
        lambda: LocalBackend([Pool("p", cpus=4096, memory_bytes=2**20)]),
    ],
)
def test_pools_that_contradict_themselves_are_refused(pool):
    with pytest.raises(errors.InvalidPoolError):
        pool()


@contextmanager
def standing_still(workers):
    """Stop the processes of workers, so that they open nothing meanwhile."""
    stopped = [worker for worker in workers if "spawn_main" in " ".join(worker.cmdline())]
    for worker in stopped:
        worker.suspend()
    try:
        yield
    finally:
        for worker in stopped:
            worker.resume()


@pytest.mark.slow
def test_a_damaged_dataset_stops_the_workflow_before_any_fit(tmp_path):
    with Client(home=tmp_path, history=MemoryHistory()) as client:
        client.submit(Sweep(Majority(), X, Y, cv=2)).wait(LONGEST_S)
        with standing_still(psutil.Process().children()):
            workflow = client.submit(Sweep(DecisionTreeClassifier(), X, Y, cv=3))
            file = Path(workflow._run.sealed.uri)
            content = bytearray(file.read_bytes())
            content[-10] ^= 1
            file.write_bytes(content)
        with pytest.raises(errors.SealError):
            workflow.result(timeout_s=LONGEST_S)
        assert workflow.fits["runtime_s"].isna().all()


def test_the_loop_closes_and_nothing_is_left_behind(tmp_path):
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    sweep = Sweep({"tree": (DecisionTreeClassifier(), TREES)}, X, Y, cv=3, name="loop")
    with Client(home=tmp_path) as client:
        workflow = client.submit(sweep)
        assert workflow.result(timeout_s=LONGEST_S).mlflow_url
        assert workflow._run.closed.wait(LONGEST_S)
        lease = client._platform.engine._keys.path
        assert not sealed_datasets(tmp_path)
        assert not files_matching(lease, "*.key")
    assert not lease.exists()
    left = {child.pid for child in psutil.Process().children(recursive=True)} - before
    names = {psutil.Process(pid).cmdline()[-1] for pid in left if psutil.pid_exists(pid)}
    assert all("resource_tracker" in name for name in names), names
    with Client(home=tmp_path) as again:
        again.learn()
        # 2 candidates × 3 folds and the refit, read from MLflow
        assert len(again._platform.engine._learner._records) == 7
