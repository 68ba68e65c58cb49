"""What the runner's tests share: a sealed dataset, jobs, and a look for processes left behind."""

import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import numpy as np
import psutil
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification
from sklearn.metrics import check_scoring
from sklearn.model_selection import StratifiedKFold

from fitcast.trainer.attempt.runner import AttemptRunner
from fitcast.trainer.attempt.spec import AttemptSpec, Job, JobBytes
from fitcast.trainer.sealing import SealedDataset, new_key, seal
from fitcast.trainer.sweep.datasets import DatasetContent
from fitcast.trainer.sweep.jobs import JobPickler
from fitcast.trainer.sweep.users_code import users_code_by_value
from tests.polling import LONGEST_S, wait_for

FIT_DEADLINE_S = 2 * LONGEST_S
"""No fit that waits for its test comes to it; it ends those whose test has failed."""

CPU_CLOCK_S = 0.02
"""How far two of the kernel's accounts of the same CPU time may lie apart: two of its ticks."""


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
        deadline_s: float | None = FIT_DEADLINE_S,
        scoring: Any = None,
        attempt: int = 1,
        share_bytes: int = 0,
        common_work: str = "",
        return_model: bool = False,
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
            job=job_bytes(made),
            return_model=return_model,
            fold=fold,
            threads=threads,
            memory_limit_bytes=memory_limit_bytes,
            deadline_s=deadline_s,
            share_bytes=share_bytes,
            common_work=common_work,
        )


def job_bytes(job: Job) -> JobBytes:
    """Pickle a job as a sweep does: this folder's modules by value."""
    with users_code_by_value() as dumps:
        return JobPickler(dumps).dump(job, "test")


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


class HeldKey:
    """A key that whoever opens a dataset waits for: a pipe with nothing in it yet."""

    def __init__(self, path: Path, key: bytes) -> None:
        self.path = path
        self._key = key
        self._fd = -1
        os.mkfifo(path)

    def asked_for(self) -> None:
        """Return once somebody waits for it: the opening is in its middle."""
        if self._fd >= 0:  # whoever asked before is gone
            os.close(self._fd)
        self._fd = os.open(self.path, os.O_WRONLY)

    def give(self) -> None:
        """Let the opening go on."""
        os.write(self._fd, self._key)
        os.close(self._fd)

    def is_given_up(self) -> bool:
        """Whether nobody waits for it any more."""
        poller = select.poll()
        poller.register(self._fd, select.POLLERR)
        return bool(poller.poll(10_000))


def held_blocks() -> list[str]:
    """What this process holds of datasets, rows and results."""
    ours = tuple(f"/memfd:fitcast-{what}" for what in ("dataset", "fold", "result"))
    found = []
    for fd in os.listdir("/proc/self/fd"):  # noqa: PTH208 - /proc
        with suppress(OSError):
            name = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115
            if name.startswith(ours):
                found.append(name)
    return found


def below(runner: AttemptRunner) -> list[psutil.Process]:
    """Every process under the fork server, but for its branches: they stay for the next fits."""
    branches = set(runner._server.branch_pids())
    found = psutil.Process(runner.server_pid).children(recursive=True)
    return [process for process in found if process.pid not in branches]


def nothing_below(runner: AttemptRunner) -> bool:
    """Wait until no process is left under the fork server; False if one stays."""
    return wait_for(lambda: not below(runner))


def hang() -> NoReturn:
    """Do nothing, for ever."""
    while True:
        threading.Event().wait()


def new_mark() -> str:
    """Return a number of seconds for ``sleep`` that no other process was given."""
    return f"86400.{uuid4().int}"


def marked(mark: str) -> list[int]:
    """Processes anywhere on this machine whose command holds a mark."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it may end while it is looked at
            if mark in " ".join(process.cmdline()) and process.pid != os.getpid():
                found.append(process.pid)
    return found


def own_worker(folder: Path, mark: str, told: str) -> "subprocess.Popen[str]":
    """Start a worker of its own, with a fit whose child is marked; it prints `told` once that runs.

    Parameters
    ----------
    told : str
        What `print` gets there, as source; ``runner`` is at hand.
    """
    script = folder / "worker.py"
    script.write_text(
        "import sys, threading\n"
        f"sys.path[:0] = {[str(Path(__file__).parents[n]) for n in (0, 2)]!r}\n"
        "from pathlib import Path\n"
        "from running import *\n"
        "from tests.polling import wait_for\n"
        "runner = AttemptRunner()\n"
        f"data = opened(runner, small_content(), Path({str(folder)!r}))\n"
        "def deed():\n"
        "    import subprocess\n"
        f"    subprocess.Popen(['sleep', {mark!r}], start_new_session=True)\n"
        "    hang()\n"
        "spec = data.spec(Does(deed))\n"
        "threading.Thread(target=runner.run_one, args=(spec,), daemon=True).start()\n"
        f"wait_for(lambda: marked({mark!r}))\n"
        f"print({told}, flush=True)\n"
        "hang()\n"
    )
    return subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
