"""What linear models cost: solved at once, by passes, by coordinates, by samples.

In: a law per way of solving. Not in: their constants (``prior.json``).

How many passes a solver needs depends on the data's content; sizes and penalty tell its trend.
"""

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
    outputs,
)


def closed_linear(fit: Described, c: Constants) -> Work:
    """Return the cost of least squares, ridge, LDA: rows × columns × min(rows, columns)."""
    name = fit.algorithm.rpartition(".")[2]
    small = min(fit.rows_train, fit.columns)
    if is_sparse(fit):  # solved by passes instead
        solve_s = c["sparse_pass_s"] * fit.nonzeros * outputs(fit)
    elif name.startswith(("Ridge", "Bayesian", "ARD")):
        solve_s = c["square_s"] * fit.nonzeros * small + c["cube_s"] * small**3
    elif name == "LinearRegression":
        solve_s = c["svd_s"] * fit.nonzeros * small
    else:
        solve_s = c["discriminant_s"] * fit.nonzeros * small
    copied = fit.nonzeros * max(item_bytes(fit), 4.0)
    memory = (
        c["memory_bytes"]
        + copied * (c["svd_copies"] if name == "LinearRegression" else c["copies"])
        + 8.0 * small**2 * c["squares"]
        + c["row_bytes"] * fit.rows_train * max(1.0, fit.classes)
    )
    if not name.startswith("Ridge") and name != "LinearRegression":
        memory += copied * c["discriminant_copies"]
    passes_s = c["cell_s"] * fit.nonzeros + c["row_s"] * fit.rows_train * max(1.0, fit.classes)
    return Work(passes_s, solve_s, memory, _text(fit))


def iterative_linear(fit: Described, c: Constants) -> Work:
    """Return the cost of models solved by passes over the data: lbfgs, saga and their like."""
    most = between(fit.params.number("max_iter", default=1e2), 1.0, 1e7)
    solver = fit.params.word("solver")
    prefix = "saga" if solver in ("saga", "sag") else "lbfgs"
    passes = at_most(_passes(fit, c, prefix), most)
    cell_s = c[f"{prefix}_sparse_cell_s"] if is_sparse(fit) else c[f"{prefix}_cell_s"]
    pass_s = cell_s * fit.nonzeros * outputs(fit) + c[f"{prefix}_row_s"] * fit.rows_train * outputs(
        fit
    )
    work_s = passes * (pass_s + c["pass_s"])
    if fit.algorithm.endswith("CV"):
        work_s *= 50.0  # ten penalties, five folds
    memory = (
        c["memory_bytes"]
        + c["copies"] * fit.nonzeros * max(item_bytes(fit), 4.0)
        + c["row_bytes"] * (fit.rows_train + fit.rows_test) * max(1.0, fit.classes)
    )
    return Work(c["cell_s"] * fit.nonzeros, work_s, memory, _text(fit))


def coordinate_descent(fit: Described, c: Constants) -> Work:
    """Return the cost of models solved column by column or row by row: lasso, liblinear."""
    most = between(fit.params.number("max_iter", default=1e3), 1.0, 1e7) * c["pass_cap"]
    name = fit.algorithm.rpartition(".")[2]
    if name in ("LinearSVC", "LinearSVR"):
        prefix = "svr" if is_regression(fit) else "svc"
    elif name.startswith("Logistic"):
        prefix = "l1" if fit.params.number("l1_ratio", default=0.0) > 0.5 else "l2"
        if fit.params.word("penalty") in ("l1", "l2"):
            prefix = fit.params.word("penalty")
    else:
        prefix = "lasso"
    passes = between(_passes(fit, c, prefix), 1.0, most)
    work_s = c["cell_pass_s"] * passes * fit.nonzeros * outputs(fit)
    work_s += c["cell_s"] * fit.nonzeros
    # liblinear keeps a sparse copy of its own: an index and a value per non-zero.
    copied = 16.0 * c["liblinear_copies"] if prefix != "lasso" else 8.0 * c["lasso_copies"]
    memory = c["memory_bytes"] + copied * fit.nonzeros + c["row_bytes"] * fit.rows_train
    return Work(work_s, 0.0, memory, _text(fit))


def stochastic(fit: Described, c: Constants) -> Work:
    """Return the cost of stochastic gradient descent, until a pass no longer improves the loss."""
    most = between(fit.params.number("max_iter", default=1e3), 1.0, 1e7)
    prefix = "sgdr" if is_regression(fit) else "sgd"
    passes = max(min(5.0, most), at_most(_passes(fit, c, prefix), most))
    cells = fit.nonzeros * c["cell_pass_s"]
    if fit.params.word("penalty") == "l1":
        cells *= c["l1_factor"]
    each_s = passes * (cells + c["row_pass_s"] * fit.rows_train)
    memory = (
        c["memory_bytes"]
        + c["copies"] * fit.nonzeros * max(item_bytes(fit), 4.0)
        + c["row_bytes"] * fit.rows_train * outputs(fit)
    )
    tested_s = c["cell_s"] * cells_test(fit)
    if outputs(fit) > 1.0:  # a model per class, each in a thread
        return Work(tested_s, each_s * outputs(fit), memory, "linear model")
    return Work(tested_s + each_s, 0.0, memory, "linear model")


def _passes(fit: Described, c: Constants, prefix: str) -> float:
    """Return how many passes are needed: more for weak penalties and ill-conditioned columns."""
    alpha = fit.params.number("alpha", default=0.0)
    inverse = 1.0 / alpha if alpha > 0.0 else fit.params.number("C", default=1.0)
    return float(
        c[f"{prefix}_passes"]
        * between(inverse, 1e-6, 1e6) ** c[f"{prefix}_penalty_power"]
        * (fit.rows_train / 1e4) ** c[f"{prefix}_rows_power"]
        * (fit.columns / 20.0) ** c[f"{prefix}_columns_power"]
        * 10.0 ** (fit.condition * c[f"{prefix}_condition_power"])
        * 10.0 ** (fit.scale * c[f"{prefix}_scale_power"])
    )


def _text(fit: Described) -> str:
    solver = fit.params.word("solver")
    return f"linear model by {solver[:30]}" if solver and solver != "auto" else "linear model"
