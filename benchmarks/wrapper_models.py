"""Models that are made of others: wrappers over bases, searches, columns, unions.

In: estimators whose settings are drawn from sensible ones. Not in: the data, the measuring.
"""

from collections.abc import Callable
from typing import Any

from scipy.stats import loguniform
from sklearn import (
    calibration,
    compose,
    ensemble,
    feature_selection,
    linear_model,
    model_selection,
    multiclass,
    naive_bayes,
    neighbors,
    preprocessing,
    svm,
    tree,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - as scikit-learn wants it
from sklearn.pipeline import make_pipeline, make_union

from benchmarks.campaign_data import DataPlan
from benchmarks.drawing import Rng
from benchmarks.drawing import one as _one

Make = Callable[[DataPlan, Rng], Any]

_FEW_ROWS = 4_000  # up to which bases may compare all pairs of rows
_FEW_COLUMNS = 40  # up to which columns are tried one by one


def draw_wrapper(plan: DataPlan, rng: Rng) -> tuple[str, Any]:
    """Return the name of a wrapper and an estimator that can be fitted on a plan's data."""
    table = _REGRESSORS if plan.target == "regression" else _CLASSIFIERS
    while True:
        name = str(rng.choice(list(table)))
        made = table[name](plan, rng)
        if made is not None:
            return name, made


def _base(plan: DataPlan, rng: Rng) -> Any:
    """Return a base that may be fitted often."""
    numbers = plan.target == "regression"
    depth = int(rng.integers(2, 12))
    trees = int(rng.integers(5, 40))
    kinds: list[Callable[[], Any]] = [
        (lambda: tree.DecisionTreeRegressor(max_depth=depth))
        if numbers
        else (lambda: tree.DecisionTreeClassifier(max_depth=depth)),
        (lambda: ensemble.RandomForestRegressor(trees, max_depth=depth))
        if numbers
        else (lambda: ensemble.RandomForestClassifier(trees, max_depth=depth)),
        linear_model.Ridge if numbers else linear_model.LogisticRegression,
        (lambda: linear_model.SGDRegressor(max_iter=20))
        if numbers
        else (lambda: linear_model.SGDClassifier(max_iter=20)),
        linear_model.LinearRegression if numbers else naive_bayes.GaussianNB,
    ]
    if plan.rows <= _FEW_ROWS:
        kinds.append(neighbors.KNeighborsRegressor if numbers else neighbors.KNeighborsClassifier)
        kinds.append(svm.SVR if numbers else svm.SVC)
    if plan.kind == "sparse":
        kinds = [kind for kind in kinds if kind is not naive_bayes.GaussianNB]
    return kinds[int(rng.integers(len(kinds)))]()


def _ranking(plan: DataPlan, rng: Rng) -> Any:
    """Return a base that says how important each column is."""
    while True:
        base = _base(plan, rng)
        if hasattr(base, "fit_intercept") or hasattr(type(base), "feature_importances_"):
            return base


def _scaled(plan: DataPlan, rng: Rng) -> Any:
    return make_pipeline(
        preprocessing.StandardScaler(with_mean=plan.kind != "sparse"), _base(plan, rng)
    )


def _around(kind: Any, **drawn: Callable[[Rng], Any]) -> Make:
    def make(plan: DataPlan, rng: Rng) -> Any:
        base = _base(plan, rng) if rng.random() < 0.7 else _scaled(plan, rng)
        return kind(base, **{name: draw(rng) for name, draw in drawn.items()})

    return make


def _weighted(kind: Any, low: int, high: int) -> Make:
    """Return what makes boosted models of a base that takes weights."""

    def make(plan: DataPlan, rng: Rng) -> Any:
        while True:
            base = _base(plan, rng)
            if "Neighbors" not in type(base).__name__ and "SV" not in type(base).__name__:
                return kind(base, n_estimators=int(rng.integers(low, high)))

    return make


def _elimination(plan: DataPlan, rng: Rng) -> Any:
    base = _ranking(plan, rng)
    step = _one(rng, 1, 2, 0.1, 0.25)
    if plan.columns > _FEW_COLUMNS:
        step = 0.2
    wanted = None if plan.columns < 3 else max(1, plan.columns // int(rng.integers(2, 5)))
    chosen = feature_selection.RFE(base, n_features_to_select=wanted, step=step)
    return _one(rng, chosen, make_pipeline(chosen, _base(plan, rng)))


def _validated_elimination(plan: DataPlan, rng: Rng) -> Any:
    step = _one(rng, 1, 0.2) if plan.columns <= _FEW_COLUMNS else 0.3
    return feature_selection.RFECV(_ranking(plan, rng), step=step, cv=_one(rng, 3, 5))


def _sequential(plan: DataPlan, rng: Rng) -> Any:
    if not 2 < plan.columns <= _FEW_COLUMNS // 2:
        return None
    wanted = int(rng.integers(1, plan.columns))
    return make_pipeline(
        feature_selection.SequentialFeatureSelector(
            _base(plan, rng),
            n_features_to_select=wanted,
            direction=_one(rng, "forward", "backward"),
            cv=_one(rng, 2, 5),
        ),
        _base(plan, rng),
    )


def _important(plan: DataPlan, rng: Rng) -> Any:
    return make_pipeline(feature_selection.SelectFromModel(_ranking(plan, rng)), _base(plan, rng))


def _stack(plan: DataPlan, rng: Rng) -> Any:
    members = [(f"m{number}", _base(plan, rng)) for number in range(int(rng.integers(2, 5)))]
    if plan.target == "regression":
        return ensemble.StackingRegressor(members, linear_model.Ridge(), cv=_one(rng, 3, 5))
    last = linear_model.LogisticRegression()
    return ensemble.StackingClassifier(members, last, cv=_one(rng, 3, 5))


def _vote(plan: DataPlan, rng: Rng) -> Any:
    members = [(f"m{number}", _scaled(plan, rng)) for number in range(int(rng.integers(2, 6)))]
    if plan.target == "regression":
        return ensemble.VotingRegressor(members)
    return ensemble.VotingClassifier(members)


def _bag(plan: DataPlan, rng: Rng) -> Any:
    kind = ensemble.BaggingRegressor if plan.target == "regression" else ensemble.BaggingClassifier
    return kind(
        _base(plan, rng),
        n_estimators=int(rng.integers(3, 25)),
        max_samples=_one(rng, 1.0, 0.5, 0.2),
        max_features=_one(rng, 1.0, 0.5),
    )


def _grid(base: Any, rng: Rng) -> dict[str, list[Any]]:
    """Return values of the parameter of a base that changes most."""
    name = type(base).__name__
    if "Forest" in name:
        return {"n_estimators": [5, 10, 20, 40], "max_depth": [3, None]}
    if "Tree" in name:
        return {"max_depth": [2, 4, 8, None], "min_samples_leaf": [1, 5]}
    if "Neighbors" in name:
        return {"n_neighbors": [1, 5, 15]}
    if name in ("SVC", "SVR", "LogisticRegression"):
        return {"C": [0.1, 1.0, 10.0]}
    if name in ("Ridge", "SGDClassifier", "SGDRegressor"):
        return {"alpha": [1e-4, 1e-2, 1.0]}
    if name == "GaussianNB":
        return {"var_smoothing": [1e-9, 1e-6]}
    return {"fit_intercept": [True, False]}


def _search(plan: DataPlan, rng: Rng) -> Any:
    base = _base(plan, rng)
    return model_selection.GridSearchCV(base, _grid(base, rng), cv=_one(rng, 2, 3, 5))


def _drawn_search(plan: DataPlan, rng: Rng) -> Any:
    if plan.target == "regression":
        base: Any = linear_model.Ridge()
        drawn: dict[str, Any] = {"alpha": loguniform(1e-3, 1e3)}
    else:
        base = linear_model.LogisticRegression()
        drawn = {"C": loguniform(1e-3, 1e2)}
    return model_selection.RandomizedSearchCV(base, drawn, n_iter=int(rng.integers(3, 12)), cv=3)


def _halved(plan: DataPlan, rng: Rng) -> Any:
    base = _base(plan, rng)
    return model_selection.HalvingGridSearchCV(base, _grid(base, rng), cv=_one(rng, 3, 5))


def _nested(plan: DataPlan, rng: Rng) -> Any:
    """Return a search around a pipeline with a wrapper in it."""
    base = make_pipeline(
        preprocessing.StandardScaler(with_mean=plan.kind != "sparse"), _bag(plan, rng)
    )
    grid = {f"{base.steps[-1][0]}__n_estimators": [2, 5, 10]}
    return model_selection.GridSearchCV(base, grid, cv=3)


def _columns(plan: DataPlan, rng: Rng) -> Any:
    if plan.kind == "sparse" or plan.columns < 4:
        return None
    cut = plan.columns // 2
    left = list(range(cut))
    right = list(range(cut, plan.columns))
    if plan.kind == "categories":
        values = preprocessing.OneHotEncoder(
            handle_unknown="ignore", sparse_output=_one(rng, True, False)
        )
    else:
        values = preprocessing.KBinsDiscretizer(
            n_bins=_one(rng, 5, 10), encode=_one(rng, "onehot-dense", "ordinal")
        )
    both = compose.ColumnTransformer(
        [("scaled", preprocessing.StandardScaler(), left), ("values", values, right)]
    )
    last = linear_model.Ridge() if plan.target == "regression" else _one(
        rng, linear_model.RidgeClassifier(), linear_model.SGDClassifier(max_iter=20)
    )  # fmt: skip
    return make_pipeline(both, last)


def _union(plan: DataPlan, rng: Rng) -> Any:
    if plan.kind == "sparse" or plan.columns < 4:
        return None
    both = make_union(
        preprocessing.StandardScaler(),
        preprocessing.PolynomialFeatures(2)
        if plan.columns <= _FEW_COLUMNS
        else preprocessing.QuantileTransformer(n_quantiles=50),
    )
    last = linear_model.Ridge() if plan.target == "regression" else linear_model.RidgeClassifier()
    return make_pipeline(both, last)


def _target(plan: DataPlan, rng: Rng) -> Any:
    return compose.TransformedTargetRegressor(
        _base(plan, rng), transformer=preprocessing.StandardScaler()
    )


def _several_classes(make: Make, most: int = 10**6) -> Make:
    def made(plan: DataPlan, rng: Rng) -> Any:
        return make(plan, rng) if 2 < plan.classes <= most else None

    return made


def _two_classes(make: Make) -> Make:
    def made(plan: DataPlan, rng: Rng) -> Any:
        return make(plan, rng) if plan.target == "binary" else None

    return made


_BOTH: dict[str, Make] = {
    "RFE": _elimination,
    "RFECV": _validated_elimination,
    "sequential selection": _sequential,
    "selection by a model": _important,
    "stacking": _stack,
    "voting": _vote,
    "bagging": _bag,
    "search": _search,
    "drawn search": _drawn_search,
    "halving": _halved,
    "nested": _nested,
    "columns": _columns,
    "union": _union,
}

_CLASSIFIERS: dict[str, Make] = _BOTH | {
    "calibration": _around(
        calibration.CalibratedClassifierCV,
        method=lambda r: _one(r, "sigmoid", "isotonic"),
        cv=lambda r: _one(r, 2, 3, 5),
        ensemble=lambda r: _one(r, True, False),
    ),
    "one against all": _several_classes(_around(multiclass.OneVsRestClassifier)),
    "one against one": _several_classes(_around(multiclass.OneVsOneClassifier), 30),
    "output code": _several_classes(_around(multiclass.OutputCodeClassifier)),
    "adaptive boosting": _weighted(ensemble.AdaBoostClassifier, 5, 40),
    "threshold": _two_classes(
        _around(
            model_selection.TunedThresholdClassifierCV,
            cv=lambda r: _one(r, 2, 5),
            thresholds=lambda r: _one(r, 20, 100),
        )
    ),
}

_REGRESSORS: dict[str, Make] = _BOTH | {
    "adaptive boosting": _weighted(ensemble.AdaBoostRegressor, 5, 40),
    "target": _target,
}
