"""Models of the zoo: what of scikit-learn and the boosters the campaign's usual models leave out.

In: estimators with hyper-parameters drawn from sensible grids, transformers before a cheap model,
unusual settings of the boosters. Not in: wrappers of other estimators, the data, the measuring.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn import (
    cluster,
    cross_decomposition,
    decomposition,
    discriminant_analysis,
    ensemble,
    feature_selection,
    gaussian_process,
    impute,
    kernel_approximation,
    kernel_ridge,
    linear_model,
    manifold,
    naive_bayes,
    neighbors,
    neural_network,
    preprocessing,
    random_projection,
    semi_supervised,
    svm,
    tree,
)
from sklearn.pipeline import make_pipeline
from xgboost import XGBClassifier, XGBRegressor, XGBRFClassifier, XGBRFRegressor

from benchmarks.campaign_data import DataPlan
from benchmarks.drawing import Rng
from benchmarks.drawing import kind as _kind
from benchmarks.drawing import log as _log
from benchmarks.drawing import one as _one
from benchmarks.drawing import whole as _whole

Make = Callable[[DataPlan, Rng], Any]

_PAIRS = 6_000  # rows beyond which all pairs of rows take too long or too much
_CUBES = 2_000  # the same of rows cubed
_STEPS_SHARE = 0.55


def draw_zoo_model(plan: DataPlan, rng: Rng) -> tuple[str, Any]:
    """Return the name of a model and an estimator that can be fitted on a plan's data."""
    while True:
        table = _STEPS if rng.random() < _STEPS_SHARE else _ALONE
        name = str(rng.choice(list(table)))
        made = table[name](plan, rng)
        if made is None:
            continue
        if table is _STEPS:
            return name, make_pipeline(made, _cheap(plan, rng))
        return name, made


def _cheap(plan: DataPlan, rng: Rng) -> Any:
    if plan.target == "regression":
        return linear_model.Ridge()
    return _one(rng, linear_model.RidgeClassifier(), linear_model.SGDClassifier(max_iter=20))


def _parts(plan: DataPlan, rng: Rng, most: int = 10**9) -> int:
    """Return a number of components that the data can have."""
    least = min(2, plan.columns)
    return int(min(max(least, _whole(rng, 2, 50)), plan.columns, plan.rows // 4, most))


def _classes(make: Make, most_rows: int = 10**9) -> Make:
    return lambda plan, rng: (
        None if plan.target == "regression" or plan.rows > most_rows else make(plan, rng)
    )


def _numbers(make: Make, most_rows: int = 10**9) -> Make:
    return lambda plan, rng: (
        make(plan, rng) if plan.target == "regression" and plan.rows <= most_rows else None
    )


def _dense(make: Make, most_rows: int = 10**9, most_columns: int = 10**9) -> Make:
    def made(plan: DataPlan, rng: Rng) -> Any:
        small = plan.rows <= most_rows and plan.columns <= most_columns
        return make(plan, rng) if small and plan.kind != "sparse" else None

    return made


def _counts(make: Make) -> Make:
    """Only for values that are never negative."""
    return lambda plan, rng: (
        make(plan, rng) if plan.kind in ("counts", "categories", "digits") else None
    )


def _label_model(kind: Any) -> Make:
    def make(plan: DataPlan, rng: Rng) -> Any:
        kernel = _one(rng, "rbf", "rbf", "knn")
        return kind(kernel=kernel, max_iter=_one(rng, 30, 1000))

    return _dense(_classes(make, _PAIRS))


def _gaussian_process(plan: DataPlan, rng: Rng) -> Any:
    if plan.target == "multiclass" and plan.rows > 800:
        return None
    kernel = _one(
        rng, None, None, gaussian_process.kernels.RBF(), gaussian_process.kernels.Matern()
    )
    return _kind(
        plan,
        gaussian_process.GaussianProcessClassifier,
        gaussian_process.GaussianProcessRegressor,
    )(kernel=kernel)


def _odd_neighbours(plan: DataPlan, rng: Rng) -> Any:
    metric = _one(rng, "cosine", "manhattan", "euclidean", "chebyshev")
    algorithm = "brute" if metric == "cosine" else _one(rng, "auto", "brute", "ball_tree")
    return _kind(plan, neighbors.KNeighborsClassifier, neighbors.KNeighborsRegressor)(
        n_neighbors=_one(rng, 5, 20), metric=metric, algorithm=algorithm
    )


def _network_lbfgs(plan: DataPlan, rng: Rng) -> Any:
    return _kind(plan, neural_network.MLPClassifier, neural_network.MLPRegressor)(
        solver="lbfgs",
        hidden_layer_sizes=_one(rng, (20,), (100,), (64, 64)),
        max_iter=_one(rng, 50, 200),
    )


def _dart(classifier: Any, regressor: Any, name: str) -> Make:
    return lambda plan, rng: _kind(plan, classifier, regressor)(
        **{name: "dart"},
        n_estimators=_whole(rng, 20, 150),
        verbosity=-1 if "LGBM" in str(classifier) else 0,
    )


def _parallel_trees(plan: DataPlan, rng: Rng) -> Any:
    return _kind(plan, XGBClassifier, XGBRegressor)(
        n_estimators=_whole(rng, 10, 60), num_parallel_tree=_one(rng, 3, 10), subsample=0.8
    )


def _alias(plan: DataPlan, rng: Rng) -> Any:
    name = _one(rng, "num_iterations", "num_boost_round", "num_trees", "max_iter", "num_round")
    return _kind(plan, LGBMClassifier, LGBMRegressor)(
        **{name: _whole(rng, 200, 1000)}, num_leaves=_one(rng, 15, 31), verbose=-1
    )


def _balanced_histograms(plan: DataPlan, rng: Rng) -> Any:
    return ensemble.HistGradientBoostingClassifier(
        max_iter=_whole(rng, 20, 150), class_weight="balanced", early_stopping=False
    )


def _xgb_forest(plan: DataPlan, rng: Rng) -> Any:
    return _kind(plan, XGBRFClassifier, XGBRFRegressor)(
        n_estimators=_whole(rng, 20, 150), max_depth=_one(rng, 4, 8, 12)
    )


def _selected(plan: DataPlan, rng: Rng) -> Any:
    wanted = max(1, plan.columns // 2)
    rule = _one(
        rng,
        *(
            (feature_selection.f_regression, feature_selection.mutual_info_regression)
            if plan.target == "regression"
            else (feature_selection.f_classif, feature_selection.mutual_info_classif)
        ),
    )
    return feature_selection.SelectKBest(rule, k=wanted)


def _polynomial(plan: DataPlan, rng: Rng) -> Any:
    degree = _one(rng, 2, 2, 3)
    wide = plan.columns**degree / (2.0 if degree == 2 else 6.0)
    if wide * plan.rows > 4e7 or wide > 2_500:
        return None
    return preprocessing.PolynomialFeatures(degree, interaction_only=bool(rng.random() < 0.3))


_POSITIVE = preprocessing.MinMaxScaler

_ALONE: dict[str, Make] = {
    "label propagation": _label_model(semi_supervised.LabelPropagation),
    "label spreading": _label_model(semi_supervised.LabelSpreading),
    "Gaussian process": _dense(
        lambda plan, rng: _gaussian_process(plan, rng) if plan.rows <= _CUBES else None
    ),
    "Theil-Sen": _dense(_numbers(lambda p, r: linear_model.TheilSenRegressor()), most_columns=60),
    "RANSAC": _dense(_numbers(lambda p, r: linear_model.RANSACRegressor())),
    "Huber": _dense(_numbers(lambda p, r: linear_model.HuberRegressor())),
    "quantile": _dense(
        _numbers(lambda p, r: linear_model.QuantileRegressor(alpha=_log(r, 0.001, 1)), 5_000)
    ),
    "kernel ridge": _dense(
        _numbers(lambda p, r: kernel_ridge.KernelRidge(kernel=_one(r, "rbf", "linear")), _PAIRS)
    ),
    "nu SVM": _dense(
        lambda p, r: (
            _kind(p, None, svm.NuSVR)(nu=_one(r, 0.3, 0.5))
            if p.target == "regression" and p.rows <= 10_000
            else None
        )
    ),
    "ridge CV": lambda p, r: _kind(p, linear_model.RidgeClassifierCV, linear_model.RidgeCV)(
        alphas=tuple(np.logspace(-3, 3, _one(r, 3, 10, 30)))
    ),
    "lasso CV": _numbers(
        lambda p, r: _one(r, linear_model.LassoCV, linear_model.ElasticNetCV)(cv=_one(r, 3, 5))
    ),
    "lars CV": _dense(
        _numbers(lambda p, r: _one(r, linear_model.LarsCV, linear_model.LassoLarsCV)(cv=5))
    ),
    "OMP CV": _dense(_numbers(lambda p, r: linear_model.OrthogonalMatchingPursuitCV(cv=5))),
    "logistic CV": _dense(
        _classes(
            lambda p, r: linear_model.LogisticRegressionCV(Cs=_one(r, 3, 10), cv=_one(r, 3, 5))
        )
    ),
    "Bayesian ridge": _dense(_numbers(lambda p, r: linear_model.BayesianRidge())),
    "ARD": _dense(_numbers(lambda p, r: linear_model.ARDRegression()), most_columns=100),
    "lars": _dense(
        _numbers(
            lambda p, r: _one(
                r, linear_model.Lars(), linear_model.LassoLars(0.01), linear_model.LassoLarsIC()
            )
        )
    ),
    "OMP": _dense(_numbers(lambda p, r: linear_model.OrthogonalMatchingPursuit())),
    "tweedie": _numbers(
        lambda p, r: linear_model.TweedieRegressor(
            power=0, solver=_one(r, "lbfgs", "newton-cholesky")
        )
    ),
    "perceptron": _classes(lambda p, r: linear_model.Perceptron(penalty=_one(r, None, "l2"))),
    "newton logistic": _dense(
        _classes(
            lambda p, r: linear_model.LogisticRegression(
                solver=_one(r, "newton-cg", "newton-cholesky"), C=_log(r, 0.01, 10)
            )
        )
    ),
    "nearest centroid": _classes(lambda p, r: neighbors.NearestCentroid()),
    "QDA": _dense(
        _classes(lambda p, r: discriminant_analysis.QuadraticDiscriminantAnalysis(reg_param=0.1))
    ),
    "LDA": _dense(
        _classes(
            lambda p, r: discriminant_analysis.LinearDiscriminantAnalysis(
                solver=_one(r, "lsqr", "eigen"), shrinkage="auto"
            )
        ),
        most_columns=150,
    ),
    "PLS": _dense(
        _numbers(lambda p, r: cross_decomposition.PLSRegression(min(p.columns, _one(r, 2, 5))))
    ),
    "radius": _dense(
        _numbers(lambda p, r: neighbors.RadiusNeighborsRegressor(_one(r, 1.0, 3.0)), 8_000)
    ),
    "odd k-NN": _dense(_odd_neighbours, 30_000),
    "Bernoulli Bayes": _classes(lambda p, r: naive_bayes.BernoulliNB()),
    "complement Bayes": _counts(_classes(lambda p, r: naive_bayes.ComplementNB())),
    "MLP lbfgs": _dense(_network_lbfgs, 30_000),
    "extra tree": lambda p, r: _kind(p, tree.ExtraTreeClassifier, tree.ExtraTreeRegressor)(),
    "XGBoost dart": _dart(XGBClassifier, XGBRegressor, "booster"),
    "LightGBM dart": _dart(LGBMClassifier, LGBMRegressor, "boosting_type"),
    "parallel trees": _parallel_trees,
    "LightGBM alias": _alias,
    "balanced histograms": _dense(_classes(_balanced_histograms)),
    "XGBoost forest": _xgb_forest,
}

_STEPS: dict[str, Make] = {
    "polynomial": _dense(_polynomial),
    "splines": _dense(
        lambda p, r: preprocessing.SplineTransformer(n_knots=_one(r, 5, 10)), most_columns=60
    ),
    "bins": _dense(
        lambda p, r: preprocessing.KBinsDiscretizer(
            n_bins=_one(r, 5, 20),
            encode=_one(r, "onehot", "ordinal", "onehot-dense"),
            strategy=_one(r, "quantile", "uniform", "kmeans"),
        )
    ),
    "quantiles": _dense(
        lambda p, r: preprocessing.QuantileTransformer(n_quantiles=min(1000, max(10, p.rows // 4)))
    ),
    "power": _dense(lambda p, r: preprocessing.PowerTransformer(), most_columns=100),
    "robust scaler": _dense(lambda p, r: preprocessing.RobustScaler()),
    "KNN imputer": _dense(lambda p, r: impute.KNNImputer()),
    "simple imputer": _dense(
        lambda p, r: impute.SimpleImputer(strategy=_one(r, "mean", "median", "most_frequent"))
    ),
    "PCA": _dense(
        lambda p, r: decomposition.PCA(
            _parts(p, r), svd_solver=_one(r, "auto", "full", "randomized", "covariance_eigh")
        )
    ),
    "incremental PCA": _dense(lambda p, r: decomposition.IncrementalPCA(_parts(p, r, 20))),
    "kernel PCA": _dense(
        lambda p, r: decomposition.KernelPCA(
            _parts(p, r),
            kernel=_one(r, "rbf", "poly", "linear"),
            eigen_solver=_one(r, "auto", "dense"),
        ),
        4_000,
    ),
    "ICA": _dense(
        lambda p, r: decomposition.FastICA(_parts(p, r), whiten="unit-variance"), most_columns=100
    ),
    "NMF": _counts(_dense(lambda p, r: decomposition.NMF(_parts(p, r, 20), init="nndsvda"))),
    "SVD": lambda p, r: (
        decomposition.TruncatedSVD(max(1, min(_parts(p, r), p.columns - 1)))
        if p.columns > 2
        else None
    ),
    "factors": _dense(lambda p, r: decomposition.FactorAnalysis(_parts(p, r)), most_columns=150),
    "dictionary": _dense(
        lambda p, r: decomposition.MiniBatchDictionaryLearning(_parts(p, r, 20), max_iter=50), 8_000
    ),
    "topics": _counts(
        lambda p, r: decomposition.LatentDirichletAllocation(
            _parts(p, r, 20), max_iter=_one(r, 5, 10)
        )
    ),
    "Nystroem": _dense(
        lambda p, r: kernel_approximation.Nystroem(
            n_components=min(p.rows // 3, _one(r, 50, 100, 300))
        )
    ),
    "random features": lambda p, r: kernel_approximation.RBFSampler(
        n_components=_one(r, 50, 100, 500)
    ),
    "sketch": _dense(
        lambda p, r: kernel_approximation.PolynomialCountSketch(n_components=_one(r, 50, 200))
    ),
    "projection": lambda p, r: _one(
        r, random_projection.GaussianRandomProjection, random_projection.SparseRandomProjection
    )(n_components=_parts(p, r)),
    "selected": _dense(_selected, 20_000),
    "variance": lambda p, r: feature_selection.VarianceThreshold(),
    "means": _dense(lambda p, r: cluster.KMeans(_one(r, 5, 20), n_init=_one(r, 1, 10)), 100_000),
    "agglomeration": _dense(
        lambda p, r: cluster.FeatureAgglomeration(max(2, p.columns // 2)) if p.columns > 3 else None
    ),
    "Isomap": _dense(lambda p, r: manifold.Isomap(n_components=min(2, p.columns)), 2_500),
    "embedding of trees": _dense(
        lambda p, r: ensemble.RandomTreesEmbedding(_one(r, 20, 100), max_depth=_one(r, 3, 5))
    ),
    "neighbourhood components": _dense(
        _classes(lambda p, r: neighbors.NeighborhoodComponentsAnalysis(max_iter=20), 1_500),
        most_columns=60,
    ),
    "machine": _dense(
        lambda p, r: (
            make_pipeline(_POSITIVE(), neural_network.BernoulliRBM(_one(r, 20, 100), n_iter=5))
            if p.rows < 30_000
            else None
        )
    ),
    "target encoder": lambda p, r: (
        preprocessing.TargetEncoder() if p.kind == "categories" else None
    ),
    "ordinal encoder": lambda p, r: (
        preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        if p.kind == "categories"
        else None
    ),
    "dense one-hot": lambda p, r: (
        preprocessing.OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        if p.kind == "categories" and p.rows * p.columns * p.cardinality < 4e7
        else None
    ),
}
