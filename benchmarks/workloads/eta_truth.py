"""ETAs of real workflows, at submission and on the way, against what happened.

Eleven datasets of different kinds, each with two sweeps of the same algorithms and other
hyper-parameters. One client runs all, so the history grows: the first sweep of a dataset is called
cold (the very first knows nothing at all), the second warm.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.datasets import (
    load_breast_cancer,
    load_digits,
    make_classification,
    make_friedman1,
    make_regression,
)
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier, XGBRegressor

from benchmarks import peers
from benchmarks.eta_asked import SHARES, Answer, answers_at, asked_until_over, judged, number
from benchmarks.judging import Row
from benchmarks.report import Goal, Report
from fitcast.flights import load_flights
from fitcast.trainer.sweep.prepared import Sweep

Models = dict[str, tuple[Any, dict[str, list[Any]]]]
Data = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True)
class Kind:
    """A dataset and what is tried on it: of each grid, one half first and the other later."""

    name: str
    data: Callable[[], Data]
    models: Callable[[], Models]
    folds: int = 3


def run(quick: bool) -> Report:
    """Run all sweeps, one after the other."""
    answers: dict[str, list[Answer]] = {"cold": [], "warm": []}
    rows = []
    with peers.client() as client:
        for kind, known, sweep in sweeps(QUICK if quick else KINDS):
            records = client.learn()
            workflow = client.submit(sweep)
            samples = asked_until_over(workflow, peers.TIMEOUT_S)
            answers[known] += answers_at(samples, workflow.took_s)
            eta = workflow.forecast
            rows.append(
                {
                    "": f"{kind.name}, {known}",
                    "known records": records,
                    "fits": len(workflow.fits),
                    "P10 s": eta.p10_s,
                    "ETA s": eta.p50_s,
                    "P90 s": eta.p90_s,
                    "took s": workflow.took_s,
                    "ETA off by": eta.p50_s / workflow.took_s - 1.0,
                    "in P10–P90": float(eta.p10_s <= workflow.took_s <= eta.p90_s),
                }
            )
            print(f"  {rows[-1]['']}: {eta} → {workflow.took_s:.1f} s", flush=True)
            peers.settle(client)
    return _report(rows, answers)


def _report(rows: list[Row], answers: dict[str, list[Answer]]) -> Report:
    every = [*answers["cold"], *answers["warm"]]
    asked = [judged("all answers", every)]
    for share in SHARES:
        when = f"at {share:.0%}" if share else "at submission"
        for known, several in answers.items():
            asked.append(judged(f"{when}, {known}", [a for a in several if a.share == share]))
    warm = next(row for row in asked if row[""] == "at submission, warm")
    return Report(
        f"ETA against what happened: {len(rows)} workflows",
        {"Asked at submission and on the way": asked, "At submission": rows},
        [
            Goal(
                "answers whose P10–P90 held the truth",
                number(asked[0], "in P10–P90"),
                least=0.75,
                most=0.90,
                form="{:.0%}",
            ),
            Goal(
                "median |error| at submission, warm",
                number(warm, "median |error|"),
                most=0.10,
                form="{:.1%}",
            ),
        ],
        [
            "errors are shares of the whole makespan, those of the rest of what was still to come",
            "answers of one workflow are alike: there are fewer independent ones than asked",
        ],
    )


def sweeps(kinds: "tuple[Kind, ...]") -> Iterator[tuple[Kind, str, Sweep]]:
    """Give the first sweeps of all kinds, each followed by the second."""
    for kind in kinds:
        X, y = kind.data()
        for known, offset in (("cold", 0), ("warm", 1)):
            models = {
                name: (estimator, {param: values[offset::2] for param, values in grid.items()})
                for name, (estimator, grid) in kind.models().items()
            }
            name = f"{kind.name}, {known}"
            yield kind, known, Sweep(models, X, y, cv=kind.folds, refit=False, name=name)


def _scaled(estimator: Any) -> Any:
    return make_pipeline(StandardScaler(), estimator)


def _classes(rows: int, columns: int, classes: int = 2, seed: int = 0) -> Callable[[], Data]:
    return lambda: make_classification(
        rows, columns, n_informative=max(4, columns // 3), n_classes=classes, random_state=seed
    )


def _repeated(load: Callable[..., Data], times: int) -> Callable[[], Data]:
    """Return rows of a small real dataset several times, with a little noise."""

    def data() -> Data:
        X, y = load(return_X_y=True)
        noise = np.random.default_rng(0).normal(0, 0.01, (times * len(X), X.shape[1]))
        return np.tile(X, (times, 1)) + noise * X.std(axis=0), np.tile(y, times)

    return data


KINDS: Final = (
    Kind(
        "flights, trees",
        lambda: load_flights(20_000, seed=2),
        lambda: {
            "forest": (
                RandomForestClassifier(random_state=0),
                {"min_samples_leaf": [5, 8, 20, 40]},
            ),
            "xgb": (XGBClassifier(random_state=0), {"max_depth": [4, 5, 6, 7]}),
        },
    ),
    Kind(
        "flights, boosting",
        lambda: load_flights(40_000, seed=3),
        lambda: {
            "hist": (
                HistGradientBoostingClassifier(random_state=0, early_stopping=False),
                {"max_leaf_nodes": [15, 21, 31, 47]},
            ),
            "lgbm": (LGBMClassifier(verbose=-1), {"num_leaves": [15, 21, 31, 47]}),
        },
    ),
    Kind(
        "wide, linear",
        _classes(20_000, 200),
        lambda: {
            "lr": (
                _scaled(LogisticRegression()),
                {"logisticregression__C": [0.01, 0.03, 0.1, 0.3]},
            ),
            "lasso": (
                _scaled(
                    LogisticRegression(l1_ratio=1.0, solver="saga", max_iter=60, random_state=0)
                ),
                {"logisticregression__C": [0.01, 0.03, 0.1, 0.3]},
            ),
        },
    ),
    Kind(
        "five classes, mixed",
        _classes(8_000, 20, classes=5, seed=1),
        lambda: {
            "extra": (ExtraTreesClassifier(random_state=0), {"n_estimators": [60, 90, 150, 200]}),
            "knn": (KNeighborsClassifier(), {"n_neighbors": [3, 5, 9, 15]}),
            "mlp": (
                _scaled(MLPClassifier(max_iter=15, random_state=0)),
                {"mlpclassifier__hidden_layer_sizes": [(32,), (48,), (64,), (96,)]},
            ),
        },
    ),
    Kind(
        "kernel machines",
        _classes(9_000, 15, seed=2),
        lambda: {
            "svc": (_scaled(SVC()), {"svc__C": [0.1, 0.3, 1.0, 3.0], "svc__gamma": [0.03, 0.05]}),
        },
    ),
    Kind(
        "regression, trees",
        lambda: make_friedman1(12_000, 15, noise=1.0, random_state=0),
        lambda: {
            "forest": (RandomForestRegressor(n_estimators=60), {"max_depth": [6, 8, 10, 12]}),
            "xgb": (XGBRegressor(n_estimators=150), {"max_depth": [3, 4, 5, 6]}),
            "lgbm": (LGBMRegressor(verbose=-1, n_estimators=150), {"num_leaves": [15, 21, 31, 47]}),
        },
    ),
    Kind(
        "regression, linear",
        lambda: make_regression(25_000, 60, noise=5.0, random_state=0),
        lambda: {
            "poly": (
                make_pipeline(PolynomialFeatures(2), StandardScaler(), Ridge()),
                {"ridge__alpha": [0.1, 0.3, 1.0, 3.0, 10.0, 30.0]},
            ),
            "net": (
                make_pipeline(PolynomialFeatures(2), StandardScaler(), ElasticNet(max_iter=50)),
                {"elasticnet__alpha": [0.3, 0.5, 1.0, 2.0]},
            ),
        },
    ),
    Kind(
        "digits",
        _repeated(load_digits, 3),
        lambda: {
            "boosting": (
                GradientBoostingClassifier(n_estimators=20, random_state=0),
                {"max_depth": [2, 2, 3, 3], "subsample": [0.5, 0.6]},
            ),
            "forest": (
                RandomForestClassifier(random_state=0),
                {"n_estimators": [80, 120, 160, 240]},
            ),
        },
        folds=2,
    ),
    Kind(
        "tumours",
        _repeated(load_breast_cancer, 20),
        lambda: {
            "xgb": (XGBClassifier(n_estimators=200), {"max_depth": [2, 3, 4, 5]}),
            "forest": (RandomForestClassifier(random_state=0), {"max_features": [3, 5, 8, 10]}),
        },
    ),
    Kind(
        "many small fits",
        _classes(3_000, 12, seed=3),
        lambda: {
            "tree": (
                DecisionTreeClassifier(random_state=0),
                {"max_depth": list(range(2, 22)), "min_samples_leaf": [1, 2, 5, 8, 10, 20]},
            ),
        },
        folds=5,
    ),
    Kind(
        "few long fits",
        _classes(40_000, 30, seed=4),
        lambda: {
            "forest": (
                RandomForestClassifier(random_state=0),
                {"n_estimators": [100, 120, 150, 180]},
            ),
        },
        folds=2,
    ),
)

QUICK: Final = (
    Kind(
        "trees",
        _classes(1_000, 12, seed=3),
        lambda: {"forest": (RandomForestClassifier(), {"max_depth": [6, 7, 8, 9]})},
    ),
)
