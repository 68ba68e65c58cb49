"""A workflow can be reviewed in MLflow's own pages, as a browser shows them.

Needs Debian's chromium. Without it the tests are skipped; ``.ci/run`` installs it where it may.
"""

import re
import shutil
import subprocess

import pytest
from mlflow import MlflowClient
from sklearn.datasets import load_iris
from sklearn.neighbors import KNeighborsClassifier

from fitcast import Client, Sweep
from tests.mlflow_ui import served

CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium"
    ),
    pytest.mark.timeout(400),  # 84 s beside five busy processes on two cores
]


@pytest.fixture(scope="module")
def tracking_uri(tmp_path_factory):
    home = tmp_path_factory.mktemp("reviewed")
    X, y = load_iris(return_X_y=True)
    sweep = Sweep(
        {"knn": (KNeighborsClassifier(), {"n_neighbors": [3, 5]})}, X, y, cv=3, name="reviewed"
    )
    with Client(home=home) as client:
        client.submit(sweep).result()
        assert client.flush(60)
        return client.tracking_uri


@pytest.fixture(scope="module")
def pages(tracking_uri):
    """Serve MLflow's pages with ``fitcast ui``; return what makes the address of one of them."""
    with served(tracking_uri) as (_, address):
        yield lambda page: f"{address}#{page}"  # a browser keeps that when the token is taken off


@pytest.fixture
def browse(tmp_path):
    """Return a function that gives the text of a page as the browser made it."""

    def text(address: str, *wanted: str) -> str:
        told = ""
        for _ in range(3):  # a busy machine may need longer than the browser's own patience
            run = subprocess.run(
                [
                    CHROMIUM,
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-dev-shm-usage",
                    f"--user-data-dir={tmp_path / 'browser'}",
                    "--window-size=1500,1300",
                    "--virtual-time-budget=20000",
                    "--dump-dom",
                    address,
                ],
                capture_output=True,
                text=True,
                timeout=80,
            )
            told = re.sub(r"<[^>]*>", "\n", run.stdout)
            if all(f"\n{word}\n" in told for word in wanted):
                return told
        pytest.fail(f"not on the page: {[w for w in wanted if w not in told]}\n{told.strip()}")

    return text


def test_the_workflow_is_a_run_with_its_candidates_below_it(pages, browse, tracking_uri):
    client = MlflowClient(tracking_uri)
    experiment = client.get_experiment_by_name("fitcast")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    browse(pages(f"/experiments/{experiment.experiment_id}/runs"), "reviewed")
    child = next(run for run in runs if run.info.run_name == "knn n_neighbors=3")
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    address = pages(f"/experiments/{experiment.experiment_id}/runs/{child.info.run_id}")
    measured = ("runtime_s/measured", "cpu_s/measured", "peak_memory_bytes/measured", "score")
    forecast = (
        "runtime_s/forecast_p50",
        "runtime_s/forecast_p90",
        "peak_memory_bytes/forecast_p50",
    )
    # the candidate's page: its name, a link to its workflow, measured and forecast side by side
    browse(address, "knn n_neighbors=3", "Parent run", "reviewed", *measured, *forecast)
