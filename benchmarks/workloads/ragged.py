"""Fits of very unequal length, the long ones last in grid order.

Numbers of trees grow geometrically, as grids do, on one hold-out split: whoever starts fits in
grid order begins the longest one last, when the other cores have nothing left to do. One split
only, for that is where order matters most; with five folds several long fits share the end.
"""

from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import ShuffleSplit
from xgboost import XGBClassifier

from benchmarks import peers
from benchmarks.report import Goal, Report
from benchmarks.side_by_side import best_peer, ours, ratio, rows_of, score_note, side_by_side
from fitcast.flights import load_flights
from fitcast.scheduler.backends.machine import usable_cpus

ROWS = 30_000
REPEATS = 3
ROUNDS = (25, 50, 100, 200)
TREES = (10, 20, 40, 80, 160, 320, 640)


def task(quick: bool) -> peers.Task:
    """Return the candidates, fewer and on fewer flights if it must be quick."""
    X, y = load_flights(1_500 if quick else ROWS, seed=1)
    kept = slice(1, 4) if quick else slice(None)
    forest = RandomForestClassifier(min_samples_leaf=5, random_state=0)
    models = {
        "xgb": (XGBClassifier(random_state=0), {"n_estimators": list(ROUNDS[kept])}),
        "forest": (forest, {"n_estimators": list(TREES[kept])}),
    }
    split = list(ShuffleSplit(1, test_size=0.2, random_state=0).split(X))
    return peers.Task(models, X, y, cv=split)


def run(quick: bool, repeats: int = REPEATS) -> Report:
    """Run it all ways."""
    of = task(quick)
    ways = [
        peers.grid_search(of),
        peers.one_grid_search(of),
        peers.dask_joblib(of),
        peers.ray_joblib(of),
        peers.fitcast(of),
    ]
    taken = side_by_side(ways, 1 if quick else repeats)
    best = best_peer(taken)
    return Report(
        f"Ragged workload: {of.candidates} candidates on one split of {len(of.X):,} flights",
        {"Side by side": rows_of(taken, usable_cpus())},
        [Goal("makespan over the best peer's", ratio(ours(taken), best), most=0.80)],
        [
            f"best peer: {best.way.name if best else 'none'}",
            score_note(taken),
            "forecasts are cold: fitcast has seen none of these models",
            "fits may get more than one thread from fitcast; their time counts for each thread",
        ],
    )
