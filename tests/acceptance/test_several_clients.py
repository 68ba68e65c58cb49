"""Several clients in one process: each has its own store, and none makes another noisy."""

import subprocess
import sys

import pytest

SCRIPT = """
import numpy as np
from sklearn.linear_model import LogisticRegression
from fitcast import Client, Sweep

X = np.random.default_rng(0).normal(size=(100, 4))
y = (X[:, 0] > 0).astype(int)
first, second = Client(home="first"), Client(home="second")
runs = [client.submit(Sweep(LogisticRegression(), X, y, cv=2)) for client in (first, second)]
assert all(run.result().mlflow_url for run in runs)
first.close()
again = Client(home="first")
assert again.submit(Sweep(LogisticRegression(), X, y, cv=2)).result().mlflow_url
again.close()
second.close()
"""


@pytest.mark.slow
def test_new_homes_are_made_at_once_and_nothing_is_printed(tmp_path, no_process_left):
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == ran.stderr == ""
