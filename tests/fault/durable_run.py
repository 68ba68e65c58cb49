"""A client that begins or goes on with a workflow, to be killed at a chosen moment.

``python -m tests.fault.durable_run HOME [--at N]`` begins a workflow, or goes on with the one that
is there, and prints what came of it. With ``--at`` it kills itself before its N-th operation on a
file of the workflow: before a folder is made, a file opened for writing, renamed or removed.
"""

import argparse
import json
import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from fitcast import Client, LocalBackend, Pool, Sweep
from fitcast.history.records import Outcome
from fitcast.history.store import MemoryHistory
from fitcast.scheduler.kept.workflow_folder import folders
from tests.fault.estimators import Lingers
from tests.polling import LONGEST_S

MIB = 2**20
RESULTS = re.compile(r"\d{8}-[0-9a-f]{16}")
OPERATIONS = frozenset({"open", "os.rename", "os.mkdir", "os.remove"})
FOLDS = 3
DEPTHS = (1, 2, 3)

# ruff: noqa: T201 - its parent reads what it prints


def data() -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(0).normal(size=(300, 4))
    return X, (X[:, 0] + 0.3 * X[:, 1] > 0).astype(int)


def sweep(linger_s: float = 0.05) -> Sweep:
    grid = {"depth": list(DEPTHS), "linger_s": [linger_s]}
    return Sweep({"m": (Lingers(), grid)}, *data(), cv=FOLDS, name="durable")


def kill_before(home: Path, number: int) -> None:
    """Let this process kill itself before its n-th operation on a file of a workflow."""
    below, lock, seen = f"{home}/workflows/", threading.Lock(), [0]

    def look(event: str, args: tuple[Any, ...]) -> None:
        if event not in OPERATIONS or not isinstance(args[0], str | os.PathLike):
            return
        path = os.fspath(args[0])
        if not (path.startswith(below) or RESULTS.search(path)):
            return  # those of results are opened relative to their folder
        if event == "open" and not int(args[2]) & (os.O_WRONLY | os.O_RDWR):
            return
        with lock:
            seen[0] += 1
            if seen[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)


def main() -> None:
    ask = argparse.ArgumentParser()
    ask.add_argument("home", type=Path)
    ask.add_argument("--at", type=int, default=0)
    ask.add_argument("--linger-s", type=float, default=0.05)
    asked = ask.parse_args()
    if asked.at:
        kill_before(asked.home, asked.at)
    pool = Pool("two", cpus=1, memory_bytes=600 * MIB, workers=2)
    with Client(LocalBackend([pool]), home=asked.home, history=MemoryHistory()) as client:
        left = [folder.workflow_id for folder in folders(asked.home / "workflows")]
        before: list[str] = []
        if left:
            old = client.workflow(left[0])
            before = [r.record_id for r in old.records if r.outcome is Outcome.SUCCEEDED]
            ended = old.state != "interrupted"
            workflow = old if ended else client.resume(left[0])
        else:
            workflow = client.submit(sweep(asked.linger_s))
        print(workflow.id, flush=True)
        result = workflow.result(LONGEST_S)
        told = {
            "before": before,
            "succeeded": [
                (record.candidate_index, record.fold, record.record_id)
                for record in workflow.records
                if record.outcome is Outcome.SUCCEEDED
            ],
            "scores": {
                key: [float(v) for v in values]
                for key, values in result.cv_results_.items()
                if "test_score" in key
            },
            "predictions": {k: v.tolist() for k, v in result.predictions.items()},
            "best": str(result.best_params_),
            "model": int(result.best_estimator_.predict(data()[0]).sum()),
        }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
