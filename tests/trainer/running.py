"""What the runner's tests share: a sealed dataset, jobs, and a look for processes left behind."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import psutil
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification
from sklearn.metrics import check_scoring
from sklearn.model_selection import StratifiedKFold

from fitcast.trainer.attempt.runner import AttemptRunner
from fitcast.trainer.attempt.spec import AttemptSpec, Job
from fitcast.trainer.sealing import SealedDataset, new_key, seal
from fitcast.trainer.sweep.datasets import DatasetContent


class Does(ClassifierMixin, BaseEstimator):
    """A classifier whose fit does what it is told."""

    def __init__(self, deed: Callable[[], Any] | None = None) -> None:
        self.deed = deed

    def fit(self, X: Any, y: Any) -> "Does":
        self.classes_ = np.unique(y)
        self.given_ = self.deed() if self.deed is not None else None
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.classes_[0])


@dataclass
class Opened:
    """A dataset that a runner has open."""

    runner: AttemptRunner
    content: DatasetContent
    sealed: SealedDataset
    key_file: Path
    held_bytes: int
    numbers: list[int] = field(default_factory=lambda: [0])

    def spec(
        self,
        estimator: Any,
        *,
        fold: int = 0,
        threads: int = 1,
        memory_limit_bytes: int = 4 * 2**30,
        deadline_s: float | None = 60.0,
        scoring: Any = None,
        attempt: int = 1,
        share_bytes: int = 0,
        common_work: str = "",
        **job: Any,
    ) -> AttemptSpec:
        self.numbers[0] += 1
        made = Job(
            estimator=estimator,
            params=job.pop("params", {}),
            scorer=check_scoring(estimator, scoring),
            **job,
        )
        return AttemptSpec(
            workflow_id="w",
            fit_id=f"c{self.numbers[0]:04}-f{fold}",
            attempt=attempt,
            dataset_id=self.sealed.dataset_id,
            job=by_value(made),
            fold=fold,
            threads=threads,
            memory_limit_bytes=memory_limit_bytes,
            deadline_s=deadline_s,
            share_bytes=share_bytes,
            common_work=common_work,
        )


def by_value(thing: Any) -> bytes:
    """Pickle with this folder's test modules by value: the fork server can't import them."""
    import sys

    modules = [m for n, m in sys.modules.items() if n.split(".")[-1] in _TEST_MODULES and m]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        data: bytes = cloudpickle.dumps(thing, protocol=5)
        return data
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


_TEST_MODULES = {
    "running",
    "test_memory_guard",
    "test_runner",
    "test_runner_batches",
    "test_runner_ends",
    "test_runner_harm",
}


def small_content(rows: int = 400, columns: int = 6) -> DatasetContent:
    X, y = make_classification(rows, columns, random_state=0)
    return DatasetContent(X=X, y=y, columns={}, splits=list(StratifiedKFold(5).split(X, y)))


def opened(runner: AttemptRunner, content: DatasetContent, folder: Path) -> Opened:
    key = new_key()
    key_file = folder / "key"
    key_file.write_bytes(key)
    sealed = seal(content, str(folder / "data.sealed"), key, workflow_id="w")
    held = runner.open_dataset(sealed.dataset_id, sealed.uri, key_file)
    return Opened(runner, content, sealed, key_file, held)


def below(runner: AttemptRunner) -> list[psutil.Process]:
    """Every process under the fork server."""
    return psutil.Process(runner.server_pid).children(recursive=True)


def nothing_below(runner: AttemptRunner, timeout_s: float = 3.0) -> bool:
    return wait_for(lambda: not below(runner), timeout_s)


def marked(mark: str) -> list[int]:
    """Processes anywhere on this machine whose command holds a mark."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it may end while it is looked at
            if mark in " ".join(process.cmdline()) and process.pid != os.getpid():
                found.append(process.pid)
    return found


def wait_for(condition: Callable[[], Any], timeout_s: float = 10.0) -> bool:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
