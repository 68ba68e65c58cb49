"""Which family an algorithm belongs to, and which of its hyper-parameters may cost.

In: import path → family; which hyper-parameters cost; what threads do to a forecast. Not in: the
laws themselves and how far they may be off (:mod:`fitcast.sizing.prior`).
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from fitcast.history.records import Estimate


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of algorithm whose cost follows one law."""

    name: str
    noun: str  # how a forecast calls it: "forest of 200 trees"


FAMILIES: dict[str, Family] = {
    name: Family(name, noun)
    for name, noun in (
        ("histogram_boosting", "boosting"),
        ("exact_boosting", "boosting"),
        ("forest", "forest"),
        ("bagging", "bag"),
        ("tree", "tree"),
        ("adaboost", "boosting"),
        ("coordinate_descent", "linear model"),
        ("iterative_linear", "linear model"),
        ("closed_linear", "linear model"),
        ("stochastic", "linear model"),
        ("kernel", "kernel machine"),
        ("gaussian_process", "Gaussian process"),
        ("neighbours", "neighbours"),
        ("neural", "neural network"),
        ("counting", "counting model"),
        ("generic", "fit"),
    )
}

# By the class's own name: the package that offers it doesn't change what it does.
_CLASSES = {
    "histogram_boosting": (
        "XGBClassifier XGBRegressor XGBRanker XGBModel LGBMClassifier LGBMRegressor LGBMRanker "
        "LGBMModel HistGradientBoostingClassifier HistGradientBoostingRegressor "
        "CatBoostClassifier CatBoostRegressor CatBoost"
    ),
    "exact_boosting": "GradientBoostingClassifier GradientBoostingRegressor",
    "forest": (
        "RandomForestClassifier RandomForestRegressor ExtraTreesClassifier ExtraTreesRegressor "
        "RandomTreesEmbedding XGBRFClassifier XGBRFRegressor IsolationForest"
    ),
    "bagging": "BaggingClassifier BaggingRegressor",
    "adaboost": "AdaBoostClassifier AdaBoostRegressor",
    "tree": ("DecisionTreeClassifier DecisionTreeRegressor ExtraTreeClassifier ExtraTreeRegressor"),
    "coordinate_descent": (
        "LinearSVC LinearSVR Lasso ElasticNet MultiTaskLasso MultiTaskElasticNet"
    ),
    "iterative_linear": (
        "LogisticRegression LogisticRegressionCV LassoCV ElasticNetCV HuberRegressor "
        "PoissonRegressor GammaRegressor TweedieRegressor QuantileRegressor TheilSenRegressor"
    ),
    "closed_linear": (
        "LinearRegression Ridge RidgeClassifier RidgeCV RidgeClassifierCV BayesianRidge "
        "ARDRegression Lars LassoLars LinearDiscriminantAnalysis QuadraticDiscriminantAnalysis "
        "PLSRegression OrthogonalMatchingPursuit"
    ),
    "stochastic": (
        "SGDClassifier SGDRegressor Perceptron PassiveAggressiveClassifier "
        "PassiveAggressiveRegressor"
    ),
    "kernel": "SVC SVR NuSVC NuSVR KernelRidge OneClassSVM",
    "gaussian_process": "GaussianProcessClassifier GaussianProcessRegressor",
    "neighbours": (
        "KNeighborsClassifier KNeighborsRegressor RadiusNeighborsClassifier "
        "RadiusNeighborsRegressor"
    ),
    "neural": (
        "MLPClassifier MLPRegressor KerasClassifier KerasRegressor NeuralNetClassifier "
        "NeuralNetRegressor NeuralNetBinaryClassifier NeuralNet"
    ),
    "counting": (
        "GaussianNB MultinomialNB BernoulliNB ComplementNB CategoricalNB DummyClassifier "
        "DummyRegressor NearestCentroid"
    ),
}
_BY_NAME = {name: family for family, names in _CLASSES.items() for name in names.split()}

_COSTLY = (
    "solver algorithm kernel booster tree_method grow_policy boosting_type penalty dual bootstrap "
    "multi_class max_features probability early_stopping criterion loss device device_type "
    "learning_rate selection activation weights ~steps"
)
COSTLY_CATEGORIES = frozenset(_COSTLY.split())
"""Names of parameters whose word, not number, may change what a fit costs."""

_COSTLESS = (
    "random_state seed verbose verbosity silent n_jobs nthread num_threads thread_count "
    "warm_start copy copy_X copy_x missing importance_type validate_parameters memory steps "
    "transform_input enable_categorical store_cv_results store_cv_values base_score"
)
COSTLESS_PARAMS = frozenset(_COSTLESS.split())
"""Names of parameters that don't change what a fit costs."""


@lru_cache(maxsize=4096)
def family_of(algorithm: str, solver: str = "") -> Family:
    """Return the family of an algorithm; "generic" for one that isn't known.

    Parameters
    ----------
    algorithm
        Import path of the estimator's class.
    solver
        Its ``solver`` parameter, which in scikit-learn's linear models chooses the law.
    """
    short = algorithm.rpartition(".")[2]
    name = _BY_NAME.get(short, "generic")
    if name == "iterative_linear" and solver == "liblinear":
        name = "coordinate_descent"
    return FAMILIES[name]


def amdahl(parallel_fraction: float, threads: int) -> float:
    """Return runtime at a number of threads over runtime at one."""
    share = float(np.clip(parallel_fraction, 0.0, 1.0))
    return (1.0 - share) + share / max(1, int(threads))


def with_threads(estimate: Estimate, threads: int) -> Estimate:
    """Return the same forecast for another number of threads.

    Parameters
    ----------
    estimate
        The forecast, at the threads that it names.
    threads
        Threads the fit would be given; less than one counts as one.
    """
    threads = max(1, int(threads))
    if threads == estimate.threads:
        return estimate
    factor = amdahl(estimate.parallel_fraction, threads) / amdahl(
        estimate.parallel_fraction, estimate.threads
    )
    return replace(
        estimate,
        threads=threads,
        runtime_s_p10=estimate.runtime_s_p10 * factor,
        runtime_s_p50=estimate.runtime_s_p50 * factor,
        runtime_s_p90=estimate.runtime_s_p90 * factor,
    )
