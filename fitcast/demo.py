"""The seed workload: 75 fits on real flights, forecast, run, learned from, forecast again."""

import time
from typing import Any

from rich.console import Console

from fitcast.flights import load_flights
from fitcast.reports import (
    console_on,
    print_accuracy,
    print_estimate,
    print_heading,
    print_result,
)
from fitcast.scheduler.forecast.eta import span
from fitcast.scheduler.plan.pools import Pool
from fitcast.scheduler.session.client import Client
from fitcast.trainer.sweep.prepared import Sweep

ROWS = 90_000
FOLDS = 5
_GIB = 2**30


def first_models() -> dict[str, Any]:
    """Return 5 XGBoost, 5 random forests and 5 L1 logistic regressions."""
    return _models(
        depths=[3, 4, 5, 6, 8],
        leaves=[5, 10, 20, 40, 80],
        penalties=[0.01, 0.03, 0.1, 0.3, 1.0],
        trees=100,
        rounds=200,
    )


def second_models() -> dict[str, Any]:
    """Return 15 other candidates of the same three algorithms."""
    return _models(
        depths=[2, 5, 7, 9, 10],
        leaves=[3, 8, 15, 30, 60],
        penalties=[0.02, 0.05, 0.2, 0.5, 2.0],
        trees=80,
        rounds=150,
    )


def _models(
    depths: list[int], leaves: list[int], penalties: list[float], trees: int, rounds: int
) -> dict[str, Any]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from xgboost import XGBClassifier

    lasso = LogisticRegression(l1_ratio=1.0, solver="saga", tol=1e-3, max_iter=100, random_state=0)
    return {
        "xgb": (XGBClassifier(n_estimators=rounds, random_state=0), {"max_depth": depths}),
        "forest": (
            RandomForestClassifier(n_estimators=trees, random_state=0),
            {"min_samples_leaf": leaves},
        ),
        "lasso": (
            make_pipeline(StandardScaler(), lasso),
            {"logisticregression__C": penalties},
        ),
    }


def run_demo(
    *, rows: int = ROWS, compare: bool = False, quiet: bool = False, home: str | None = None
) -> None:
    """Run the demo and print what happens.

    Parameters
    ----------
    rows : int
        Flights to sample.
    compare : bool
        Run the first 75 fits with ``GridSearchCV(n_jobs=-1)`` too.
    quiet : bool
        Show results alone: no forecasts, no progress.
    home : str, optional
        Where state lives; by default ``FITCAST_HOME``.
    """
    console = console_on()
    X, y = load_flights(rows, seed=0)
    console.print(
        f"{X.shape[0]:,} flights, {X.shape[1]} columns: will one arrive late? ({y.mean():.0%} do)\n"
    )

    def sweep(name: str, models: dict[str, Any], refit: bool = True) -> Sweep:
        return Sweep(models, X, y, cv=FOLDS, scoring="roc_auc", refit=refit, name=name)

    with Client(home=home) as client:
        first = sweep("demo", first_models(), refit=not compare)
        cold, _ = _one(console, client, first, quiet=quiet)
        if compare:
            _compare(console, X, y, first, client)
        client.learn()
        print_heading(
            console, "A second, different sweep over the same data: the forecast has learned"
        )
        warm, _ = _one(console, client, sweep("demo-again", second_models()), quiet=quiet)
        console.print(
            f"\nForecast of the whole workflow: off by {abs(cold):.0%} in the first sweep, "
            f"by {abs(warm):.0%} in the second."
        )
        many = [Pool("sixteen", cpus=1, memory_bytes=4 * _GIB, workers=16)]
        there = client.estimate(sweep("demo", second_models()), pools=many)
        console.print(f"On 16 workers of one CPU it would take {span(there.eta.p50_s)}.")
        client.flush(120)
        console.print("\nReview both in the MLflow UI:  fitcast ui")


def _one(console: Console, client: Client, sweep: Sweep, *, quiet: bool) -> tuple[float, float]:
    if not quiet:
        print_estimate(console, client.estimate(sweep))
    workflow = client.submit(sweep)
    if not quiet:
        workflow.progress()
    print_result(console, workflow.result())
    return print_accuracy(console, workflow)


def _compare(console: Console, X: Any, y: Any, first: Sweep, client: Client) -> None:
    from sklearn.model_selection import GridSearchCV

    print_heading(console, "Side by side: the same 75 fits")
    theirs, ours = [], []
    # Both are warm: workers of either kind have been started by an earlier run.
    for _ in range(3):
        client.learn()  # what follows a workflow in the background shall not disturb either
        client.flush()
        began_s = time.monotonic()
        for model, grid in first_models().values():
            GridSearchCV(model, grid, cv=FOLDS, scoring="roc_auc", refit=False, n_jobs=-1).fit(X, y)
        theirs.append(time.monotonic() - began_s)
        began_s = time.monotonic()
        client.submit(first).wait()
        ours.append(time.monotonic() - began_s)
    ratio = sorted(mine / peer for mine, peer in zip(ours, theirs, strict=True))[1]
    console.print(f"GridSearchCV(n_jobs=-1): {', '.join(span(seconds) for seconds in theirs)}")
    console.print(f"fitcast:                 {', '.join(span(seconds) for seconds in ours)}")
    console.print(f"fitcast takes {ratio:.2f} × the time (median of 3, interleaved)")
