"""What others would forecast for the same fits: simple rules, published formulas.

In: for each, training records → forecasts of test records. Not in: judging them.

All learn per algorithm from the records of the same algorithm, on logarithms; an algorithm that
they have no record of is forecast by the mean of all.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fitcast.history.records import Outcome, Record
from fitcast.sizing.laws.features import Described, describe, scaled
from fitcast.sizing.learning.points import Vocabulary, places_of

Array = npt.NDArray[np.float64]
Baseline = Callable[[Sequence[Record], Sequence[Record]], tuple[Array, Array]]
"""Training records, test records → logarithms of runtime [s] and of memory above base [bytes]."""


def log_costs(records: Sequence[Record]) -> tuple[Array, Array]:
    """Return the logarithms of runtime [s] and of memory above the process's base [bytes]."""
    runtime = np.array([math.log(max(r.runtime_s, 1e-4)) for r in records])
    above = [max(r.peak_memory_bytes - r.base_memory_bytes, 1e5) for r in records]
    return runtime, np.log(np.array(above))


def mean_of_algorithm(train: Sequence[Record], test: Sequence[Record]) -> tuple[Array, Array]:
    """Forecast the geometric mean of what the algorithm's fits cost."""
    return _by_algorithm(train, test, lambda X, y, Z: np.full(len(Z), y.mean()))


def nearest(train: Sequence[Record], test: Sequence[Record]) -> tuple[Array, Array]:
    """Forecast what the algorithm's fit cost that is nearest in size and hyper-parameters."""

    def forecast(X: Array, y: Array, Z: Array) -> Array:
        model = make_pipeline(StandardScaler(), KNeighborsRegressor(1)).fit(X, y)
        answer: Array = model.predict(Z)
        return answer

    return _by_algorithm(train, test, forecast)


def ridge(train: Sequence[Record], test: Sequence[Record]) -> tuple[Array, Array]:
    """Forecast by a ridge regression on logarithms of sizes and on decades of hyper-parameters."""

    def forecast(X: Array, y: Array, Z: Array) -> Array:
        if len(y) < 3:
            return np.full(len(Z), y.mean())
        model = make_pipeline(StandardScaler(), Ridge(alpha=0.3)).fit(X, y)
        # Held to what a machine can take: a straight line from few fits goes anywhere.
        answer: Array = np.clip(model.predict(Z), y.min() - 5.0, y.max() + 5.0)
        return answer

    return _by_algorithm(train, test, forecast)


def like_scitime(train: Sequence[Record], test: Sequence[Record]) -> tuple[Array, Array]:
    """Forecast by a random forest per algorithm over rows, columns, threads, hyper-parameters.

    As scitime does it by default (github.com/scitime/scitime, estimate.py: META_ALGO = "RF"),
    here on logarithms, which suit it better, with our features, and trained on this machine.
    """

    def forecast(X: Array, y: Array, Z: Array) -> Array:
        model = RandomForestRegressor(60, random_state=0).fit(X, y)
        answer: Array = model.predict(Z)
        return answer

    return _by_algorithm(train, test, forecast)


BASELINES: dict[str, Baseline] = {
    "mean of the algorithm": mean_of_algorithm,
    "nearest neighbour": nearest,
    "like scitime": like_scitime,
    "ridge on logarithms": ridge,
}


def like_autogluon(records: Sequence[Record]) -> Array:
    """Return logarithms of memory above base [bytes] as AutoGluon would forecast it; NaN if not.

    After ``_estimate_memory_usage_static`` of its models (github.com/autogluon/autogluon,
    tabular/src/autogluon/tabular/models/{rf,lgb,xgboost,knn}/), for models as they are here:
    forests with all of their trees rather than the least that AutoGluon would fit.
    """
    return np.array([_autogluon_log_bytes(describe(r.request)) for r in records])


def _autogluon_log_bytes(fit: Described) -> float:
    name = fit.algorithm.rpartition(".")[2]
    classes = max(1.0, fit.classes)
    per_round = fit.classes if fit.classes > 2 else 1.0
    data = 8.0 * fit.nonzeros
    number = fit.params.number
    if name.startswith(("RandomForest", "ExtraTrees")):
        total = per_round * fit.rows_train / 60_000 * 1e6 * number("n_estimators", default=100.0)
    elif name.startswith("LGBM"):
        leaves = number("num_leaves", default=31.0)
        histogram = 1.2 * 20.0 * number("max_bin", default=255.0) * fit.columns * leaves
        trees = min(1000.0, number("n_estimators", default=100.0)) * per_round * leaves * 100.0
        total = 5.0 * data + data / 4.0 * classes + histogram + trees
    elif name.startswith("XGB"):
        depth = number("max_depth", default=6.0)
        effective = 6.0 if depth < 7 else depth if depth < 9 else depth - 1.0
        bins = number("max_bin", default=256.0)
        histogram = 1.2 * 20.0 * 2.0**effective * fit.columns * bins
        trees = min(1000.0, number("n_estimators", default=100.0)) * classes * depth * 500.0
        total = 7.0 * data + data / 4.0 * classes + histogram + trees
    elif fit.family.name == "neighbours":
        total = 2.1 * data
    elif "linear" in fit.family.name or fit.family.name in ("coordinate_descent", "stochastic"):
        total = 4.0 * data  # its default for models without a formula of their own
    else:
        return math.nan
    return math.log(max(total, 1e5))


def _by_algorithm(
    train: Sequence[Record],
    test: Sequence[Record],
    forecast: Callable[[Array, Array, Array], Array],
) -> tuple[Array, Array]:
    train = [r for r in train if r.outcome is Outcome.SUCCEEDED]
    costs = log_costs(train)
    described = [describe(r.request) for r in train]
    asked = [describe(r.request) for r in test]
    answers = (
        np.full(len(test), costs[0].mean()),
        np.full(len(test), costs[1].mean()),
    )
    for kind in {fit.kind for fit in asked}:
        known = [i for i, fit in enumerate(described) if fit.kind == kind]
        wanted = [i for i, fit in enumerate(asked) if fit.kind == kind]
        if not known:
            continue
        seen = [described[i] for i in known]
        vocabulary = Vocabulary().extended(seen)
        X, Z = _features(seen, vocabulary), _features([asked[i] for i in wanted], vocabulary)
        for answer, cost in zip(answers, costs, strict=True):
            answer[wanted] = forecast(X, cost[known], Z)
    return answers


def _features(fits: Sequence[Described], vocabulary: Vocabulary) -> Array:
    n = len(fits)
    codes = np.zeros(n, dtype=np.int64)
    places = places_of(fits, vocabulary, dataset=codes, run=codes)
    others = [
        [math.log(1.0 + f.rows_test), math.log(1.0 + f.data_bytes), scaled(f.threads)] for f in fits
    ]
    return np.concatenate([places.shape, places.numbers, places.words, np.array(others)], axis=1)
