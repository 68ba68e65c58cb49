"""What people run such sweeps with now, and fitcast, as ways of doing the same work.

In: starting and warming each one's workers, running a task with it, what it tells. Not in: which
tasks (:mod:`benchmarks.workloads`), the clock (:mod:`benchmarks.side_by_side`).

Peers get one search over all candidates where they can: a pipeline whose only step is another
estimator from candidate to candidate. A search per model would have them wait for the last fit of
each; it is a way of its own.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import joblib
import numpy as np
import numpy.typing as npt
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, ParameterGrid
from sklearn.pipeline import Pipeline

from benchmarks.kept_open import opened as opened_or_kept
from benchmarks.side_by_side import OURS, Told, Way, Work
from fitcast.errors import FitcastError
from fitcast.history.records import Outcome
from fitcast.history.store import HistoryStore
from fitcast.scheduler.backends.local import LocalBackend
from fitcast.scheduler.backends.machine import usable_cpus
from fitcast.scheduler.session.client import Client
from fitcast.scheduler.session.workflow import Workflow
from fitcast.trainer.sweep.prepared import Sweep

TIMEOUT_S: Final = 300.0
"""A workflow that takes longer is cancelled: its row says so, the other benchmarks go on."""

_WARM_ROWS = 300
_WARM_PAUSE_S = 0.2  # so long that every worker of a pool gets one of the tasks


@dataclass(frozen=True, eq=False)
class Task:
    """Candidates and the data that they are tried on."""

    models: Mapping[str, tuple[Any, dict[str, list[Any]]]]
    X: npt.NDArray[np.float64]
    y: npt.NDArray[Any]
    cv: Any = 5
    scoring: str = "roc_auc"

    def one_search(self) -> list[tuple[Any, Any]]:
        """Return one estimator with the grids of all candidates."""
        whole = Pipeline([("model", next(iter(self.models.values()))[0])])
        grids = [
            {"model": [estimator], **{f"model__{name}": several for name, several in grid.items()}}
            for estimator, grid in self.models.values()
        ]
        return [(whole, grids)]

    def search_per_model(self) -> list[tuple[Any, Any]]:
        """Return the estimators with their grids."""
        return list(self.models.values())

    def single_threaded(self) -> "Task":
        """Return the same with estimators that are told to use one thread."""
        models = {}
        for name, (estimator, grid) in self.models.items():
            # scikit-learn's own use one unless told otherwise
            own = type(estimator).__module__.startswith("sklearn.")
            params = {} if own else {"n_jobs": 1}
            models[name] = (clone(estimator).set_params(**params), grid)
        return replace(self, models=models)

    def sweep(self, name: str) -> Sweep:
        """Return it as a sweep of ours."""
        return Sweep(
            dict(self.models),
            self.X,
            self.y,
            cv=self.cv,
            scoring=self.scoring,
            refit=False,
            name=name,
        )

    @property
    def candidates(self) -> int:
        """How many there are."""
        return sum(len(ParameterGrid(grid)) for _, grid in self.models.values())

    def warm_up(self) -> None:
        """Fit each model once on few rows: imports all that its fits need."""
        for estimator, _ in self.models.values():
            clone(estimator).fit(self.X[:_WARM_ROWS], self.y[:_WARM_ROWS])

    def small(self) -> "Task":
        """Return it with few rows, to be sent to workers that shall get warm."""
        return replace(self, X=self.X[:_WARM_ROWS], y=self.y[:_WARM_ROWS], cv=5)


def told_by(results: Sequence[Mapping[str, Any]], splits: int) -> Told:
    """Return what ``cv_results_`` of searches tell."""
    times = np.concatenate([each["mean_fit_time"] + each["mean_score_time"] for each in results])
    scores = np.concatenate([each["mean_test_score"] for each in results])
    if np.isnan(scores).any():
        raise RuntimeError(f"{int(np.isnan(scores).sum())} candidates have no score")
    return Told(
        fits=len(times) * splits, fits_s=float(times.sum()) * splits, scores=np.asarray(scores)
    )


def search(
    task: Task, searches: Sequence[tuple[Any, Any]], n_jobs: int, splits: int
) -> Callable[[], Told]:
    """Run GridSearchCV under whatever joblib backend is set."""
    results = []
    for estimator, grid in searches:
        found = GridSearchCV(
            estimator, grid, cv=task.cv, scoring=task.scoring, refit=False, n_jobs=n_jobs
        ).fit(task.X, task.y)
        results.append(found.cv_results_)
    return lambda: told_by(results, splits)


def splits_of(task: Task) -> int:
    """Return how many splits a task has."""
    return int(task.cv) if isinstance(task.cv, int) else len(list(task.cv))


# -- one after the other, loky ---------------------------------------------------------------------


def one_after_the_other(task: Task) -> Way:
    """One core, no pool."""

    @contextmanager
    def opened() -> Iterator[Work]:
        single = task.single_threaded()
        single.warm_up()
        yield partial(search, single, single.one_search(), 1, splits_of(task))

    return Way("one after the other", opened)


@contextmanager
def loky(task: Task) -> Iterator[None]:
    """Start joblib's processes and let them import what they need; end them afterwards."""

    @contextmanager
    def start() -> Iterator[None]:
        try:
            small = task.small()
            tasks = [joblib.delayed(_warm_task)(small) for _ in range(3 * usable_cpus())]
            joblib.Parallel(n_jobs=-1)(tasks)
            yield
        finally:
            get_reusable_executor().shutdown(wait=True)

    with opened_or_kept("loky", start):
        yield


def grid_search(task: Task, name: str = "GridSearchCV(n_jobs=-1)") -> Way:
    """GridSearchCV as most people call it: a search per model, estimators as they are."""

    @contextmanager
    def opened() -> Iterator[Work]:
        with loky(task):
            yield partial(search, task, task.search_per_model(), -1, splits_of(task))

    return Way(name, opened)


def one_grid_search(task: Task, name: str = "… one search, one thread per fit") -> Way:
    """One search over all candidates, each fit told to use one thread."""

    @contextmanager
    def opened() -> Iterator[Work]:
        single = task.single_threaded()
        with loky(single):
            yield partial(search, single, single.one_search(), -1, splits_of(task))

    return Way(name, opened)


# -- Dask, Ray -------------------------------------------------------------------------------------


@contextmanager
def dask_cluster(task: Task, **options: Any) -> Iterator[Any]:
    """Start a cluster with a process per core and give its client."""
    from distributed import Client as DaskClient
    from distributed import LocalCluster

    chosen = {
        "n_workers": usable_cpus(),
        "threads_per_worker": 1,
        "processes": True,
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": "CRITICAL",
    }

    @contextmanager
    def start() -> Iterator[Any]:
        with LocalCluster(**(chosen | options)) as cluster, DaskClient(cluster) as client:
            yield client

    with opened_or_kept(f"dask {options}", start) as client:
        client.run(_warm_task, task.small())
        yield client


def dask_joblib(task: Task, name: str = "Dask's joblib backend", **options: Any) -> Way:
    """One search under joblib's Dask backend, the data sent once."""

    @contextmanager
    def opened() -> Iterator[Work]:
        single = task.single_threaded()
        with (
            dask_cluster(single, **options),
            joblib.parallel_config("dask", scatter=[task.X, task.y]),
        ):
            yield partial(search, single, single.one_search(), -1, splits_of(task))

    return Way(name, opened)


def ray_joblib(task: Task) -> Way:
    """One search under Ray's joblib backend.

    Ray starts actors anew for each search, so their start can't be kept off the clock; what can
    is the start of Ray itself.
    """

    @contextmanager
    def opened() -> Iterator[Work]:
        import ray
        from ray.util.joblib import register_ray

        single = task.single_threaded()
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        ray.init(num_cpus=usable_cpus(), **quiet)
        try:
            register_ray()
            with joblib.parallel_config("ray"):
                tasks = [joblib.delayed(_warm_task)(single.small()) for _ in range(usable_cpus())]
                joblib.Parallel(n_jobs=-1)(tasks)
                yield partial(search, single, single.one_search(), -1, splits_of(task))
        finally:
            ray.shutdown()

    return Way("Ray's joblib backend", opened)


def _warm_task(small: Task) -> None:
    small.warm_up()
    time.sleep(_WARM_PAUSE_S)


# -- fitcast ---------------------------------------------------------------------------------------


@contextmanager
def client(
    backend: LocalBackend | None = None, history: HistoryStore | None = None
) -> Iterator[Client]:
    """Give a client in an empty home, whose workers have been started by a small other sweep."""

    @contextmanager
    def start() -> Iterator[Client]:
        with TemporaryDirectory(ignore_cleanup_errors=True) as home:
            uri = f"sqlite:///{Path(home) / 'mlflow.db'}"
            with Client(backend, home=home, tracking_uri=uri, history=history) as opened:
                finish(opened, _other_sweep())
                settle(opened)
                yield opened
                settle(opened)  # its history is written off the clock

    if backend is None and history is None:
        with opened_or_kept("fitcast", start) as opened:
            yield opened
    else:
        with start() as opened:
            yield opened


def _other_sweep() -> Sweep:
    X, y = make_classification(3_000, 12, random_state=1)
    forest = RandomForestClassifier(n_estimators=60, random_state=0)
    return Sweep({"forest": forest}, X, y, cv=2, refit=False, name="warming")


def finish(opened: Client, sweep: Sweep, timeout_s: float = TIMEOUT_S) -> Workflow:
    """Submit a sweep and wait for its end; cancel it if that takes too long."""
    workflow = opened.submit(sweep)
    try:
        return workflow.wait(timeout_s)
    except FitcastError:
        workflow.cancel()
        raise


def settle(opened: Client) -> None:
    """Wait until what follows a workflow in the background is over."""
    opened.learn()
    opened.flush(120)


def fitcast(
    task: Task,
    name: str = OURS,
    *,
    backend: Callable[[], LocalBackend | None] = lambda: None,
    history: Callable[[], HistoryStore | None] = lambda: None,
) -> Way:
    """Fitcast with no knowledge of these models, from submit to the end of the last fit."""

    @contextmanager
    def opened() -> Iterator[Work]:
        with client(backend(), history()) as one:
            yield lambda: partial(told_by_workflow, finish(one, task.sweep(name)))

    return Way(name, opened, is_peer=False)


def told_by_workflow(workflow: Workflow) -> Told:
    """Return what a workflow tells; every fit must have succeeded."""
    fits, results = workflow.fits, workflow.result().cv_results_
    bad = fits[fits["outcome"] != Outcome.SUCCEEDED.value]
    if len(bad):
        first = bad.iloc[0]
        raise RuntimeError(f"{len(bad)} fits ended otherwise: {first['outcome']} {first['error']}")
    threads = fits.groupby("candidate", sort=False)["threads"].mean().to_numpy()
    splits = len(fits) // len(threads)
    times = (results["mean_fit_time"] + results["mean_score_time"]) * splits
    return Told(
        fits=len(fits),
        fits_s=float(times @ threads),
        attempts_s=float((fits["runtime_s"] * fits["threads"]).sum()),
        scores=np.asarray(results["mean_test_score"]),
    )
