"""What linear models cost that are solved many times: along penalties, robustly, by steps.

In: a law per way of solving. Not in: their constants (``prior.json``); models solved once
(:mod:`fitcast.sizing.laws.linear`).
"""

from fitcast.sizing.laws.features import Described
from fitcast.sizing.laws.law import (
    Constants,
    Work,
    between,
    cells_test,
    is_sparse,
    item_bytes,
    outputs,
)

_LARS_STEPS = 500.0  # scikit-learn's default limit


def ridge_path(fit: Described, c: Constants) -> Work:
    """Return the cost of ridge with its penalty chosen by leaving each row out.

    One decomposition serves all penalties: of the rows' products where rows are no more than
    columns, or the data is sparse, else of the columns.
    """
    rows, columns = fit.rows_train, fit.columns
    penalties = _penalties(fit, 3.0)
    by_rows = rows <= columns or is_sparse(fit)
    small = rows if by_rows else columns
    cells = rows * small
    work_s = c["square_s"] * fit.nonzeros * small + c["cube_s"] * small**3
    work_s += penalties * (c["penalty_cell_s"] * cells * outputs(fit) + c["penalty_s"])
    memory = c["memory_bytes"] + c["copies"] * 8.0 * fit.nonzeros
    memory += c["row_pair_bytes"] * rows**2 if by_rows else c["cell_bytes"] * cells
    return Work(c["cell_s"] * fit.nonzeros, work_s, memory, f"ridge, {penalties:,.0f} penalties")


def lasso_path(fit: Described, c: Constants) -> Work:
    """Return the cost of lasso and elastic net along a path of penalties, in folds.

    Passes go over the columns' products where those are fewer than the cells.
    """
    folds, penalties = _folds(fit), _penalties(fit, 100.0)
    small = min(fit.rows_train, fit.columns)
    gram_s = c["square_s"] * fit.nonzeros * small
    pass_cells = min(fit.nonzeros, fit.columns**2)
    passes = c["passes"] * 10.0 ** (fit.correlation * c["correlation_power"])
    path_s = penalties * (c["penalty_s"] + passes * c["cell_pass_s"] * pass_cells)
    memory = c["memory_bytes"] + c["copies"] * 8.0 * fit.nonzeros + 8.0 * c["squares"] * small**2
    memory += c["penalty_bytes"] * penalties * (fit.rows_train / folds + fit.columns)
    ratios = _values(fit, "l1_ratio", 1.0)
    work_s = ratios * (folds + 1.0 / penalties) * (gram_s + path_s)
    text = f"{folds:,.0f} paths of {penalties:,.0f} penalties"
    return Work(work_s + c["cell_s"] * fit.nonzeros * folds, 0.0, memory, text)


def stepwise(fit: Described, c: Constants) -> Work:
    """Return the cost of least angles and matching pursuit: a column joins at each step."""
    name = fit.algorithm.rpartition(".")[2]
    folds = _folds(fit) + 1.0 if name.endswith("CV") else 1.0
    most = min(fit.rows_train, fit.columns)
    if name.startswith("Orthogonal"):
        wanted = 0.1 * fit.columns if folds == 1.0 else min(5.0 + 0.1 * fit.columns, fit.columns)
        steps = between(fit.params.number("n_nonzero_coefs", default=wanted), 1.0, most)
    else:
        steps = min(most, _LARS_STEPS, fit.params.number("max_iter", default=_LARS_STEPS))
        steps = max(1.0, min(steps, fit.params.number("n_nonzero_coefs", default=_LARS_STEPS)))
    step_s = c["step_s"] + c["step_cell_s"] * fit.nonzeros + c["step_square_s"] * fit.columns**2
    work_s = folds * (steps * step_s + c["square_s"] * fit.nonzeros * most)
    memory = c["memory_bytes"] + c["copies"] * 8.0 * fit.nonzeros
    if folds > 1.0:
        memory += c["path_bytes"] * steps * (fit.rows_train / folds + fit.columns)
    return Work(work_s + c["cell_s"] * fit.nonzeros * folds, 0.0, memory, f"{steps:,.0f} steps")


def logistic_path(fit: Described, c: Constants) -> Work:
    """Return the cost of logistic regression along penalties, in folds, and once on all rows."""
    penalties, folds = _penalties(fit, 10.0, "Cs"), _folds(fit)
    passes = c["passes"] * (fit.columns / 20.0) ** c["columns_power"]
    passes = between(passes, 1.0, fit.params.number("max_iter", default=100.0))
    pass_s = c["pass_s"] + outputs(fit) * (
        c["pass_cell_s"] * fit.nonzeros + c["pass_row_s"] * fit.rows_train
    )
    fits = penalties * folds * _values(fit, "l1_ratios", 1.0) + 1.0
    memory = c["memory_bytes"] + c["copies"] * fit.nonzeros * max(item_bytes(fit), 4.0)
    memory += c["row_bytes"] * fit.rows_train * outputs(fit)
    return Work(fits * passes * pass_s, 0.0, memory, f"{fits:,.0f} linear models")


def evidence(fit: Described, c: Constants) -> Work:
    """Return the cost of Bayesian ridge and relevance: one decomposition, or one per pass."""
    rows, columns = fit.rows_train, fit.columns
    small = min(rows, columns)
    cells = fit.nonzeros
    if fit.algorithm.rpartition(".")[2].startswith("ARD"):
        work_s = c["ard_passes"] * (c["square_s"] * cells * small + c["cube_s"] * columns**3)
        work_s += c["ard_passes"] * (c["pass_s"] + c["cell_pass_s"] * cells)
    else:
        work_s = c["svd_s"] * cells * small + c["passes"] * (c["pass_s"] + c["cell_pass_s"] * cells)
    memory = c["memory_bytes"] + c["copies"] * 8.0 * cells + c["squares"] * 8.0 * columns**2
    return Work(work_s, 0.0, memory, "linear model by evidence")


def subsampled(fit: Described, c: Constants) -> Work:
    """Return the cost of Theil-Sen: least squares on up to 10,000 small samples of rows."""
    columns = fit.columns
    most = between(fit.params.number("max_subpopulation", default=1e4), 1.0, 1e7)
    size = between(fit.params.number("n_subsamples", default=columns + 1.0), 1.0, fit.rows_train)
    # With one column every pair of rows is a sample, where they aren't more than that.
    samples = min(most, 0.5 * fit.rows_train**2) if columns < 2.0 else most
    solve_s = c["solve_s"] + c["solve_square_s"] * size * columns**2
    median_s = c["median_passes"] * samples * (columns + 1.0) * c["median_cell_s"]
    memory = c["memory_bytes"] + samples * (c["sample_bytes"] + c["weight_bytes"] * columns)
    memory += samples * size * c["index_bytes"]
    return Work(samples * solve_s + median_s, 0.0, memory, f"{samples:,.0f} least squares")


def quantile(fit: Described, c: Constants) -> Work:
    """Return the cost of quantile regression: a linear program with two variables per row."""
    rows = fit.rows_train
    work_s = c["row_s"] * rows * (rows / 1e3) ** c["rows_power"]
    work_s *= (fit.columns / 20.0) ** c["columns_power"]
    memory = c["memory_bytes"] + c["cell_bytes"] * fit.nonzeros + c["row_bytes"] * rows
    return Work(work_s, 0.0, memory, "linear program")


def latent(fit: Described, c: Constants) -> Work:
    """Return the cost of partial least squares: a deflation of all columns per component."""
    kept = between(fit.params.number("n_components", default=2.0), 1.0, fit.columns)
    work_s = kept * (c["component_s"] + c["component_cell_s"] * fit.nonzeros)
    work_s += c["cell_s"] * (fit.nonzeros + cells_test(fit))
    memory = c["memory_bytes"] + c["copies"] * 8.0 * (fit.nonzeros + cells_test(fit))
    return Work(work_s, 0.0, memory, f"{kept:,.0f} latent components")


def newton(fit: Described, c: Constants) -> Work:
    """Return the cost of logistic and other general linear models by Newton's steps."""
    wide = fit.columns * outputs(fit)
    cell_s = c["pass_cell_s"] * fit.nonzeros * outputs(fit) + c["pass_row_s"] * fit.rows_train
    if fit.params.word("solver") == "newton-cholesky":
        step_s = cell_s + c["square_s"] * fit.rows_train * wide**2 + c["cube_s"] * wide**3
        work_s = c["cholesky_steps"] * (step_s + c["step_s"])
        held = c["squares"] * 8.0 * wide**2
    else:  # each step is solved by conjugate gradients, over the data once more per direction
        work_s = c["gradient_steps"] * (cell_s + c["step_s"])
        held = 0.0
    memory = c["memory_bytes"] + held + c["copies"] * 8.0 * fit.nonzeros
    memory += c["row_bytes"] * fit.rows_train * outputs(fit)
    return Work(work_s, 0.0, memory, "linear model by Newton's steps")


def _folds(fit: Described) -> float:
    return between(fit.params.number("cv", default=5.0), 2.0, 1e4)


def _penalties(fit: Described, default: float, name: str = "alphas") -> float:
    if name == "alphas" and fit.params.number("n_alphas", default=0.0) >= 1.0:
        default = fit.params.number("n_alphas", default=default)
    return _values(fit, name, default)


def _values(fit: Described, name: str, default: float) -> float:
    """Return how many values a parameter has: a number tells it, a list is counted."""
    count = fit.params.number(name, default=0.0)
    if count >= 2.0 and count == int(count):
        return between(count, 1.0, 1e6)
    word = fit.params.word(name)
    if word.startswith(("(", "[")):
        return 1.0 + word.count(",")
    # Of a long list a request names each value.
    named = sum(1 for other in fit.params.numbers if other.startswith(f"{name}."))
    return float(named) if named else default
