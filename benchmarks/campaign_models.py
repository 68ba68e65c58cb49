"""The models of the campaign, with hyper-parameters drawn from sensible grids.

In: which algorithms there are, what fits which data. Not in: the data, the measuring.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn import (
    decomposition,
    discriminant_analysis,
    ensemble,
    linear_model,
    naive_bayes,
    neighbors,
    neural_network,
    preprocessing,
    svm,
    tree,
)
from sklearn.pipeline import make_pipeline
from xgboost import XGBClassifier, XGBRegressor

from benchmarks.campaign_data import DataPlan
from benchmarks.drawing import Rng
from benchmarks.drawing import kind as _kind
from benchmarks.drawing import log as _log
from benchmarks.drawing import one as _one
from benchmarks.drawing import whole as _whole


def draw_model(plan: DataPlan, rng: Rng) -> tuple[str, Any]:
    """Return the name of a model and an estimator that can be fitted on a plan's data."""
    while True:
        names = list(_MODELS)
        weights = np.array([_WEIGHTS.get(name, 1.0) for name in names])
        name = str(rng.choice(names, p=weights / weights.sum()))
        estimator = _MODELS[name](plan, rng)
        if estimator is not None:
            return name, estimator


def _closed(plan: DataPlan, rng: Rng) -> Any:
    if plan.target == "regression":
        if rng.random() < 0.4 and plan.kind != "sparse":
            return linear_model.LinearRegression()
        return linear_model.Ridge(alpha=_log(rng, 0.01, 100))
    if rng.random() < 0.4 and plan.kind != "sparse" and plan.columns <= 300:
        return discriminant_analysis.LinearDiscriminantAnalysis()
    return linear_model.RidgeClassifier(alpha=_log(rng, 0.01, 100))


def _logistic(solver: str) -> Callable[[DataPlan, Rng], Any]:
    def make(plan: DataPlan, rng: Rng) -> Any:
        if plan.target == "regression" or (solver == "liblinear" and plan.target != "binary"):
            return None
        l1 = 0.0 if solver == "lbfgs" else float(_one(rng, 0.0, 1.0))
        return linear_model.LogisticRegression(
            C=_log(rng, 0.01, 10), l1_ratio=l1, solver=solver, max_iter=_one(rng, 100, 300)
        )

    return make


def _scaled(inner: Callable[[DataPlan, Rng], Any]) -> Callable[[DataPlan, Rng], Any]:
    def make(plan: DataPlan, rng: Rng) -> Any:
        estimator = inner(plan, rng)
        if estimator is None or plan.kind == "sparse":
            return None
        scaler = _one(rng, preprocessing.StandardScaler(), preprocessing.MinMaxScaler())
        return make_pipeline(scaler, estimator)

    return make


def _one_hot(plan: DataPlan, rng: Rng) -> Any:
    if plan.kind != "categories":
        return None
    inner = _one(rng, _logistic("lbfgs"), _closed, _linear_svm, _sgd)(plan, rng)
    if inner is None or isinstance(inner, discriminant_analysis.LinearDiscriminantAnalysis):
        return None
    if isinstance(inner, linear_model.LinearRegression):
        return None
    return make_pipeline(preprocessing.OneHotEncoder(handle_unknown="ignore"), inner)


def _reduced(plan: DataPlan, rng: Rng) -> Any:
    inner = _one(rng, _logistic("lbfgs"), _closed, _neighbours)(plan, rng)
    if inner is None or plan.kind == "sparse" or plan.columns < 10:
        return None
    parts = max(2, plan.columns // _one(rng, 2, 4))
    return make_pipeline(decomposition.PCA(min(parts, plan.rows // 4)), inner)


def _lasso(plan: DataPlan, rng: Rng) -> Any:
    if plan.target != "regression":
        return None
    if rng.random() < 0.5:
        return linear_model.Lasso(alpha=_log(rng, 1e-3, 1))
    return linear_model.ElasticNet(alpha=_log(rng, 1e-3, 1), l1_ratio=_one(rng, 0.2, 0.5, 0.8))


def _linear_svm(plan: DataPlan, rng: Rng) -> Any:
    return _kind(plan, svm.LinearSVC, svm.LinearSVR)(
        C=_log(rng, 0.01, 10), max_iter=_one(rng, 1000, 300)
    )


def _kernel_svm(plan: DataPlan, rng: Rng) -> Any:
    return _kind(plan, svm.SVC, svm.SVR)(
        C=_log(rng, 0.1, 10), kernel=_one(rng, "rbf", "rbf", "rbf", "poly", "linear")
    )


def _neighbours(plan: DataPlan, rng: Rng) -> Any:
    return _kind(plan, neighbors.KNeighborsClassifier, neighbors.KNeighborsRegressor)(
        n_neighbors=_one(rng, 1, 5, 15, 50), weights=_one(rng, "uniform", "distance")
    )


def _tree_params(rng: Rng) -> dict[str, Any]:
    return {
        "max_depth": _one(rng, None, None, 4, 8, 12, 20),
        "min_samples_leaf": _one(rng, 1, 1, 5, 20, 80),
    }


def _tree(plan: DataPlan, rng: Rng) -> Any:
    kind = _kind(plan, tree.DecisionTreeClassifier, tree.DecisionTreeRegressor)
    return kind(**_tree_params(rng))


def _forest(classifier: Any, regressor: Any) -> Callable[[DataPlan, Rng], Any]:
    def make(plan: DataPlan, rng: Rng) -> Any:
        return _kind(plan, classifier, regressor)(
            n_estimators=_whole(rng, 10, 300),
            max_features=_one(rng, "sqrt", "sqrt", 1.0, 0.5),
            **_tree_params(rng),
        )

    return make


def _exact_boosting(plan: DataPlan, rng: Rng) -> Any:
    kind = _kind(plan, ensemble.GradientBoostingClassifier, ensemble.GradientBoostingRegressor)
    return kind(
        n_estimators=_whole(rng, 20, 200),
        max_depth=_one(rng, 2, 3, 3, 5),
        subsample=_one(rng, 1.0, 1.0, 0.5),
    )


def _hist_boosting(plan: DataPlan, rng: Rng) -> Any:
    if plan.kind == "sparse":
        return None
    kind = _kind(
        plan, ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor
    )
    return kind(
        max_iter=_whole(rng, 20, 300),
        max_leaf_nodes=_one(rng, 15, 31, 63),
        learning_rate=_one(rng, 0.03, 0.1, 0.3),
        early_stopping=_one(rng, "auto", False, False),
    )


def _xgb(plan: DataPlan, rng: Rng) -> Any:
    return _kind(plan, XGBClassifier, XGBRegressor)(
        n_estimators=_whole(rng, 20, 500),
        max_depth=_one(rng, 2, 3, 4, 6, 8, 10),
        learning_rate=_one(rng, 0.03, 0.1, 0.3),
        subsample=_one(rng, 1.0, 1.0, 0.7),
        colsample_bytree=_one(rng, 1.0, 1.0, 0.5),
        max_bin=_one(rng, 256, 256, 64),
    )


def _lgbm(plan: DataPlan, rng: Rng) -> Any:
    return _kind(plan, LGBMClassifier, LGBMRegressor)(
        n_estimators=_whole(rng, 20, 500),
        num_leaves=_one(rng, 7, 15, 31, 63, 127),
        max_depth=_one(rng, -1, -1, 6),
        learning_rate=_one(rng, 0.03, 0.1, 0.3),
        colsample_bytree=_one(rng, 1.0, 1.0, 0.5),
        verbose=-1,
    )


def _bayes(plan: DataPlan, rng: Rng) -> Any:
    if plan.target == "regression":
        return None
    if plan.kind in ("counts", "categories", "sparse") and rng.random() < 0.6:
        return naive_bayes.MultinomialNB(alpha=_log(rng, 0.01, 10))
    return None if plan.kind == "sparse" else naive_bayes.GaussianNB()


def _network(plan: DataPlan, rng: Rng) -> Any:
    kind = _kind(plan, neural_network.MLPClassifier, neural_network.MLPRegressor)
    return kind(
        hidden_layer_sizes=_one(rng, (20,), (50,), (100,), (100, 50), (64, 64)),
        max_iter=_one(rng, 10, 30, 100, 200),
        alpha=_log(rng, 1e-5, 1e-2),
    )


def _sgd(plan: DataPlan, rng: Rng) -> Any:
    return _kind(plan, linear_model.SGDClassifier, linear_model.SGDRegressor)(
        alpha=_log(rng, 1e-6, 1e-2), penalty=_one(rng, "l2", "l2", "l1")
    )


def _adaboost(plan: DataPlan, rng: Rng) -> Any:
    return _kind(plan, ensemble.AdaBoostClassifier, ensemble.AdaBoostRegressor)(
        n_estimators=_whole(rng, 10, 200)
    )


def _bagging(plan: DataPlan, rng: Rng) -> Any:
    return _kind(plan, ensemble.BaggingClassifier, ensemble.BaggingRegressor)(
        n_estimators=_whole(rng, 5, 50)
    )


_random_forest = _forest(ensemble.RandomForestClassifier, ensemble.RandomForestRegressor)
_extra_trees = _forest(ensemble.ExtraTreesClassifier, ensemble.ExtraTreesRegressor)

_MODELS: dict[str, Callable[[DataPlan, Rng], Any]] = {
    "closed linear": _closed,
    "logistic lbfgs": _logistic("lbfgs"),
    "logistic liblinear": _logistic("liblinear"),
    "logistic saga": _logistic("saga"),
    "lasso": _lasso,
    "linear SVM": _linear_svm,
    "kernel SVM": _kernel_svm,
    "k-NN": _neighbours,
    "decision tree": _tree,
    "random forest": _random_forest,
    "extra trees": _extra_trees,
    "gradient boosting": _exact_boosting,
    "hist boosting": _hist_boosting,
    "XGBoost": _xgb,
    "LightGBM": _lgbm,
    "naive Bayes": _bayes,
    "MLP": _network,
    "SGD": _sgd,
    "AdaBoost": _adaboost,
    "bagging": _bagging,
    "scaled logistic": _scaled(_logistic("lbfgs")),
    "scaled liblinear": _scaled(_logistic("liblinear")),
    "scaled SVM": _scaled(_kernel_svm),
    "scaled k-NN": _scaled(_neighbours),
    "scaled MLP": _scaled(_network),
    "scaled SGD": _scaled(_sgd),
    "one-hot linear": _one_hot,
    "PCA and linear": _reduced,
}
_WEIGHTS = {
    "random forest": 2.0,
    "XGBoost": 2.5,
    "LightGBM": 2.0,
    "hist boosting": 1.5,
    "extra trees": 1.3,
    "bagging": 0.5,
    "AdaBoost": 0.5,
    "scaled k-NN": 0.5,
    "scaled SVM": 0.6,
    "scaled MLP": 0.6,
    "scaled SGD": 0.5,
    "one-hot linear": 4.0,  # drawn where there are categories only
}
