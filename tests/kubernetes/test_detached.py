"""A sweep that the background process runs on a cluster, after whoever submitted it has ended."""

import json

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score
from sklearn.tree import DecisionTreeClassifier

from fitcast import Client, Sweep
from fitcast.scheduler.session.following import Following
from tests.background import ended_after
from tests.kubernetes.estimators import SlowTree
from tests.polling import LONGEST_S

pytestmark = pytest.mark.timeout(400)

ROWS = np.random.default_rng(0).normal(size=(300, 6))
TARGET = (ROWS[:, 0] + 0.5 * ROWS[:, 1] > 0).astype(int)
POOLS = [{"name": "small", "cpus": 1, "memory_bytes": "400Mi", "max_workers": 2}]


def worst(table):
    return int(np.argmax(table["rank_test_score"]))


@pytest.fixture
def settings(cluster, monkeypatch):
    """Have clients without a backend of their own, and the background process, use the cluster."""
    wanted = {name: cluster.settings.get(name) for name in ("image", "namespace", "kubeconfig")}
    for name, value in (wanted | {"pools": json.dumps(POOLS)}).items():
        if value is not None:
            monkeypatch.setenv(f"FITCAST_KUBERNETES_{name.upper()}", str(value))


@pytest.mark.kubernetes
def test_it_ends_on_the_cluster_and_its_own_rule_is_asked_there(cluster, settings, tmp_path):
    home = tmp_path / "home"
    sweep = Sweep((SlowTree(sleep_s=1.0), {"max_depth": [1, 3]}), ROWS, TARGET, cv=3, refit=worst)
    with ended_after(home):
        with Client(home=home, start_workers=False) as client:
            name = client.submit(sweep, detach=True).id
        workflow = Following(home).workflow(name)
        cluster.wait(lambda: workflow.counts()[0] > 0, "a fit to be done")
        assert {row["pool"] for _, row in workflow.fits.iterrows() if row["pool"]} == {"small"}
        result = workflow.result(LONGEST_S)
    for depth, mean in zip((1, 3), result.cv_results_["mean_test_score"], strict=True):
        trees = DecisionTreeClassifier(max_depth=depth, random_state=0)
        assert mean == cross_val_score(trees, ROWS, TARGET, cv=3).mean()
    assert result.best_index_ == int(np.argmin(result.cv_results_["mean_test_score"]))
    assert result.best_estimator_.max_depth == result.best_params_["max_depth"]
    cluster.until_nothing_is_left()
