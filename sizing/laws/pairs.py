"""What models cost that compare rows with each other.

In: kernel machines, Gaussian processes, neighbours, models that spread labels from row to row.
Not in: their constants (``prior.json``).
"""

import math

from fitcast.sizing.laws.features import Described
from fitcast.sizing.laws.law import (
    Constants,
    Work,
    between,
    cells_test,
    is_regression,
    is_sparse,
    item_bytes,
    log2,
    outputs,
)

_DISTANCES = frozenset(("euclidean", "l2", "minkowski", "sqeuclidean"))
"""Metrics that scikit-learn computes by products of matrices where it compares all pairs."""

_WORKING_MEMORY = 2.0**30
"""Bytes of distances that scikit-learn holds at once, by default."""


def kernel(fit: Described, c: Constants) -> Work:
    """Return the cost of support vector machines and kernel ridge: every pair of rows."""
    name = fit.algorithm.rpartition(".")[2]
    columns = fit.nonzeros / fit.rows_train
    pair_s = c["pair_s"] + c["pair_column_s"] * columns
    cache_bytes = 2**20 * fit.params.number("cache_size", default=200.0)
    held = 8.0 * fit.rows_train**2
    if name == "KernelRidge":
        # One matrix of pairs, its exponentials, and a factorisation.
        pairs = fit.rows_train * (fit.rows_train + fit.rows_test)
        train_s = c["matrix_pair_s"] * pairs + c["matrix_cube_s"] * fit.rows_train**3
        held = c["matrix_bytes"] * fit.rows_train * max(fit.rows_train, fit.rows_test)
        memory = c["memory_bytes"] + held
        return Work(train_s, 0.0, memory, "kernel ridge")
    held = min(between(cache_bytes, 1e6, 1e13), c["cache_share"] * held)
    inverse_penalty = between(fit.params.number("C", default=1.0), 1e-6, 1e6)
    kind = "regression" if is_regression(fit) else fit.params.word("kernel", "rbf")
    factor = c.get(f"{kind}_factor", 1.0)
    train_s = pair_s * factor * inverse_penalty ** c["penalty_power"]
    train_s *= fit.rows_train**2 * (fit.rows_train / 1e4) ** c["rows_power"]
    if fit.params.word("probability") == "True":
        train_s *= 5.0
    predict_s = c["predict_share"] * pair_s * fit.rows_train * fit.rows_test
    copied = c["copies"] * 8.0 * (fit.nonzeros + cells_test(fit))
    memory = c["memory_bytes"] + held + copied
    return Work(train_s + predict_s, 0.0, memory, "kernel machine")


def gaussian_process(fit: Described, c: Constants) -> Work:
    """Return the cost of Gaussian processes: rows cubed, per step of the kernel's optimisation.

    The default kernel of scikit-learn's is fixed: nothing is optimised, one factorisation is all.
    """
    rows = fit.rows_train
    restarts = 1.0 + between(fit.params.number("n_restarts_optimizer", default=0.0), 0.0, 1e3)
    fixed = fit.params.word("kernel", "None") == "None" or fit.params.word("optimizer") == "None"
    steps = 1.0 if fixed else c["steps"] * restarts
    each_s = c["cube_s"] * rows**3 + c["pair_s"] * rows**2
    if not fixed:  # the inverse, and the derivatives by the kernel's parameters
        each_s += c["gradient_cube_s"] * rows**3 + c["gradient_pair_s"] * rows**2
    if not is_regression(fit):  # Newton's steps to the mode of the posterior
        each_s *= c["newton_steps"]
    work_s = outputs(fit) * (each_s * steps + c["step_s"] * steps)
    work_s += outputs(fit) * c["pair_s"] * rows * fit.rows_test
    pair_bytes = c["pair_bytes"] if fixed else c["gradient_pair_bytes"]
    memory = c["memory_bytes"] + pair_bytes * rows**2 + c["answer_bytes"] * rows * fit.rows_test
    return Work(0.0, work_s, memory, "Gaussian process")


def neighbours(fit: Described, c: Constants) -> Work:
    """Return the cost of nearest neighbours: a tree in few dimensions, brute force in many."""
    wanted = fit.params.number("n_neighbors", default=5.0)
    wanted = between(wanted, 1.0, fit.rows_train)
    queried = fit.rows_test
    metric = fit.params.word("metric", "minkowski")
    odd = metric not in _DISTANCES
    tree = fit.params.word("algorithm", "auto") in ("kd_tree", "ball_tree")
    brute = fit.params.word("algorithm") == "brute" or metric == "cosine"
    whole = (brute or fit.columns > 15.0 or is_sparse(fit)) and not tree
    by_radius = fit.algorithm.rpartition(".")[2].startswith("Radius")
    memory = (
        c["memory_bytes"]
        + c["copies"] * fit.nonzeros * item_bytes(fit)
        + c["answer_bytes"] * queried * wanted
    )
    pairs = queried * fit.rows_train
    if by_radius:  # how many lie within it isn't known: a good part of all
        memory += c["radius_bytes"] * pairs
        return Work(c["radius_pair_s"] * pairs, 0.0, memory, "neighbours")
    if whole:
        columns = fit.nonzeros / fit.rows_train
        pair_s = c["pair_s"] + c["pair_column_s"] * columns
        work_s = pairs * pair_s
        if metric == "cosine":
            work_s *= c["cosine_factor"]
        elif odd:
            work_s = pairs * (c["pair_s"] + c["odd_column_s"] * columns)
        if is_sparse(fit):
            work_s *= c["sparse_factor"]
            # All distances of a chunk of queries, up to scikit-learn's working memory.
            memory += min(_WORKING_MEMORY, 8.0 * pairs) * c["chunk_share"]
        elif metric == "cosine":
            # No fused kernel: the distances of a chunk, and their order.
            memory += min(2.0 * _WORKING_MEMORY, c["pair_bytes"] * pairs)
    else:
        # In more dimensions more leaves lie near enough to hold a neighbour; a column of few
        # values is less than a dimension, and rows that are equal all lie near.
        bits = log2(fit.distinct) if math.isfinite(fit.distinct) else 8.0
        equal = fit.rows_train / 2.0 ** min(60.0, bits * fit.columns)
        looked_at = wanted + c["leaf_rows"] + c["equal_share"] * equal
        looked_at *= math.exp(min(30.0, c["dimension_power"] * fit.columns * min(1.0, bits / 8.0)))
        looked_at = min(looked_at, fit.rows_train)
        query_s = c["query_s"] + c["step_s"] * log2(fit.rows_train)
        column_s = c["visit_s"] * (c["odd_visits"] if odd else 1.0)
        query_s += looked_at * (c["visit_s"] + 0.1 * column_s * fit.columns)
        query_s += c["neighbour_s"] * wanted
        work_s = queried * query_s
    built_s = c["build_s"] * fit.nonzeros * (1.0 if whole else log2(fit.rows_train))
    return Work(built_s, work_s, memory, "neighbours")


def label_model(fit: Described, c: Constants) -> Work:
    """Return the cost of label propagation and spreading: a graph of all rows, passed over often.

    By the kernel of k neighbours the graph is sparse, else it holds every pair.
    """
    rows, tested = fit.rows_train, fit.rows_test
    most = between(fit.params.number("max_iter", default=30.0), 1.0, 1e6)
    spreading = fit.algorithm.rpartition(".")[2].startswith("LabelSpreading")
    passes = min(most, c["spreading_passes"] if spreading else c["propagation_passes"])
    answers = max(2.0, fit.classes)
    if fit.params.word("kernel", "rbf") == "knn":
        kept = between(fit.params.number("n_neighbors", default=7.0), 1.0, rows)
        graph_s = c["knn_pair_s"] * rows * (rows + tested)
        pass_s = c["edge_s"] * rows * kept * answers
        held = 12.0 * rows * kept + c["knn_pair_bytes"] * rows * tested
    else:
        graph_s = c["pair_s"] * rows * (rows + tested)
        pass_s = c["pair_pass_s"] * rows**2 * answers
        held = c["pair_bytes"] * rows**2 + c["answer_bytes"] * rows * tested
    work_s = graph_s + passes * (pass_s + c["pass_s"])
    return Work(work_s, 0.0, c["memory_bytes"] + held, f"labels spread over {rows:,.0f} rows")
