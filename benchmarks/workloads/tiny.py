"""5,000 fits of a few milliseconds: what the machinery around a fit costs."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.metrics import get_scorer
from sklearn.model_selection import ParameterGrid, StratifiedKFold
from sklearn.naive_bayes import GaussianNB

from benchmarks import peers
from benchmarks.report import Goal, Report
from benchmarks.side_by_side import (
    Told,
    Way,
    Work,
    best_peer,
    ours,
    overhead_ms,
    ratio,
    rows_of,
    score_note,
    side_by_side,
)
from fitcast.history.store import MemoryHistory
from fitcast.scheduler.backends.machine import usable_cpus

ROWS = 300
CANDIDATES = 1_000
FOLDS = 5
REPEATS = 3


def task(quick: bool) -> peers.Task:
    """Return the candidates: settings of one parameter."""
    X, y = make_classification(ROWS, 10, random_state=0)
    several = np.geomspace(1e-12, 1e-1, 30 if quick else CANDIDATES).tolist()
    return peers.Task({"bayes": (GaussianNB(), {"var_smoothing": several})}, X, y, cv=FOLDS)


def run(quick: bool, repeats: int = REPEATS) -> Report:
    """Run it all ways."""
    of = task(quick)
    ways = [
        peers.one_after_the_other(of),
        peers.grid_search(of),
        dask_map(of),
        peers.ray_joblib(of),
        peers.fitcast(of),
        peers.fitcast(of, "fitcast, history in memory", history=MemoryHistory),
    ]
    if quick:
        ways = ways[:-1]
    taken = side_by_side(ways, 1 if quick else repeats)
    pools = [one for one in taken if one.way.name != ways[0].name]
    best, us, cores = best_peer(pools), ours(taken), usable_cpus()
    costs = [overhead_ms(one, cores) for one in pools if one.way.is_peer]
    return Report(
        f"Tiny fits: {of.candidates:,} candidates × {of.cv} folds on {ROWS} rows",
        {"Side by side": rows_of(taken, cores)},
        [
            Goal("makespan over the best pool's", ratio(us, best), most=1.0),
            Goal(
                "overhead per fit over the best pool's",
                overhead_ms(us, cores) / np.nanmin(costs) if costs else float("nan"),
                most=1.0,
            ),
        ],
        [f"best pool: {best.way.name if best else 'none'}", score_note(taken)],
    )


def dask_map(of: peers.Task) -> Way:
    """Plain Dask: ``client.map`` over a function that does one fit."""

    @contextmanager
    def opened() -> Iterator[Work]:
        with peers.dask_cluster(of) as client:

            def work() -> partial[Told]:
                estimator, grid = of.models["bayes"]
                data = client.scatter((of.X, of.y, of.cv), broadcast=True, hash=False)
                fits = [(params, fold) for params in ParameterGrid(grid) for fold in range(of.cv)]
                one = partial(_one_fit, estimator, of.scoring)
                futures = client.map(one, fits, data=data, pure=False)
                return partial(_told, client.gather(futures), of.cv)

            yield work

    return Way("Dask's client.map", opened)


def _one_fit(
    estimator: Any, scoring: str, which: tuple[dict[str, Any], int], data: Any
) -> tuple[float, float]:
    X, y, folds = data
    params, fold = which
    train, test = list(StratifiedKFold(folds).split(X, y))[fold]
    began_s = perf_counter()
    fitted = clone(estimator).set_params(**params).fit(X[train], y[train])
    score = float(get_scorer(scoring)(fitted, X[test], y[test]))
    return score, perf_counter() - began_s


def _told(found: list[tuple[float, float]], folds: int) -> Told:
    scores = np.array([score for score, _ in found]).reshape(-1, folds)
    return Told(
        fits=len(found),
        fits_s=sum(took_s for _, took_s in found),
        scores=scores.mean(axis=1),
    )
