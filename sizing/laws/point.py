"""What models cost that weight or count rows; and unknown models.

In: neural networks, counting, the generic law. Not in: their constants (``prior.json``).
"""

from itertools import pairwise

from fitcast.sizing.laws.features import Described
from fitcast.sizing.laws.law import (
    Constants,
    Work,
    at_most,
    between,
    cells_test,
    item_bytes,
    numbers_in,
)


def neural(fit: Described, c: Constants) -> Work:
    """Return the cost of neural networks: epochs × rows × weights, and an overhead per batch."""
    p = fit.params
    if p.word("solver") == "lbfgs":
        return _whole_batches(fit, c)
    epochs = p.number("max_iter", "epochs", "max_epochs", "fit__epochs", default=0.0)
    if epochs < 1.0:
        epochs = 200.0 if "MLP" in fit.algorithm else 10.0
    layers, weights = _layers(fit)
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


def _whole_batches(fit: Described, c: Constants) -> Work:
    """Return the cost of networks by L-BFGS: each step passes over all rows at once."""
    layers, weights = _layers(fit)
    values = sum(layers)
    steps = between(fit.params.number("max_iter", default=200.0), 1.0, 1e6)
    each_s = fit.rows_train * (c["lbfgs_value_s"] * values + c["lbfgs_weight_s"] * weights)
    work_s = steps * (each_s + c["lbfgs_step_s"] + c["lbfgs_update_s"] * weights)
    memory = c["memory_bytes"] + c["lbfgs_weight_bytes"] * weights
    memory += c["lbfgs_value_bytes"] * fit.rows_train * values
    memory += c["answer_bytes"] * fit.rows_test * values
    return Work(work_s, 0.0, memory, f"neural network, {steps:,.0f} steps over all rows")


def _layers(fit: Described) -> tuple[list[float], float]:
    """Return the widths of a network's layers, first and last included, and its weights."""
    p = fit.params
    sizes = [size for size in numbers_in(p.word("hidden_layer_sizes")) if size >= 1.0]
    if not sizes:
        sizes = [p.number("hidden_layer_sizes", default=100.0)]
    layers = [fit.columns, *sizes, max(1.0, fit.classes)]
    return layers, between(sum(left * right for left, right in pairwise(layers)), 1.0, 1e11)


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
