"""One estimator's law: which it is, and what it gives.

In: the laws of all families and of all transformers by name, the constants that each takes. Not in:
estimators that are made of others (:mod:`fitcast.sizing.laws.composition`).
"""

from collections.abc import Callable, Mapping
from typing import Any

from fitcast.sizing.laws import linear, pairs, paths, point, projections, transforms, tree
from fitcast.sizing.laws.features import Described
from fitcast.sizing.laws.law import Constants, Work
from fitcast.sizing.laws.passing import Passed

LAWS: dict[str, Callable[[Described, Constants], Work]] = {
    "histogram_boosting": tree.histogram_boosting,
    "exact_boosting": tree.exact_boosting,
    "forest": tree.forest,
    "tree": tree.tree,
    "bagging": tree.bagging,
    "adaboost": tree.adaboost,
    "coordinate_descent": linear.coordinate_descent,
    "iterative_linear": linear.iterative_linear,
    "closed_linear": linear.closed_linear,
    "stochastic": linear.stochastic,
    "newton": paths.newton,
    "ridge_path": paths.ridge_path,
    "lasso_path": paths.lasso_path,
    "stepwise": paths.stepwise,
    "logistic_path": paths.logistic_path,
    "evidence": paths.evidence,
    "subsampled": paths.subsampled,
    "quantile": paths.quantile,
    "latent": paths.latent,
    "kernel": pairs.kernel,
    "gaussian_process": pairs.gaussian_process,
    "neighbours": pairs.neighbours,
    "label_model": pairs.label_model,
    "neural": point.neural,
    "counting": point.counting,
    "generic": point.generic,
}

TRANSFORMERS = transforms.TRANSFORMS | projections.PROJECTIONS


def law_name(fit: Described) -> str:
    """Return the name of the constants that a fit's law takes: its family's, or its package's."""
    if fit.family.name == "histogram_boosting":
        name = short(fit)
        for start, package in (("XGB", "xgboost"), ("Hist", "sklearn_histogram")):
            if name.startswith(start):
                return package
        return "lightgbm"
    return fit.family.name


def work_of(fit: Described, c: Mapping[str, Any]) -> Work:
    """Return what an estimator costs that is made of no others."""
    return LAWS[fit.family.name](fit, c[law_name(fit)])


def passed_by(fit: Described, c: Mapping[str, Any]) -> Passed:
    """Return what a transformer costs that is made of no others, and what it hands on."""
    return TRANSFORMERS.get(short(fit), transforms.other)(fit, c["steps"])


def short(fit: Described) -> str:
    """Return the name of an estimator's class without its module."""
    return fit.algorithm.rpartition(".")[2]
