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
from fitcast.sizing.laws.law import item_bytes
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
    return _by_algorithm(train, test, _ridge_forecast)


def ridge_runtime(train: Sequence[Record], test: Sequence[Record]) -> Array:
    """Return what ridge regression says of runtimes alone, where memory wasn't measured."""
    costs = (np.array([math.log(max(r.runtime_s, 1e-4)) for r in train]),)
    return _answers(train, test, costs, _ridge_forecast)[0]


def _ridge_forecast(X: Array, y: Array, Z: Array) -> Array:
    if len(y) < 3:
        return np.full(len(Z), y.mean())
    model = make_pipeline(StandardScaler(), Ridge(alpha=0.3)).fit(X, y)
    # Held to what a machine can take: a straight line from few fits goes anywhere.
    answer: Array = np.clip(model.predict(Z), y.min() - 5.0, y.max() + 5.0)
    return answer


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

    After what its release 1.6.3 counts in the memory estimates of its models (github.com/autogluon
    /autogluon, tabular/src/autogluon/tabular/models/{rf,xt,lgb,xgboost,knn,lr}/), for models with
    the settings that they have here, linear ones without categories.
    """
    return np.array([_autogluon_log_bytes(describe(r.request)) for r in records])


_AG_LINEAR = ("LogisticRegression", "Ridge", "Lasso", "LinearRegression", "ElasticNet")


def _autogluon_log_bytes(fit: Described) -> float:
    name = fit.algorithm.rpartition(".")[2]
    classes = max(1.0, fit.classes)
    per_round = fit.classes if fit.classes > 2 else 1.0
    data = item_bytes(fit) * fit.nonzeros
    number = fit.params.number
    if name.startswith(("RandomForest", "ExtraTrees")):
        trees = per_round * number("n_estimators", default=300.0)
        total = fit.rows_train / 60_000 * 1e6 * trees + 4.0 * data
    elif name.startswith("LGBM"):
        leaves = number("num_leaves", default=31.0)
        histogram = 1.2 * 20.0 * number("max_bin", default=255.0) * fit.columns * leaves
        trees = min(5000.0, number("n_estimators", default=100.0)) * per_round * leaves * 100.0
        total = 50e6 + (5.0 + classes / 4.0) * data + histogram + trees
    elif name.startswith("XGB"):
        depth = number("max_depth", default=6.0)
        depth = 12.0 if depth > 12.0 or depth < 1.0 else depth
        most = number("max_leaves", default=0.0)
        if most >= 1.0:
            depth = min(depth, math.ceil(math.log2(most)))
        effective = 6.0 if depth < 7 else depth if depth < 9 else depth - 1.0
        bins = number("max_bin", default=256.0)
        histogram = 1.2 * 20.0 * 2.0**effective * fit.columns * bins
        trees = min(1000.0, number("n_estimators", default=100.0)) * classes * depth * 500.0
        total = (7.0 + classes / 4.0) * data + histogram + trees
    elif fit.family.name == "neighbours":
        total = 3.6 * 4.0 * fit.rows_train * fit.columns
    elif name.startswith(_AG_LINEAR):
        total = 15.0 * data
    else:
        return math.nan
    return math.log(max(total, 1e5))


def _by_algorithm(
    train: Sequence[Record],
    test: Sequence[Record],
    forecast: Callable[[Array, Array, Array], Array],
) -> tuple[Array, Array]:
    train = [r for r in train if r.outcome is Outcome.SUCCEEDED]
    runtime, memory = _answers(train, test, log_costs(train), forecast)
    return runtime, memory


def _answers(
    train: Sequence[Record],
    test: Sequence[Record],
    costs: Sequence[Array],
    forecast: Callable[[Array, Array, Array], Array],
) -> list[Array]:
    described = [describe(r.request) for r in train]
    asked = [describe(r.request) for r in test]
    answers = [np.full(len(test), cost.mean()) for cost in costs]
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
