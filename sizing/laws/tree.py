"""What models of trees cost: boosting by histograms and by sorting, forests, single trees.

In: a law per kind of model. Not in: their constants (``prior.json``).
"""

import math

from fitcast.sizing.laws.features import Described
from fitcast.sizing.laws.law import (
    Constants,
    Work,
    between,
    cells_test,
    is_regression,
    item_bytes,
    log2,
    outputs,
)

_ROUNDS = (
    *("num_iterations", "num_iteration", "n_iter", "num_tree", "num_trees", "num_round"),
    *("num_rounds", "nrounds", "num_boost_round", "iterations", "max_iter", "n_estimators"),
)
"""Names of the number of rounds. LightGBM's aliases stand beside n_estimators and overrule it."""

_WEIGHTED_ROWS = 200_000


def histogram_boosting(fit: Described, c: Constants) -> Work:
    """Return the cost of XGBoost, LightGBM, scikit-learn's histogram boosting, CatBoost.

    Rows are binned once. Each level of a tree sums gradients over rows × columns, and each node
    searches columns × bins for the best split. Binning and predicting the test rows are added.
    """
    p = fit.params
    name = fit.algorithm.rpartition(".")[2]
    rounds = p.number(*_ROUNDS, default=1000.0 if name.startswith("CatBoost") else 100.0)
    rounds = between(rounds, 1.0, 1e6)
    if name.startswith("Hist") and _stops_early(fit):
        rounds = between(rounds * c["early_share"], 1.0, rounds)
    trees = rounds * max(outputs(fit), _quantiles(fit))
    trees *= between(p.number("num_parallel_tree", default=1.0), 1.0, 1e5)
    leaves = p.number("num_leaves", "max_leaf_nodes", "max_leaves", default=0.0)
    if leaves <= 1.0:
        leaves = 31.0 if name.startswith(("LGBM", "Hist")) else math.inf
    # -1, 0 and None mean no limit where leaves are limited, else the packages' own default.
    depth = p.number("max_depth", "depth", default=0.0)
    if depth < 1.0:
        # XGBoost's 0 is no limit, its None the default of 6.
        unlimited = name.startswith("XGB") and "max_depth" in p.numbers
        free = log2(fit.rows_train) if unlimited else 6.0
        depth = 1.3 * math.log2(leaves) if math.isfinite(leaves) else free
    depth = between(depth, 1.0, 64.0)
    smallest = p.number("min_child_samples", "min_samples_leaf", default=1.0)
    # A leaf needs second derivatives that add up to one: a row of numbers has one, a row whose
    # class is almost certain hardly any.
    needed = c["rows_per_value"] if is_regression(fit) else c["rows_per_leaf"]
    smallest = between(max(smallest, needed), 1.0, 1e9)
    nodes = min(2.0**depth, leaves, 1.0 + fit.rows_train / smallest)
    levels = min(depth, 1.3 * log2(1.0 + nodes))
    forest = name.startswith("XGBRF")
    sampled = p.number("subsample", "bagging_fraction", default=0.8 if forest else 1.0)
    rows = fit.rows_train * between(sampled, 0.01, 1.0)
    share = between(p.number("colsample_bytree", "feature_fraction", default=1.0), 0.01, 1.0)
    columns = between(fit.nonzeros / fit.rows_train, 1.0, fit.columns) * share
    bins = between(p.number("max_bin", "max_bins", default=255.0), 2.0, 1e5)
    bins = min(bins, fit.distinct, 1.0 + fit.nonzeros / fit.columns)
    searched = nodes * max(1.0, fit.columns * share) * bins
    tree_s = (
        c["row_s"] * fit.rows_train
        + c["row_level_s"] * rows * levels
        + c["cell_level_s"] * rows * columns * levels
        + c["bin_s"] * searched
    )
    binning_s = c["binning_s"] * fit.nonzeros * log2(bins)
    if name.startswith("Hist") and p.word("class_weight", "None") != "None":
        binning_s += _weighted_binning_s(fit, c)
    if _drops_trees(fit):
        # The answers of trees made before are taken back and given anew in every round.
        tree_s += c["dropped_s"] * fit.rows_train * levels * trees / 2.0
    predict_s = c["predict_s"] * fit.rows_test * trees * levels
    # LightGBM keeps room for the histograms of all leaves allowed, whether they grow or not.
    held = leaves if name.startswith("LGBM") and math.isfinite(leaves) else nodes
    kept_bins = min(bins, 1.0 + fit.nonzeros / fit.columns / c["rows_per_bin"])
    memory = (
        c["memory_bytes"]
        + c["cell_bytes"] * fit.nonzeros
        + c["item_share"] * item_bytes(fit) * (fit.nonzeros + cells_test(fit))
        + c["row_bytes"] * fit.rows_train * outputs(fit)
        + c["node_bytes"] * nodes * trees
        + c["bin_bytes"] * held * fit.columns * kept_bins
    )
    return Work(
        serial_s=c["fixed_s"] + trees * (c["tree_s"] + c["node_s"] * nodes),
        parallel_s=trees * tree_s + binning_s + predict_s,
        memory_bytes=memory,
        text=f"boosting of {trees:,.0f} trees, depth {depth:.0f}",
        threading_s=trees * levels * c["thread_level_s"],
    )


def _drops_trees(fit: Described) -> bool:
    return "dart" in (fit.params.word("booster"), fit.params.word("boosting_type"))


def _quantiles(fit: Described) -> float:
    """Return how many quantiles XGBoost forecasts at once, each by trees of its own."""
    word = fit.params.word("quantile_alpha")
    if word.startswith(("(", "[")):
        return 1.0 + word.count(",")
    return max(1.0, sum(name.startswith("quantile_alpha.") for name in fit.params.numbers))


def _weighted_binning_s(fit: Described, c: Constants) -> float:
    """Return what weights add: a sort of each column per bin, of up to 200,000 rows."""
    if fit.rows_train > _WEIGHTED_ROWS:
        return 0.0
    bins = min(fit.params.number("max_bins", default=255.0), fit.distinct)
    sorts = (bins - 1.0) * fit.columns if fit.distinct >= 255.0 else 0.0
    return c["weighted_sort_s"] * sorts * fit.rows_train * log2(fit.rows_train)


def forest(fit: Described, c: Constants) -> Work:
    """Return the cost of random forests, extra trees."""
    p = fit.params
    name = fit.algorithm.rpartition(".")[2]
    trees = between(p.number("n_estimators", default=100.0), 1.0, 1e6)
    random = name.startswith(("Extra", "RandomTrees"))
    features = max_features(fit, fit.columns if "Regressor" in name else math.sqrt(fit.columns))
    # A bootstrap holds 63 % of the rows, the others with weight 0 are not looked at.
    whole = p.word("bootstrap", "False" if random else "True") == "False"
    rows = fit.rows_train * (1.0 if whole else 0.632)
    tree_s, nodes, depth = _grown(fit, c, rows, features, random=random)
    memory = (
        c["memory_bytes"]
        + trees * nodes * (c["node_bytes"] + c["value_bytes"] * max(1.0, fit.classes))
        + c["row_bytes"] * fit.rows_train
        + _as_float32(fit, c)
        + c["answer_bytes"] * fit.rows_test * max(1.0, fit.classes) * fit.threads
    )
    limit = p.number("max_depth", default=0.0)
    said = f"depth {limit:.0f}" if limit >= 1.0 else "any depth"
    return Work(
        # Starting a tree is Python, of which one thread runs at a time.
        serial_s=c["fixed_s"] + c["cell_s"] * fit.nonzeros + trees * c["tree_s"],
        parallel_s=trees * (tree_s - c["tree_s"] + c["predict_s"] * fit.rows_test * depth),
        memory_bytes=memory,
        text=f"forest of {trees:,.0f} trees, {said}",
        threading_s=trees * c["thread_tree_s"],
    )


def tree(fit: Described, c: Constants) -> Work:
    """Return the cost of a single tree."""
    random = fit.algorithm.rpartition(".")[2].startswith("Extra")
    features = max_features(fit, fit.columns)
    tree_s, nodes, _ = _grown(fit, c, fit.rows_train, features, random=random)
    memory = (
        c["memory_bytes"]
        + nodes * (c["node_bytes"] + c["value_bytes"] * max(1.0, fit.classes))
        + c["row_bytes"] * fit.rows_train
        + _as_float32(fit, c)
    )
    return Work(tree_s + c["cell_s"] * fit.nonzeros, 0.0, memory, "tree")


def bagging(fit: Described, c: Constants) -> Work:
    """Return the cost of bagging; its models are assumed to be trees."""
    members = between(fit.params.number("n_estimators", default=10.0), 1.0, 1e6)
    tree_s, nodes, depth = _grown(fit, c, 0.632 * fit.rows_train, fit.columns, random=False)
    memory = (
        c["memory_bytes"]
        + members * nodes * (c["node_bytes"] + c["value_bytes"] * max(1.0, fit.classes))
        + members * c["row_bytes"] * fit.rows_train
        + c["cell_bytes"] * fit.nonzeros
        + _as_float32(fit, c)
    )
    return Work(
        serial_s=c["fixed_s"],
        parallel_s=members * (tree_s + c["predict_s"] * fit.rows_test * depth),
        memory_bytes=memory,
        text=f"bag of {members:,.0f} models",
    )


def exact_boosting(fit: Described, c: Constants) -> Work:
    """Return the cost of boosting whose trees sort every column in each node."""
    p = fit.params
    trees = between(p.number("n_estimators", default=100.0), 1.0, 1e6) * outputs(fit)
    sampled = between(p.number("subsample", default=1.0), 0.01, 1.0)
    features = max_features(fit, fit.columns)
    limit = p.number("max_depth", default=3.0)
    tree_s, nodes, depth = _grown(
        fit, c, fit.rows_train * sampled, features, random=False, regression=True, limit=limit
    )
    per_tree_s = tree_s + c["row_s"] * fit.rows_train + c["predict_s"] * fit.rows_test * depth
    memory = (
        c["memory_bytes"]
        + c["row_bytes"] * fit.rows_train * outputs(fit)
        + c["node_bytes"] * nodes * trees
        + _as_float32(fit, c)
    )
    text = f"boosting of {trees:,.0f} trees, depth {depth:.0f}"
    return Work(trees * per_tree_s, 0.0, memory, text)


def adaboost(fit: Described, c: Constants) -> Work:
    """Return the cost of AdaBoost: trees of depth 1 in classification, 3 in regression."""
    rounds = between(fit.params.number("n_estimators", default=50.0), 1.0, 1e6)
    limit = 3.0 if is_regression(fit) else 1.0
    tree_s, _, depth = _grown(fit, c, fit.rows_train, fit.columns, random=False, limit=limit)
    seen = fit.rows_train + fit.rows_test
    cells = fit.nonzeros + cells_test(fit)
    round_s = tree_s + c["predict_s"] * seen * depth + c["cell_s"] * cells
    memory = (
        c["memory_bytes"]
        + c["row_bytes"] * fit.rows_train * max(1.0, fit.classes)
        + c["cell_bytes"] * fit.nonzeros
        + c["round_bytes"] * rounds * fit.rows_test * max(1.0, fit.classes)
        + _as_float32(fit, c)
    )
    return Work(rounds * round_s, 0.0, memory, f"boosting of {rounds:,.0f} rounds")


def max_features(fit: Described, default: float) -> float:
    """Return how many columns each split looks at."""
    word = fit.params.word("max_features")
    if word in ("sqrt", "auto"):
        return math.sqrt(fit.columns)
    if word == "log2":
        return max(1.0, log2(fit.columns))
    value = fit.params.number("max_features", default=-1.0)
    if value <= 0.0:
        return fit.columns if word == "None" else max(1.0, default)
    # 1.0 is all of them, 1 is one of them; a float up to 1 is a share.
    return between(value * fit.columns if value <= 1.0 else value, 1.0, fit.columns)


def _stops_early(fit: Described) -> bool:
    word = fit.params.word("early_stopping", "auto")
    return word == "True" or (word == "auto" and fit.rows_train > 10_000)


def _as_float32(fit: Described, c: Constants) -> float:
    """Return the bytes of the copies that scikit-learn's trees make of data of other types."""
    if item_bytes(fit) < 6.0:
        return c["float32_share"] * (fit.nonzeros + cells_test(fit))
    return c["copy_share"] * 4.0 * (fit.nonzeros + cells_test(fit))


def _grown(
    fit: Described,
    c: Constants,
    rows: float,
    features: float,
    *,
    random: bool,
    regression: bool | None = None,
    limit: float | None = None,
) -> tuple[float, float, float]:
    """Return seconds, nodes and mean depth of one tree.

    Every level sorts the rows of its nodes by each column looked at, unless thresholds are drawn
    at random; a node's rows halve from level to level. Rows with equal values are sorted at once,
    and no split is tried between them.
    """
    p = fit.params
    regression = is_regression(fit) if regression is None else regression
    smallest = max(_count(fit, "min_samples_leaf", 1.0), _count(fit, "min_samples_split", 2.0) / 2)
    # Few leaves of an unpruned tree of classes hold a single row, almost all of one of numbers.
    single = c["rows_per_value"] if regression else c["rows_per_class"]
    leaves = max(2.0, rows / (single + c["leaf_fill"] * (smallest - 1.0)))
    if math.isfinite(fit.distinct):  # no more leaves than there are combinations of values
        leaves = max(2.0, min(leaves, 2.0 ** min(60.0, fit.columns * math.log2(fit.distinct))))
    most = p.number("max_leaf_nodes", default=0.0)
    if most >= 2.0:
        leaves = min(leaves, most)
    depth = c["depth_share"] * log2(leaves)
    limit = p.number("max_depth", default=0.0) if limit is None else limit
    if limit >= 1.0:
        free = depth
        # Rows whose leaf is pure early don't reach a deep limit: a soft minimum.
        depth = (limit**-4.0 + depth**-4.0) ** -0.25
        leaves = min(leaves * (depth / free) ** 2, 2.0 ** min(limit, 60.0))
    depth = max(1.0, depth)
    sorting = max(1.0, min(log2(rows) - 0.5 * (depth - 1.0), log2(fit.distinct)))
    # Levels whose nodes hold more rows than there are values: few of their cells are boundaries.
    tied = between(math.log2(max(1.0, rows / fit.distinct)), 0.0, depth - 1.0)
    boundaries = (depth - tied + min(tied, 2.0)) / depth
    cell_s = c["sort_s"] * sorting + c["split_cell_s"] * boundaries
    if random:
        cell_s = c["random_cell_s"]
    # In sparse data only non-zeros are sorted.
    density = between(fit.nonzeros / (fit.rows_train * fit.columns), 1e-6, 1.0)
    tree_s = (
        c["tree_s"]
        + rows * depth * (c["row_level_s"] + features * density * cell_s)
        + leaves * (c["leaf_s"] + c["leaf_feature_s"] * features)
    )
    return tree_s, 2.0 * leaves, depth


def _count(fit: Described, name: str, default: float) -> float:
    value = fit.params.number(name, default=default)
    if 0.0 < value < 1.0:  # a share of the rows
        value *= fit.rows_train
    return between(value, 1.0, fit.rows_train)
