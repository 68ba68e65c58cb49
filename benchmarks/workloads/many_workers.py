"""10,000 fits on 64 Dask workers: what the dispatcher gets done, and how much of them idles.

64 fork servers don't fit on a small machine. So the workers are real ones of Dask, in this
process, and their plugin sleeps a hundredth of a measured runtime where it would fit. Everything
else is the product: client, forecast, plan, dispatcher, Dask's scheduler, records. All of it
shares one interpreter here, so the figures are what one core can do, not what 64 could.
"""

import random
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dask
import numpy as np
from distributed import Client as DaskClient
from distributed import LocalCluster
from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from benchmarks import peers
from benchmarks.bench_sizing import DATA
from benchmarks.judging import Row
from benchmarks.report import Report
from fitcast.history.codec import read_parquet
from fitcast.history.records import Outcome
from fitcast.history.store import MemoryHistory
from fitcast.scheduler.backends.dask_config import dask_config
from fitcast.scheduler.backends.fixed import FixedWorkers
from fitcast.scheduler.backends.protocol import Listener
from fitcast.scheduler.plan.pools import Pool, WorkerSize
from fitcast.scheduler.session.client import Client
from fitcast.scheduler.worker.plugin import PLUGIN_NAME
from fitcast.trainer.attempt.spec import AttemptSpec, Measured
from fitcast.trainer.sweep.prepared import Sweep

WORKERS = 64
FITS = 10_000
FOLDS = 5
REPEATS = 3
SHORTER = 100.0
"""By what measured runtimes are divided."""

FORECAST_AS = (
    ("each alone", SVC(), 20_000),
    ("tiny", LogisticRegression(max_iter=50), 200),
)
"""What the fits pretend to be, and on how many rows."""

_BYTES = 150_000_000
_MEMORY_BYTES = 4 * 2**30


def run(quick: bool, repeats: int = REPEATS) -> Report:
    """Run it, several times, with fits forecast too short and about right for a process alone."""
    fits, repeats = (150, 1) if quick else (FITS, repeats)
    sleeps_s = runtimes_s(fits)
    rows = []
    for name, model, rows_of_data in FORECAST_AS[quick:]:
        several = [_once(model, rows_of_data, sleeps_s) for _ in range(repeats)]
        middle = {key: statistics.median(each[key] for each in several) for key in several[0]}
        rows.append({"": name, "runs": repeats, "fits": fits} | middle)
    return Report(
        f"{fits:,} fits on {WORKERS} Dask workers in this process, {sum(sleeps_s):.0f} s of "
        "sleeping in all",
        {"Dispatcher": rows},
        [],
        [
            f"without any overhead it would take {sum(sleeps_s) / WORKERS:.2f} s",
            "tiny: forecast to last milliseconds, so they go in batches; each alone: forecast "
            "to last longer at first, and corrected as they end",
            "processes: what was sent to workers; idle: share of workers' time without a fit",
        ],
    )


def runtimes_s(fits: int) -> list[float]:
    """Return measured runtimes of the campaign over `SHORTER`, drawn with a fixed seed."""
    measured = [r.runtime_s for r in read_parquet(DATA) if r.outcome is Outcome.SUCCEEDED]
    return [one / SHORTER for one in random.Random(0).choices(measured, k=fits)]


def _once(model: Any, rows: int, sleeps_s: list[float]) -> Row:
    X, y = make_classification(rows, 10, random_state=0)
    several = np.geomspace(1e-4, 1e4, len(sleeps_s) // FOLDS).tolist()
    sweep = Sweep(
        {"pretended": (model, {"C": several})},
        X,
        y,
        cv=FOLDS,
        refit=False,
        predict_method=None,
        name="many workers",
    )
    backend = SleepingBackend(sleeps_s)
    with TemporaryDirectory() as home, Client(backend, home=home, history=MemoryHistory()) as one:
        backend.all_there.wait(60)
        one.estimate(Sweep(LogisticRegression(), X[:200], y[:200]))  # the machine's speed is known
        began_s = time.perf_counter()
        workflow = one.submit(sweep)
        submit_s = time.perf_counter() - began_s
        try:
            workflow.wait(peers.TIMEOUT_S)
        except Exception:
            workflow.cancel()
            raise
        makespan_s = time.perf_counter() - began_s
        done = workflow.fits["outcome"].eq(Outcome.SUCCEEDED.value)
        if not done.all():
            raise RuntimeError(f"{int((~done).sum())} fits didn't succeed")
    return {
        "processes": backend.sent,
        "submit s": submit_s,
        "makespan s": makespan_s,
        "fits/s": len(sleeps_s) / makespan_s,
        "idle": 1.0 - backend.slept_s / (WORKERS * makespan_s),
    }


class SleepingBackend(FixedWorkers):
    """Workers of Dask in this process whose fits sleep; what `LocalBackend` is to a client.

    Parameters
    ----------
    sleeps_s : list of float
        How long each fit sleeps, in the order of their ids.
    """

    start_s = 1.0

    def __init__(self, sleeps_s: list[float]) -> None:
        super().__init__((Pool("sleeping", cpus=1, memory_bytes=_MEMORY_BYTES, workers=WORKERS),))
        self.sleeps_s = sleeps_s
        self.sent = 0
        self.slept_s = 0.0
        self.all_there = threading.Event()
        self._lock = threading.Lock()
        self._cluster: LocalCluster | None = None

    def start(self, key_dir: Path, listener: Listener) -> DaskClient:
        """Start scheduler and workers."""
        # As the real one: no stealing, little self-observation.
        with dask.config.set(dask_config()):
            self._cluster = LocalCluster(
                processes=False,
                n_workers=WORKERS,
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",
                memory_limit=0,
                silence_logs="CRITICAL",
                plugins=(SleepingFits(self),),
            )
        self._cluster.scheduler.add_plugin(_Watch(listener.workers_changed), name="fitcast-watch")
        return DaskClient(self._cluster, set_as_default=False)

    def present(self, client: DaskClient) -> list[WorkerSize]:
        """Return the workers that are there, under their Dask addresses."""
        info = client.scheduler_info(n_workers=-1)["workers"]
        if len(info) == WORKERS:
            self.all_there.set()
        pool = self.pools[0]
        return [
            WorkerSize(address, pool.name, pool.cpus, pool.memory_bytes, pool.cost_per_hour)
            for address in info
        ]

    def close(self) -> None:
        """End them."""
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            with suppress(Exception):
                cluster.close(timeout=20)

    def slept(self, seconds: float) -> None:
        """Note what a worker did."""
        with self._lock:
            self.sent += 1
            self.slept_s += seconds

    def sleep_s(self, spec: AttemptSpec) -> float:
        """Return how long a fit sleeps: fit_id is "c0012-f3"."""
        candidate, fold = spec.fit_id[1:].split("-f")
        return self.sleeps_s[int(candidate) * FOLDS + int(fold)]


class SleepingFits(WorkerPlugin):
    """Takes the place of the plugin that owns a fork server, under its name."""

    name = PLUGIN_NAME

    def __init__(self, backend: SleepingBackend) -> None:
        self.backend = backend
        self.runner = self  # cancelling and closing datasets ask for one

    def run(self, specs: tuple[AttemptSpec, ...]) -> list[Measured | None]:
        """Sleep for each fit, one after the other."""
        told = [self._sleep(spec) for spec in specs]
        self.backend.slept(sum(each.runtime_s for each in told))
        return list(told)

    def cancel(self, fit_id: str, attempt: int, workflow_id: str) -> bool:
        """Say that there is nothing to cancel: it ends by itself in a moment."""
        return False

    def close_dataset(self, dataset_id: str) -> None:
        """Do nothing: it was never opened."""

    def _sleep(self, spec: AttemptSpec) -> Measured:
        seconds = self.backend.sleep_s(spec)
        began = datetime.now(UTC)
        time.sleep(seconds)
        return Measured(
            outcome=Outcome.SUCCEEDED,
            runtime_s=seconds,
            cpu_s=seconds,
            peak_memory_bytes=_BYTES,
            base_memory_bytes=_BYTES,
            started_at=began,
            ended_at=began + timedelta(seconds=seconds),
            fit_time_s=seconds,
            scores={"score": 0.5},
        )


class _Watch(SchedulerPlugin):
    """Tells the dispatcher that a worker came or went."""

    name = "fitcast-watch"

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.on_change = on_change

    def add_worker(self, *args: Any, **kwargs: Any) -> None:
        self.on_change()

    def remove_worker(self, *args: Any, **kwargs: Any) -> None:
        self.on_change()
