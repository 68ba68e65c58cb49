"""What a fit costs by the rule of its family, before anything like it was seen.

In: a law per family for the work of a fit at one thread and for its memory, with constants
measured by ``benchmarks/measure_prior.py`` (``prior.json``). Not in: how far a law may be off
(:mod:`fitcast.sizing.families`) and what is learned (:mod:`fitcast.sizing.learning`).
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

from fitcast.sizing.features import Described

MAX_LOG = 34.0  # of bytes: 580 TB; nothing larger is meant seriously
MAX_LOG_S = 18.0  # of seconds: two years


@dataclass(frozen=True, slots=True)
class Cost:
    """What the law of a family says of one fit."""

    work_s: float  # at one thread, without starting the process
    process_s: float  # what every attempt costs, however small
    memory_bytes: float  # above the process's own
    text: str  # "forest of 200 trees, depth 12"


@cache
def constants() -> Mapping[str, Any]:
    """Return the measured constants."""
    text = (files("fitcast.sizing") / "prior.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def base_memory_bytes() -> float:
    """Return what a fit's process holds before the fit begins."""
    return float(constants()["base_memory_bytes"])


def cost_of(fit: Described) -> Cost:
    """Return what the law of its family says of a fit."""
    c = constants()
    law = _LAWS[fit.family.name]
    work_s, memory, text = law(fit, c.get(fit.family.name, {}))
    work_s *= c["work_factor"]  # constants are those of a core alone; here, cores share caches
    work_s += c["predict_cell_s"] * fit.rows_test * fit.columns
    work_s += c["step_cell_s"] * fit.nonzeros * max(0, len(fit.steps) - 1)
    # Touched pages of the mapped data count as the process's own; each step may copy them.
    memory += c["own_memory_bytes"] + fit.data_bytes * (1.0 + max(0, len(fit.steps) - 1))
    return Cost(
        work_s=_between(work_s, 1e-5, math.exp(MAX_LOG_S)),
        process_s=float(c["process_s"]),
        memory_bytes=_between(memory, 1e5, math.exp(MAX_LOG)),
        text=text,
    )


_Answer = tuple[float, float, str]


def _histogram_boosting(fit: Described, c: Mapping[str, float]) -> _Answer:
    p = fit.params
    trees = p.number("n_estimators", "max_iter", "iterations", "num_boost_round", default=100.0)
    trees = _between(trees, 1.0, 1e6) * _outputs(fit)
    leaves = p.number("num_leaves", "max_leaf_nodes", "max_leaves", default=0.0)
    if leaves <= 1.0:
        by_leaf = fit.algorithm.rpartition(".")[2].startswith(("LGBM", "Hist"))
        leaves = 31.0 if by_leaf else math.inf
    # -1, 0 and None mean no limit where leaves are limited, else the packages' own default.
    depth = p.number("max_depth", "depth", default=0.0)
    if depth < 1.0:
        depth = 1.3 * math.log2(leaves) if math.isfinite(leaves) else 6.0
    depth = _between(depth, 1.0, 64.0)
    nodes = min(2.0**depth, leaves, 1.0 + fit.rows_train / c["rows_per_node"])
    levels = min(depth, 1.3 * math.log2(1.0 + nodes) + 1.0)
    rows = fit.rows_train * _between(
        p.number("subsample", "bagging_fraction", default=1.0), 0.01, 1.0
    )
    share = _between(p.number("colsample_bytree", "feature_fraction", default=1.0), 0.01, 1.0)
    columns = _between(fit.nonzeros / fit.rows_train, 1.0, fit.columns) * share
    level_s = c["row_level_s"] * rows + c["cell_level_s"] * rows * columns
    tree_s = c["tree_s"] + level_s * levels + c["node_column_s"] * nodes * columns
    memory = (
        c["memory_bytes"]
        + c["cell_bytes"] * fit.nonzeros
        + c["row_bytes"] * fit.rows_train * _outputs(fit)
        + c["node_bytes"] * nodes * trees
        + c["node_column_bytes"] * nodes * columns
    )
    if fit.algorithm.rpartition(".")[2].startswith("Hist"):
        tree_s *= c["hist_factor"]
    text = f"boosting of {trees:,.0f} trees, depth {depth:.0f}"
    return c["fixed_s"] + trees * tree_s, memory, text


def _exact_boosting(fit: Described, c: Mapping[str, float]) -> _Answer:
    p = fit.params
    trees = _between(p.number("n_estimators", default=100.0), 1.0, 1e6) * _outputs(fit)
    depth = _between(p.number("max_depth", default=3.0), 1.0, 1.3 * _log2(fit.rows_train) + 1)
    share = _between(p.number("subsample", default=1.0), 0.01, 1.0)
    cells = fit.rows_train * share * min(fit.columns, _max_features(fit, fit.columns))
    nodes = min(2.0**depth, fit.rows_train)
    memory = (
        c["row_bytes"] * fit.rows_train * _outputs(fit)
        + c["node_bytes"] * nodes * trees
        + 4.0 * fit.rows_train * fit.columns
    )
    work_s = trees * (c["tree_s"] + c["cell_level_s"] * cells * depth)
    return work_s, memory, f"boosting of {trees:,.0f} trees, depth {depth:.0f}"


def _forest(fit: Described, c: Mapping[str, float]) -> _Answer:
    p = fit.params
    name = fit.algorithm.rpartition(".")[2]
    trees = _between(p.number("n_estimators", default=100.0), 1.0, 1e6)
    regression = "Regressor" in name
    features = _max_features(fit, fit.columns if regression else math.sqrt(fit.columns))
    depth, nodes = _tree_depth(fit)
    level_s = fit.rows_train * (c["row_level_s"] + c["feature_level_s"] * features)
    if name.startswith(("Extra", "RandomTrees")):
        level_s *= 0.75  # draws its thresholds, doesn't sort
    work_s = c["fixed_s"] + trees * (c["tree_s"] + level_s * depth)
    node_bytes = c["node_bytes"] + 8.0 * max(1.0, fit.classes)
    memory = (
        trees * nodes * node_bytes
        + c["row_bytes"] * fit.rows_train
        + c["cell_bytes"] * fit.rows_train * fit.columns
    )
    limit = p.number("max_depth", default=0.0)
    return (
        work_s,
        memory,
        f"forest of {trees:,.0f} trees, " + (f"depth {limit:.0f}" if limit >= 1.0 else "any depth"),
    )


def _tree(fit: Described, c: Mapping[str, float]) -> _Answer:
    depth, nodes = _tree_depth(fit)
    features = _max_features(fit, fit.columns)
    memory = (
        nodes * (c["node_bytes"] + 8.0 * max(1.0, fit.classes))
        + c["cell_bytes"] * fit.rows_train * fit.columns
    )
    return c["feature_level_s"] * fit.rows_train * features * depth, memory, "tree"


def _bagging(fit: Described, c: Mapping[str, float]) -> _Answer:
    members = _between(fit.params.number("n_estimators", default=10.0), 1.0, 1e6)
    depth, _ = _tree_depth(fit)
    work_s = members * c["feature_level_s"] * fit.rows_train * fit.columns * depth
    return work_s, c["cell_bytes"] * fit.nonzeros, f"bag of {members:,.0f} models"


def _adaboost(fit: Described, c: Mapping[str, float]) -> _Answer:
    rounds = _between(fit.params.number("n_estimators", default=50.0), 1.0, 1e6)
    work_s = rounds * (c["tree_s"] + c["cell_s"] * fit.rows_train * fit.columns)
    return work_s, 4.0 * fit.nonzeros, f"boosting of {rounds:,.0f} rounds"


def _coordinate_descent(fit: Described, c: Mapping[str, float]) -> _Answer:
    most = min(
        c["most_passes"], _between(fit.params.number("max_iter", default=1e3), 1.0, 1e7) * 30
    )
    passes = min(most, c["passes"] * _looseness(fit, c["loose_rows"]))
    work_s = c["cell_pass_s"] * passes * fit.nonzeros * _outputs(fit)
    return work_s, c["cell_bytes"] * fit.nonzeros, _linear_text(fit)


def _iterative_linear(fit: Described, c: Mapping[str, float]) -> _Answer:
    most = _between(fit.params.number("max_iter", default=1e2), 1.0, 1e7)
    if fit.params.word("solver") in ("saga", "sag"):
        passes = min(most, c["saga_passes"] * _looseness(fit, c["loose_rows"]))
        pass_s = c["saga_cell_s"] * fit.nonzeros + c["saga_row_s"] * fit.rows_train
    else:
        passes = min(most, c["lbfgs_passes"])
        pass_s = c["cell_pass_s"] * fit.nonzeros + c["row_pass_s"] * fit.rows_train
    work_s = passes * pass_s * _outputs(fit)
    if fit.algorithm.endswith("CV"):
        work_s *= 50.0  # ten penalties, five folds
    return work_s, c["cell_bytes"] * fit.nonzeros, _linear_text(fit)


def _looseness(fit: Described, loose_rows: float) -> float:
    """Return how many times more passes a weak penalty takes; 1 for a strong one."""
    inverse_penalty = _between(fit.params.number("C", default=1.0), 1e-6, 1e3)
    return 1.0 + inverse_penalty * fit.rows_train / loose_rows


def _closed_linear(fit: Described, c: Mapping[str, float]) -> _Answer:
    small = min(fit.rows_train, fit.columns)
    work_s = fit.nonzeros * (c["cell_s"] + c["square_s"] * small)
    return work_s, c["cell_bytes"] * fit.nonzeros, _linear_text(fit)


def _stochastic(fit: Described, c: Mapping[str, float]) -> _Answer:
    passes = min(c["passes"], _between(fit.params.number("max_iter", default=1e3), 1.0, 1e7))
    pass_s = c["cell_pass_s"] * fit.nonzeros + c["row_pass_s"] * fit.rows_train
    return passes * pass_s * _outputs(fit), c["cell_bytes"] * fit.nonzeros, "linear model"


def _kernel(fit: Described, c: Mapping[str, float]) -> _Answer:
    pairs = fit.rows_train * (fit.rows_train + fit.rows_test)
    columns = fit.nonzeros / fit.rows_train
    work_s = pairs * (c["pair_s"] + c["pair_column_s"] * columns)
    if fit.params.word("probability") == "True":
        work_s *= 5.0
    name = fit.algorithm.rpartition(".")[2]
    cache_bytes = 2**20 * fit.params.number("cache_size", default=200.0)
    held = 8.0 * fit.rows_train**2
    if name != "KernelRidge":
        held = min(_between(cache_bytes, 1e6, 1e13), held / 2.0)
    else:
        work_s += 1e-10 * fit.rows_train**3
    return work_s, held + c["cell_bytes"] * fit.nonzeros, "kernel machine"


def _gaussian_process(fit: Described, c: Mapping[str, float]) -> _Answer:
    restarts = 1.0 + _between(fit.params.number("n_restarts_optimizer", default=0.0), 0.0, 1e3)
    work_s = c["cube_s"] * fit.rows_train**3 * 20.0 * restarts
    return work_s, c["pair_bytes"] * fit.rows_train**2, "Gaussian process"


def _neighbours(fit: Described, c: Mapping[str, float]) -> _Answer:
    # Trees help in few dimensions; in many, every pair is looked at.
    queried = fit.rows_test
    brute = c["pair_column_s"] * queried * fit.rows_train * fit.columns
    by_tree = c["row_log_s"] * _log2(fit.rows_train) * (fit.rows_train + 20.0 * queried)
    whole = fit.params.word("algorithm") == "brute" or fit.columns > 15.0
    work_s = brute if whole else min(brute, by_tree)
    return work_s, c["cell_bytes"] * fit.nonzeros, "neighbours"


def _neural(fit: Described, c: Mapping[str, float]) -> _Answer:
    p = fit.params
    epochs = p.number("max_iter", "epochs", "max_epochs", "fit__epochs", default=0.0)
    if epochs < 1.0:
        epochs = 200.0 if "MLP" in fit.algorithm else 10.0
    sizes = [_size for _size in _numbers_in(p.word("hidden_layer_sizes")) if _size >= 1.0]
    if not sizes:
        sizes = [p.number("hidden_layer_sizes", default=100.0)]
    layers = [fit.columns, *sizes, max(1.0, fit.classes)]
    weights = sum(left * right for left, right in pairwise(layers))
    weights = _between(weights, 1.0, 1e11)
    passes = _between(epochs * c["passes_share"], 1.0, 1e6)
    work_s = passes * fit.rows_train * (c["row_pass_s"] + c["weight_pass_s"] * weights)
    memory = 40.0 * weights + c["cell_bytes"] * fit.nonzeros
    return work_s, memory, f"neural network, {epochs:,.0f} epochs"


def _counting(fit: Described, c: Mapping[str, float]) -> _Answer:
    return c["cell_s"] * fit.nonzeros, c["cell_bytes"] * fit.nonzeros, "counting model"


def _generic(fit: Described, c: Mapping[str, float]) -> _Answer:
    name = fit.algorithm.rpartition(".")[2] or "an unknown algorithm"
    work_s = c["fixed_s"] + c["cell_s"] * fit.nonzeros
    return work_s, c["cell_bytes"] * fit.nonzeros, f"{name[:60]}, whose cost isn't known"


_LAWS: dict[str, Callable[[Described, Mapping[str, float]], _Answer]] = {
    "histogram_boosting": _histogram_boosting,
    "exact_boosting": _exact_boosting,
    "forest": _forest,
    "tree": _tree,
    "bagging": _bagging,
    "adaboost": _adaboost,
    "coordinate_descent": _coordinate_descent,
    "iterative_linear": _iterative_linear,
    "closed_linear": _closed_linear,
    "stochastic": _stochastic,
    "kernel": _kernel,
    "gaussian_process": _gaussian_process,
    "neighbours": _neighbours,
    "neural": _neural,
    "counting": _counting,
    "generic": _generic,
}


def _tree_depth(fit: Described) -> tuple[float, float]:
    """Return the mean depth that rows reach in an unpruned tree, and its nodes."""
    p = fit.params
    smallest = max(_count(fit, "min_samples_leaf", 1.0), _count(fit, "min_samples_split", 2.0) / 2)
    # Few leaves of an unpruned tree hold a single row; those of random thresholds twice as many.
    single = 3.0 if fit.algorithm.rpartition(".")[2].startswith("Extra") else 6.0
    leaves = max(2.0, fit.rows_train / (single + 2.0 * (smallest - 1.0)))
    limit = p.number("max_leaf_nodes", default=0.0)
    if limit >= 2.0:
        leaves = min(leaves, limit)
    depth = 1.3 * _log2(fit.rows_train / smallest)
    given = p.number("max_depth", default=0.0)
    if given >= 1.0:
        # Rows whose leaf is pure early don't reach a deep limit: a soft minimum.
        free = depth
        depth = (given**-4.0 + depth**-4.0) ** -0.25
        leaves = min(leaves * (depth / free) ** 2, 2.0 ** min(given, 60.0))
    return max(1.0, depth), 2.0 * leaves


def _count(fit: Described, name: str, default: float) -> float:
    value = fit.params.number(name, default=default)
    if 0.0 < value < 1.0:  # a share of the rows
        value *= fit.rows_train
    return _between(value, 1.0, fit.rows_train)


def _max_features(fit: Described, default: float) -> float:
    word = fit.params.word("max_features")
    if word in ("sqrt", "auto"):
        return math.sqrt(fit.columns)
    if word == "log2":
        return max(1.0, _log2(fit.columns))
    value = fit.params.number("max_features", default=-1.0)
    if value <= 0.0:
        return fit.columns if word == "None" else max(1.0, default)
    # 1.0 is all of them, 1 is one of them; a float up to 1 is a share.
    return _between(value * fit.columns if value <= 1.0 else value, 1.0, fit.columns)


def _outputs(fit: Described) -> float:
    return _between(fit.classes, 1.0, 1e5) if fit.classes > 2.0 else 1.0


def _linear_text(fit: Described) -> str:
    solver = fit.params.word("solver")
    return f"linear model by {solver[:30]}" if solver and solver != "auto" else "linear model"


def _numbers_in(text: str) -> list[float]:
    found = "".join(ch if ch.isdigit() else " " for ch in text).split()
    return [float(number[:9]) for number in found[:32]]


def _log2(value: float) -> float:
    return math.log2(max(2.0, value))


def _between(value: float, least: float, most: float) -> float:
    if not math.isfinite(value):
        return most if value > 0 else least
    return min(max(value, least), most)
