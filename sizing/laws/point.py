"""What models cost that compare, weight or count rows; and unknown models.

In: kernel machines, Gaussian processes, neighbours, neural networks, counting, the generic law.
Not in: their constants (``prior.json``).
"""

import math
from itertools import pairwise

from fitcast.sizing.laws.features import Described
from fitcast.sizing.laws.law import (
    Constants,
    Work,
    at_most,
    between,
    cells_test,
    is_regression,
    is_sparse,
    item_bytes,
    log2,
    numbers_in,
)


def kernel(fit: Described, c: Constants) -> Work:
    """Return the cost of support vector machines and kernel ridge: every pair of rows."""
    name = fit.algorithm.rpartition(".")[2]
    columns = fit.nonzeros / fit.rows_train
    pair_s = c["pair_s"] + c["pair_column_s"] * columns
    cache_bytes = 2**20 * fit.params.number("cache_size", default=200.0)
    held = 8.0 * fit.rows_train**2
    if name == "KernelRidge":
        train_s = pair_s * fit.rows_train**2 + 1e-10 * fit.rows_train**3
    else:
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
    """Return the cost of Gaussian processes: rows cubed, per step of the kernel's optimisation."""
    restarts = 1.0 + between(fit.params.number("n_restarts_optimizer", default=0.0), 0.0, 1e3)
    work_s = c["cube_s"] * fit.rows_train**3 * 20.0 * restarts
    return Work(0.0, work_s, c["pair_bytes"] * fit.rows_train**2, "Gaussian process")


def neighbours(fit: Described, c: Constants) -> Work:
    """Return the cost of nearest neighbours: a tree in few dimensions, brute force in many."""
    wanted = fit.params.number("n_neighbors", default=5.0)
    wanted = between(wanted, 1.0, fit.rows_train)
    queried = fit.rows_test
    whole = fit.params.word("algorithm") == "brute" or fit.columns > 15.0 or is_sparse(fit)
    memory = (
        c["memory_bytes"]
        + c["copies"] * fit.nonzeros * item_bytes(fit)
        + c["answer_bytes"] * queried * wanted
    )
    if whole:
        columns = fit.nonzeros / fit.rows_train
        pair_s = c["pair_s"] + c["pair_column_s"] * columns
        work_s = queried * fit.rows_train * pair_s
        if is_sparse(fit):
            work_s *= c["sparse_factor"]
            # All distances of a chunk of queries, up to scikit-learn's working memory of 1 GiB.
            memory += min(2.0**30, 8.0 * queried * fit.rows_train) * c["chunk_share"]
    else:
        # In more dimensions more leaves lie near enough to hold a neighbour; a column of few
        # values is less than a dimension, and rows that are equal all lie near.
        bits = log2(fit.distinct) if math.isfinite(fit.distinct) else 8.0
        equal = fit.rows_train / 2.0 ** min(60.0, bits * fit.columns)
        looked_at = wanted + c["leaf_rows"] + c["equal_share"] * equal
        looked_at *= math.exp(c["dimension_power"] * fit.columns * min(1.0, bits / 8.0))
        looked_at = min(looked_at, fit.rows_train)
        query_s = c["query_s"] + c["step_s"] * log2(fit.rows_train)
        query_s += c["visit_s"] * looked_at * (1.0 + 0.1 * fit.columns)
        query_s += c["neighbour_s"] * wanted
        work_s = queried * query_s
    built_s = c["build_s"] * fit.nonzeros * (1.0 if whole else log2(fit.rows_train))
    return Work(built_s, work_s, memory, "neighbours")


def neural(fit: Described, c: Constants) -> Work:
    """Return the cost of neural networks: epochs × rows × weights, and an overhead per batch."""
    p = fit.params
    epochs = p.number("max_iter", "epochs", "max_epochs", "fit__epochs", default=0.0)
    if epochs < 1.0:
        epochs = 200.0 if "MLP" in fit.algorithm else 10.0
    sizes = [size for size in numbers_in(p.word("hidden_layer_sizes")) if size >= 1.0]
    if not sizes:
        sizes = [p.number("hidden_layer_sizes", default=100.0)]
    layers = [fit.columns, *sizes, max(1.0, fit.classes)]
    weights = between(sum(left * right for left, right in pairwise(layers)), 1.0, 1e11)
    # It stops when a pass brings no more, sooner the more batches a pass has.
    needed = c["needed_passes"] * (fit.rows_train / 1e4) ** c["rows_power"]
    needed *= 10.0 ** (fit.condition * c["condition_power"] + fit.scale * c["scale_power"])
    passes = max(1.0, at_most(needed, epochs))
    batch = between(p.number("batch_size", default=200.0), 1.0, fit.rows_train)
    batches = max(1.0, fit.rows_train / batch)
    serial_s = passes * (batches * (c["batch_s"] + c["update_s"] * weights))
    values = sum(layers)
    parallel_s = passes * fit.rows_train * (c["value_s"] * values + c["weight_s"] * weights)
    memory = (
        c["memory_bytes"]
        + c["weight_bytes"] * weights
        + c["copies"] * fit.nonzeros * item_bytes(fit)
        + c["answer_bytes"] * fit.rows_test * values
        + c["batch_bytes"] * batch * values
    )
    return Work(serial_s, parallel_s, memory, f"neural network, {epochs:,.0f} epochs")


def counting(fit: Described, c: Constants) -> Work:
    """Return the cost of models that pass over the data once or twice."""
    cells = fit.nonzeros + cells_test(fit)
    each = max(1.0, fit.classes)
    normal = fit.algorithm.rpartition(".")[2] == "GaussianNB"
    seconds = c["cell_s"] * cells + c["row_s"] * fit.rows_train * each
    seconds += c["class_cell_s"] * cells_test(fit) * each
    copies = c["normal_copies"] if normal else c["copies"]
    memory = c["memory_bytes"] + copies * fit.nonzeros * item_bytes(fit)
    memory += c["answer_bytes"] * fit.rows_test * each
    return Work(seconds * (c["normal_factor"] if normal else 1.0), 0.0, memory, "counting model")


def generic(fit: Described, c: Constants) -> Work:
    """Return the cost of unknown algorithms."""
    name = fit.algorithm.rpartition(".")[2] or "an unknown algorithm"
    cells = fit.nonzeros + cells_test(fit)
    work_s = c["fixed_s"] + c["cell_s"] * cells * (cells / 1e5) ** c["cells_power"]
    work_s += c["row_s"] * fit.rows_train
    memory = (
        c["memory_bytes"]
        + c["copies"] * fit.nonzeros * item_bytes(fit)
        + c["row_bytes"] * fit.rows_train * max(1.0, fit.classes)
    )
    return Work(work_s, 0.0, memory, f"{name[:60]}, whose cost isn't known")
