"""Workers start wherever the user's code runs, and run none of it."""

import asyncio
import functools
import subprocess
import sys

import distributed.nanny
import pytest
from distributed import Worker
from distributed.process import AsyncProcess

from fitcast.scheduler.backends.dask_servers import PrivateWorker

SCRIPT = """
import numpy as np
from sklearn.linear_model import LogisticRegression
import fitcast

class Own(LogisticRegression):
    pass

def best():
    X = np.random.default_rng(0).normal(size=(100, 4))
    y = (X[:, 0] > 0).astype(int)
    with fitcast.Client(history=fitcast.MemoryHistory()) as client:
        result = client.submit(fitcast.Sweep((Own(), {"C": [0.1]}), X, y, cv=2)).result()
    return f"{result.best_params_} {isinstance(result.best_estimator_, Own)}"

"""
UNGUARDED = SCRIPT + "print(best())\n"
IN_A_TASK = (
    SCRIPT
    + """
if __name__ == "__main__":
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        with Client(cluster) as dask:
            print(dask.submit(best).result())
"""
)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        pytest.param(UNGUARDED, ["script.py"], id="without a guard"),
        pytest.param(UNGUARDED, ["-"], id="on standard input", marks=SLOW),
        pytest.param(UNGUARDED, ["-m", "script"], id="as a module", marks=SLOW),
        pytest.param(IN_A_TASK, ["script.py"], id="in a task of another Dask worker", marks=SLOW),
    ],
)
def test_a_script_runs_once(script, arguments, tmp_path, monkeypatch, no_process_left):
    monkeypatch.setenv("FITCAST_HOME", str(tmp_path / "home"))
    (tmp_path / "script.py").write_text(script)
    with (tmp_path / "script.py").open() as text:
        ran = subprocess.run(
            [sys.executable, *arguments],
            stdin=text,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "{'C': 0.1} True\n"


def process_of(worker):
    factory = functools.partial(worker, "tcp://127.0.0.1:0")
    target = functools.partial(print, worker_factory=factory)

    async def made():
        process = distributed.nanny.AsyncProcess(target=target, name="worker")
        process.close()
        return process

    return asyncio.run(made())


def test_processes_of_other_workers_are_started_as_ever():
    assert type(process_of(Worker)) is AsyncProcess
    assert type(process_of(PrivateWorker)) is not AsyncProcess
