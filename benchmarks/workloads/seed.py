"""The seed workload: the 75 fits of ``fitcast demo`` on real flights."""

from benchmarks import peers
from benchmarks.report import Goal, Report
from benchmarks.side_by_side import best_peer, ours, ratio, rows_of, score_note, side_by_side
from fitcast.demo import FOLDS, first_models
from fitcast.flights import load_flights
from fitcast.scheduler.backends.machine import usable_cpus

ROWS = 60_000
REPEATS = 3


def task(quick: bool) -> peers.Task:
    """Return the demo's candidates, fewer and on fewer flights if it must be quick."""
    X, y = load_flights(2_000 if quick else ROWS, seed=0)
    models = first_models()
    if quick:
        models = {
            name: (estimator, {param: values[:1] for param, values in grid.items()})
            for name, (estimator, grid) in models.items()
        }
    return peers.Task(models, X, y, cv=2 if quick else FOLDS)


def run(quick: bool, repeats: int = REPEATS) -> Report:
    """Run it all ways."""
    of = task(quick)
    ways = [
        peers.one_after_the_other(of),
        peers.grid_search(of),
        peers.one_grid_search(of),
        peers.dask_joblib(of),
        peers.ray_joblib(of),
        peers.fitcast(of),
    ]
    taken = side_by_side(ways, 1 if quick else repeats)
    rows = rows_of(taken, usable_cpus())
    us = next(row for row in rows if row[""] == ours(taken).way.name)
    best = best_peer(taken)
    return Report(
        f"Seed workload: {len(of.X):,} flights, {of.candidates} candidates × {of.cv} folds",
        {"Side by side": rows},
        [
            Goal("makespan over the best peer's", ratio(ours(taken), best), most=0.97),
            Goal(
                "cores busy with fits",
                us.get("busy with fits", float("nan")),
                least=0.95,
                form="{:.1%}",
            ),
        ],
        [
            f"best peer: {best.way.name if best else 'none'}",
            score_note(taken),
            "Ray starts actors for each search, on the clock: it can't be told to keep them",
        ],
    )
