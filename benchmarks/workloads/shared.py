"""Pipelines whose candidates differ in the last step only, behind an expensive prefix.

Missing values are filled in from the nearest rows, which takes most of a fit; ten settings of the
classifier behind it need that work once per fold. Peers: plain GridSearchCV; a pipeline with
``memory=``; dask-ml's search, which was made for this; the same graph by hand.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from tempfile import TemporaryDirectory

import numpy as np
from dask.threaded import get as threaded
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.impute import KNNImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks import peers
from benchmarks.report import Goal, Report
from benchmarks.shared_graph import shared_graph, told_by_graph
from benchmarks.side_by_side import (
    Way,
    Work,
    best_peer,
    ours,
    ratio,
    rows_of,
    score_note,
    side_by_side,
)
from fitcast.scheduler.backends.machine import usable_cpus

ROWS = 6_000
FOLDS = 5
REPEATS = 3


def task(quick: bool) -> peers.Task:
    """Return two settings of the imputer times ten of the classifier, fewer if quick."""
    X, y = make_classification(1_500 if quick else ROWS, 20, n_informative=8, random_state=0)
    X[np.random.default_rng(0).random(X.shape) < 0.05] = np.nan
    pipeline = Pipeline(
        [
            ("impute", KNNImputer()),
            ("scale", StandardScaler()),
            ("classify", LogisticRegression(max_iter=200)),
        ]
    )
    grid = {
        "classify__C": np.geomspace(1e-3, 1e2, 3 if quick else 10).tolist(),
        "impute__n_neighbors": [5] if quick else [3, 10],
    }
    return peers.Task({"knn": (pipeline, grid)}, X, y, cv=2 if quick else FOLDS)


def run(quick: bool, repeats: int = REPEATS) -> Report:
    """Run it all ways."""
    of = task(quick)
    ways = [
        peers.grid_search(of),
        with_memory(of),
        dask_ml(of, distributed=False),
        dask_ml(of, distributed=True),
        by_hand(of, distributed=False),
        by_hand(of, distributed=True),
        peers.fitcast(of),
    ]
    taken = side_by_side(ways, 1 if quick else repeats)
    best = best_peer(taken)
    return Report(
        f"Shared work: {of.candidates} candidates × {of.cv} folds, {len(of.X):,} rows, "
        f"{len(of.models['knn'][1]['impute__n_neighbors'])} settings of the prefix",
        {"Side by side": rows_of(taken, usable_cpus())},
        [Goal("makespan over the best peer's", ratio(ours(taken), best), most=1.0)],
        [
            f"best peer: {best.way.name if best else 'none'}",
            score_note(taken),
            "graphs don't tell fits' own time: what is shared belongs to no fit",
        ],
    )


def with_memory(of: peers.Task) -> Way:
    """GridSearchCV over a pipeline that caches its steps on disk, the cache empty at first."""

    @contextmanager
    def opened() -> Iterator[Work]:
        with TemporaryDirectory() as folder, peers.loky(of):
            pipeline, grid = of.models["knn"]
            cached = clone(pipeline).set_params(memory=folder)
            yield partial(peers.search, of, [(cached, grid)], -1, peers.splits_of(of))

    return Way("GridSearchCV, Pipeline(memory=…)", opened)


def dask_ml(of: peers.Task, *, distributed: bool) -> Way:
    """dask-ml's GridSearchCV on threads or on a cluster."""

    def work() -> Work:
        from dask_ml.model_selection import GridSearchCV

        pipeline, grid = of.models["knn"]
        kind = {} if distributed else {"scheduler": "threads"}
        found = GridSearchCV(
            pipeline, grid, cv=of.cv, scoring=of.scoring, refit=False, n_jobs=-1, **kind
        ).fit(of.X, of.y)
        return partial(peers.told_by, [found.cv_results_], peers.splits_of(of))

    @contextmanager
    def opened() -> Iterator[Work]:
        import dask_ml.model_selection  # noqa: F401 - the import is no part of the work

        with _warm(of, distributed):
            yield work

    return Way(f"dask-ml, {'distributed' if distributed else 'threads'}", opened)


def by_hand(of: peers.Task, *, distributed: bool) -> Way:
    """Run the graph by hand, on threads or on a cluster."""

    @contextmanager
    def opened() -> Iterator[Work]:
        with _warm(of, distributed) as client:

            def work() -> Work:
                pipeline, grid = of.models["knn"]
                X, y = client.scatter([of.X, of.y]) if client else (of.X, of.y)
                graph = shared_graph(pipeline, grid, X, y, of.cv, of.scoring)
                found = graph.compute() if client else graph.compute(scheduler=threaded)
                return partial(told_by_graph, found, of.cv)

            yield work

    return Way(f"graph by hand, {'distributed' if distributed else 'threads'}", opened)


@contextmanager
def _warm(of: peers.Task, distributed: bool) -> Iterator[object]:
    of.warm_up()
    if distributed:
        with peers.dask_cluster(of) as client:
            yield client
    else:
        yield None
