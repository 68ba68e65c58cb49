"""Which family an algorithm belongs to, and what is known of the family beforehand.

In: import path → family; the share of work that threads divide; how far the family's law may be
off. Not in: the laws themselves (:mod:`fitcast.sizing.prior`).
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from fitcast.history.records import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of algorithm whose cost follows one law.

    The standard deviations are those of natural logarithms: 0.3 is about a third.
    """

    name: str
    noun: str  # how a forecast calls it: "forest of 200 trees"
    parallel_fraction: float  # Amdahl's share of one-thread work that threads divide
    runtime_sd: float  # of the law's constant
    dataset_sd: float  # of what the data's content changes, given its shape
    smooth_sd: float  # of what hyper-parameters change beyond the law
    memory_sd: float  # of the constant of memory above the process's own


def _family(
    name: str,
    noun: str,
    parallel: float,
    runtime: float = 0.4,
    dataset: float = 0.2,
    smooth: float = 0.2,
    memory: float = 0.35,
) -> Family:
    return Family(
        name=name,
        noun=noun,
        parallel_fraction=parallel,
        runtime_sd=runtime,
        dataset_sd=dataset,
        smooth_sd=smooth,
        memory_sd=memory,
    )


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        _family("histogram_boosting", "boosting", 0.80, 0.4),
        _family("exact_boosting", "boosting", 0.0, 0.4),
        _family("forest", "forest", 0.93, 0.35),
        _family("bagging", "bag", 0.85, 1.2, 0.5, 0.4, 0.6),
        _family("tree", "tree", 0.0, 0.4, 0.25),
        _family("adaboost", "boosting", 0.0, 0.6),
        # How many passes they need depends on data and penalty in ways no law tells.
        _family("coordinate_descent", "linear model", 0.0, 1.0, 0.7, 0.7),
        _family("iterative_linear", "linear model", 0.05, 0.7, 0.5, 0.5),
        _family("closed_linear", "linear model", 0.4, 0.6, 0.2, 0.2),
        _family("stochastic", "linear model", 0.0, 0.7, 0.4, 0.3),
        _family("kernel", "kernel machine", 0.0, 0.7, 0.6, 0.4, 0.5),
        _family("gaussian_process", "Gaussian process", 0.5, 0.9, 0.5, 0.4, 0.5),
        _family("neighbours", "neighbours", 0.6, 0.8, 0.6, 0.3),
        _family("neural", "neural network", 0.3, 0.9, 0.5, 0.4, 0.5),
        _family("counting", "counting model", 0.0, 0.5, 0.2, 0.2),
        _family("generic", "fit", 0.0, 1.5, 0.6, 0.4, 0.8),
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
