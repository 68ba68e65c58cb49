"""A stream of real fits of which some fail by their own error, for judging the risk of errors.

In: settings that people mix up (a penalty that the solver doesn't take, more neighbours than rows,
a scaler that makes negative counts), drawn from a seed, and whether a fit with them raises; the
sizing model forecasts each before it is seen. Not in: the metrics
(:mod:`benchmarks.judge_risk`).
"""

import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import AdaBoostClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC

from benchmarks.records import attempt_record
from fitcast.history.records import Outcome, Record
from fitcast.sizing.learning.model import SizingModel
from fitcast.trainer.attempt.spec import Measured
from fitcast.trainer.sweep.parts import PartsReader
from fitcast.trainer.sweep.requests import plain_params, request_for, shape_of

ROWS = 60
_BATCH = 10  # fits between two trainings
Rng = np.random.Generator


def stream(count: int = 600, seed: int = 0) -> list[Record]:
    """Fit models with settings drawn at random and return what became of each."""
    rng = np.random.default_rng(seed)
    X, y = rng.random((ROWS, 4)), rng.integers(0, 2, ROWS)
    shape = shape_of(X, y)
    rows = np.arange(ROWS)
    train, test = rows[:40], rows[40:]
    made = []
    parts = PartsReader(shape.sample, shape.contents)
    makers = list(_MAKERS)
    for number in range(count):
        estimator = makers[int(rng.integers(len(makers)))](rng)
        request = request_for(
            estimator, plain_params(estimator, {}), shape, train, test, parts.made_of(estimator)
        )
        error = ""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                clone(estimator).fit(X[train], y[train]).predict(X[test])
            except Exception as raised:  # whatever the library says of the setting
                error = type(raised).__name__
        now = datetime.now(UTC)
        measured = Measured(
            outcome=Outcome.FAILED if error else Outcome.SUCCEEDED,
            runtime_s=0.01,
            cpu_s=0.01,
            peak_memory_bytes=0,
            base_memory_bytes=0,
            started_at=now,
            ended_at=now,
            error_type=error,
        )
        made.append(
            attempt_record(
                f"failing-{number}",
                request,
                measured,
                workflow="failing",
                dataset="failing",
                candidate=request.algorithm,
                candidate_index=number,
                fold=0,
                memory_limit_bytes=2**31,
            )
        )
    return made


def forecast_online(records: list[Record]) -> tuple[list[float], list[bool]]:
    """Play the stream: forecast each fit's risk, then see it; return risks and what happened."""
    model = SizingModel.prior()
    risks: list[float] = []
    for start in range(0, len(records), _BATCH):
        batch = records[start : start + _BATCH]
        risks += [e.failure_probability for e in model.estimate([r.request for r in batch])]
        model = model.train(batch)
    return risks, [bool(r.error_type) for r in records]


def _one(rng: Rng, *values: Any) -> Any:
    return values[int(rng.integers(len(values)))]


def _log(rng: Rng, least: float, most: float) -> float:
    return float(10 ** rng.uniform(np.log10(least), np.log10(most)))


_MAKERS: tuple[Callable[[Rng], Any], ...] = (
    lambda rng: LogisticRegression(
        l1_ratio=_one(rng, 0.0, 0.5, 1.0),
        solver=_one(rng, "lbfgs", "liblinear", "saga", "newton-cg"),
        C=_log(rng, 1e-3, 1e3),
    ),
    lambda rng: LinearSVC(
        penalty=_one(rng, "l1", "l2"),
        loss=_one(rng, "hinge", "squared_hinge"),
        dual=_one(rng, True, False),
        C=_log(rng, 1e-3, 1e2),
    ),
    lambda rng: KNeighborsClassifier(
        n_neighbors=int(rng.integers(1, 80)), weights=_one(rng, "uniform", "distance")
    ),
    lambda rng: SVC(
        kernel=_one(rng, "rbf", "linear", "precomputed"), C=_log(rng, 1e-2, 1e2), max_iter=1000
    ),
    lambda rng: RandomForestClassifier(
        n_estimators=int(rng.integers(2, 8)),
        bootstrap=_one(rng, True, False),
        oob_score=_one(rng, True, False),
        max_features=_one(rng, "sqrt", "auto", 1.0),
    ),
    lambda rng: make_pipeline(
        _one(rng, StandardScaler(), MinMaxScaler()), MultinomialNB(alpha=_log(rng, 1e-3, 10.0))
    ),
    lambda rng: AdaBoostClassifier(n_estimators=int(rng.integers(1, 6))),
)
