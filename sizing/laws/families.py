"""Which family an algorithm belongs to, and which of its hyper-parameters affect its cost.

In: import path → family; which hyper-parameters affect the cost; how threads
change a forecast. Not in: the
laws themselves and their uncertainty (:mod:`fitcast.sizing.laws.prior`).
"""

from dataclasses import dataclass, replace
from functools import lru_cache

from fitcast.history.records import Estimate


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of algorithm whose cost follows one law."""

    name: str
    noun: str  # how a forecast calls it: "forest of 200 trees"
    guessed: bool = False  # by the names of hyper-parameters, not by the class


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
        ("newton", "linear model"),
        ("ridge_path", "linear model"),
        ("lasso_path", "linear model"),
        ("stepwise", "linear model"),
        ("logistic_path", "linear model"),
        ("evidence", "linear model"),
        ("subsampled", "linear model"),
        ("quantile", "linear program"),
        ("latent", "latent components"),
        ("kernel", "kernel machine"),
        ("gaussian_process", "Gaussian process"),
        ("neighbours", "neighbours"),
        ("label_model", "labels spread"),
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
        "CatBoostClassifier CatBoostRegressor CatBoost XGBRFClassifier XGBRFRegressor"
    ),
    "exact_boosting": "GradientBoostingClassifier GradientBoostingRegressor",
    "forest": (
        "RandomForestClassifier RandomForestRegressor ExtraTreesClassifier ExtraTreesRegressor "
        "RandomTreesEmbedding IsolationForest"
    ),
    "bagging": "BaggingClassifier BaggingRegressor",
    "adaboost": "AdaBoostClassifier AdaBoostRegressor",
    "tree": ("DecisionTreeClassifier DecisionTreeRegressor ExtraTreeClassifier ExtraTreeRegressor"),
    "coordinate_descent": (
        "LinearSVC LinearSVR Lasso ElasticNet MultiTaskLasso MultiTaskElasticNet"
    ),
    "iterative_linear": (
        "LogisticRegression HuberRegressor PoissonRegressor GammaRegressor TweedieRegressor"
    ),
    "newton": "",  # by the solver
    "closed_linear": (
        "LinearRegression Ridge RidgeClassifier LinearDiscriminantAnalysis "
        "QuadraticDiscriminantAnalysis"
    ),
    "ridge_path": "RidgeCV RidgeClassifierCV",
    "lasso_path": "LassoCV ElasticNetCV MultiTaskLassoCV MultiTaskElasticNetCV",
    "stepwise": (
        "Lars LassoLars LarsCV LassoLarsCV LassoLarsIC OrthogonalMatchingPursuit "
        "OrthogonalMatchingPursuitCV"
    ),
    "logistic_path": "LogisticRegressionCV",
    "evidence": "BayesianRidge ARDRegression",
    "subsampled": "TheilSenRegressor",
    "quantile": "QuantileRegressor",
    "latent": "PLSRegression PLSCanonical PLSSVD CCA",
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
    "label_model": "LabelPropagation LabelSpreading",
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


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_TREES = _set("n_estimators num_boost_round num_trees iterations n_trees")
_PACE = _set("learning_rate eta")
_TREE = frozenset(
    ["max_depth", "min_samples_leaf", "min_samples_split", "max_leaf_nodes", "num_leaves"]
)
_BINS = frozenset(
    ["max_bin", "max_bins", "tree_method", "num_leaves", "l2_regularization", "reg_lambda"]
)
_PENALTY = _set("alpha C penalty l1_ratio reg_lambda lambda_")
_EPOCHS = _set("hidden_layer_sizes epochs max_epochs num_epochs n_epochs")
_NONE: frozenset[str] = frozenset()

# Families by the names of hyper-parameters: one of each set is there, none of the last.
_SIGNS: tuple[tuple[str, tuple[frozenset[str], ...], frozenset[str]], ...] = (
    ("neural", (_EPOCHS,), _NONE),
    ("histogram_boosting", (_PACE, _BINS), _NONE),
    ("exact_boosting", (_TREES, _PACE, _TREE), _NONE),
    ("adaboost", (_TREES, _PACE), _NONE),
    ("forest", (_TREES, _TREE), _NONE),
    ("bagging", (_TREES,), _NONE),
    ("tree", (_TREE,), _NONE),
    ("neighbours", (frozenset({"n_neighbors", "radius"}),), _NONE),
    ("gaussian_process", (frozenset({"n_restarts_optimizer"}),), _NONE),
    ("kernel", (frozenset({"kernel"}), frozenset({"gamma", "C", "nu"})), _NONE),
    ("stochastic", (_PENALTY, frozenset({"eta0", "n_iter_no_change"})), _NONE),
    ("coordinate_descent", (_PENALTY, frozenset({"dual", "selection"})), frozenset({"solver"})),
    ("iterative_linear", (_PENALTY, frozenset({"max_iter"})), _NONE),
    ("closed_linear", (frozenset({"fit_intercept", "shrinkage", "reg_param"}),), _NONE),
    ("counting", (frozenset({"fit_prior", "class_prior", "priors", "var_smoothing"}),), _NONE),
)

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
def family_of(
    algorithm: str,
    solver: str = "",
    *,
    bases: tuple[str, ...] = (),
    names: frozenset[str] = frozenset(),
) -> Family:
    """Return the family of an algorithm; "generic" for an unknown one.

    Parameters
    ----------
    algorithm
        Import path of the estimator's class.
    solver
        Its ``solver`` parameter, which in scikit-learn's linear models chooses the law.
    bases
        Import paths of the classes that it derives from, nearest first.
    names
        Of its hyper-parameters: an unknown class is assigned to the family that has the same.
    """
    known = (_BY_NAME.get(path.rpartition(".")[2]) for path in (algorithm, *bases))
    found = next((name for name in known if name), None)
    name = found or _guessed(names)
    if name == "iterative_linear" and solver == "liblinear":
        name = "coordinate_descent"
    elif name == "iterative_linear" and solver.startswith("newton"):
        name = "newton"
    family = FAMILIES[name]
    return family if found or name == "generic" else replace(family, guessed=True)


def _guessed(names: frozenset[str]) -> str:
    for family, needed, excluded in _SIGNS:
        if all(names & of_these for of_these in needed) and not names & excluded:
            return family
    return "generic"


def amdahl(parallel_fraction: float, threads: int) -> float:
    """Return runtime at a number of threads over runtime at one."""
    share = min(max(parallel_fraction, 0.0), 1.0)
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
