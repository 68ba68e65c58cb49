"""What transformers cost that work column by column, widen the data or leave columns out.

In: a law per transformer: scalers, encoders, expansions, imputers, selection. Not in: those that
mix all columns (:mod:`fitcast.sizing.laws.projections`), constants (``prior.json``).
"""

import math
from collections.abc import Callable
from dataclasses import replace

from fitcast.sizing.laws.features import Described
from fitcast.sizing.laws.law import Constants, between, is_regression, item_bytes, log2
from fitcast.sizing.laws.passing import Passed, all_cells, all_rows, dense, kept_columns, sparse

_WORKING_MEMORY = 2.0**30  # bytes of distances that scikit-learn holds at once, by default


def other(fit: Described, c: Constants) -> Passed:
    """Return the cost of a transformer without a law: a pass over the cells and a copy."""
    cells = all_cells(fit)
    return Passed(c["cell_s"] * cells, c["cell_bytes"] * cells, fit)


def scaler(fit: Described, c: Constants) -> Passed:
    """Return the cost of scaling columns by their moments or their extremes."""
    passed = other(fit, c)
    return replace(passed, after=replace(fit, scale=0.0, condition=fit.correlation))


def sorting_scaler(fit: Described, c: Constants) -> Passed:
    """Return the cost of scaling columns by their quantiles."""
    cells = all_cells(fit)
    seconds = c["sort_cell_s"] * fit.nonzeros * log2(fit.rows_train) + c["cell_s"] * cells
    after = replace(fit, scale=0.0, condition=fit.correlation)
    return Passed(seconds, c["sorted_bytes"] * cells, after)


def quantile_transform(fit: Described, c: Constants) -> Passed:
    """Return the cost of mapping columns to quantiles: those of a sample, two look-ups a cell."""
    cells = all_cells(fit)
    quantiles = between(fit.params.number("n_quantiles", default=1000.0), 2.0, fit.rows_train)
    sampled = fit.columns * min(fit.rows_train, fit.params.number("subsample", default=1e4))
    seconds = c["sort_cell_s"] * sampled * log2(fit.rows_train)
    seconds += c["lookup_s"] * cells * log2(quantiles) + c["column_s"] * fit.columns
    after = replace(fit, scale=0.0, condition=fit.correlation)
    return Passed(seconds, c["sorted_bytes"] * cells, after)


def power_transform(fit: Described, c: Constants) -> Passed:
    """Return the cost of power transforms: each column's exponent is searched for."""
    seconds = c["power_steps"] * c["power_cell_s"] * fit.nonzeros + c["cell_s"] * all_cells(fit)
    seconds += c["power_column_s"] * fit.columns
    after = replace(fit, scale=0.0, condition=fit.correlation)
    return Passed(seconds, c["power_bytes"] * all_cells(fit), after)


def one_hot(fit: Described, c: Constants) -> Passed:
    """Return the cost of one column per distinct value."""
    cells = all_cells(fit)
    values = min(fit.distinct, c["values_share"] * fit.rows_train)
    columns = between(fit.columns * values, 1.0, 1e12)
    seconds = c["encoder_cell_s"] * cells
    held = c["encoder_bytes"] * cells
    after = sparse(fit, columns, fit.columns)
    if fit.params.word("sparse_output") == "False":
        made = all_rows(fit) * columns
        after = replace(
            dense(fit, columns, like_normal=False), distinct=2.0, scale=0.0, condition=1.0
        )
        return Passed(seconds + c["made_cell_s"] * made, held + 8.0 * made, after)
    return Passed(seconds, held, after)


def encoder(fit: Described, c: Constants) -> Passed:
    """Return the cost of a number per distinct value."""
    cells = all_cells(fit)
    return Passed(c["encoder_cell_s"] * cells, c["encoder_bytes"] * cells, fit)


def target_encoder(fit: Described, c: Constants) -> Passed:
    """Return the cost of a mean of the target per distinct value, in folds."""
    folds = between(fit.params.number("cv", default=5.0), 2.0, 1e3)
    classes = fit.classes if fit.classes > 2.0 else 1.0
    cells = all_cells(fit)
    seconds = c["encoder_cell_s"] * cells * (1.0 + c["fold_share"] * folds) * classes
    seconds += folds * classes * c["column_s"] * fit.columns
    after = dense(fit, fit.columns * classes, like_normal=False)
    return Passed(seconds, c["encoder_bytes"] * cells * classes, after)


def polynomial(fit: Described, c: Constants) -> Passed:
    """Return the cost of products of columns up to a degree."""
    degree = between(fit.params.number("degree", default=2.0), 0.0, 50.0)
    alone = fit.params.word("interaction_only") == "True"
    columns = _products(fit.columns, degree, alone=alone)
    made = all_rows(fit) * columns
    seconds = c["made_cell_s"] * made + c["product_s"] * columns
    after = dense(fit, columns, like_normal=False)
    after = replace(after, scale=fit.scale * degree, condition=min(12.0, fit.condition * degree))
    return Passed(seconds, 8.0 * fit.rows_train * columns * c["made_share"], after)


def _products(columns: float, degree: float, *, alone: bool) -> float:
    total = term = 1.0
    for power in range(1, int(degree) + 1):
        term *= max(0.0, columns - power + 1.0 if alone else columns + power - 1.0) / power
        total += term
    return between(total, 1.0, 1e12)


def splines(fit: Described, c: Constants) -> Passed:
    """Return the cost of splines: knots + degree − 1 columns for each."""
    knots = between(fit.params.number("n_knots", default=5.0), 2.0, 1e4)
    degree = between(fit.params.number("degree", default=3.0), 0.0, 50.0)
    columns = fit.columns * (knots + degree - 1.0)
    made = all_rows(fit) * columns
    seconds = c["spline_cell_s"] * all_cells(fit) * (degree + 1.0) + c["made_cell_s"] * made
    seconds += c["column_s"] * fit.columns
    after = replace(dense(fit, columns, like_normal=False), scale=0.0, condition=1.0)
    return Passed(seconds, 8.0 * fit.rows_train * columns * c["made_share"], after)


def bins(fit: Described, c: Constants) -> Passed:
    """Return the cost of cutting columns into bins, as numbers or as a column for each."""
    count = between(fit.params.number("n_bins", default=5.0), 2.0, 1e4)
    count = min(count, fit.distinct)
    cells = all_cells(fit)
    seconds = c["lookup_s"] * cells * log2(count) + c["column_s"] * fit.columns
    if fit.params.word("strategy", "quantile") == "kmeans":
        seconds += c["mean_cell_s"] * fit.nonzeros * count
    else:
        seconds += c["sort_cell_s"] * fit.nonzeros * log2(fit.rows_train)
    encode = fit.params.word("encode", "onehot")
    held = c["sorted_bytes"] * cells
    if encode == "ordinal":
        return Passed(seconds, held, replace(fit, distinct=count, scale=0.0))
    seconds += c["encoder_cell_s"] * cells
    columns = fit.columns * count
    if encode == "onehot":
        after = sparse(fit, columns, fit.columns)
        return Passed(seconds, held + c["encoder_bytes"] * cells, after)
    made = all_rows(fit) * columns
    after = replace(dense(fit, columns, like_normal=False), distinct=2.0, scale=0.0)
    return Passed(seconds + c["made_cell_s"] * made, held + 8.0 * made, after)


def neighbour_imputer(fit: Described, c: Constants) -> Passed:
    """Return the cost of filling holes from the nearest rows: each row with one, with all rows."""
    cells = all_cells(fit)
    holed = 1.0 - (1.0 - min(fit.missing, 0.999)) ** fit.columns if fit.missing > 0.0 else 0.0
    pairs = holed * all_rows(fit) * fit.rows_train
    seconds = c["cell_s"] * cells + pairs * (c["pair_s"] + c["pair_column_s"] * fit.columns)
    # The distances of a chunk, and while they are made their copies.
    chunk = min(pairs, _WORKING_MEMORY / 8.0)
    held = c["cell_bytes"] * cells + c["pair_bytes"] * chunk
    return Passed(seconds, held, replace(fit, missing=0.0))


def simple_imputer(fit: Described, c: Constants) -> Passed:
    """Return the cost of filling holes with a value of their column."""
    strategy = fit.params.word("strategy", "mean")
    seconds = c["cell_s"] * all_cells(fit)
    if strategy == "median":
        seconds += c["sort_cell_s"] * fit.nonzeros * log2(fit.rows_train)
    elif strategy == "most_frequent":
        seconds += c["mode_cell_s"] * fit.nonzeros
    return Passed(seconds, c["cell_bytes"] * all_cells(fit), replace(fit, missing=0.0))


def selected(fit: Described, c: Constants) -> Passed:
    """Return the cost of choosing columns by a score of each: a test, or mutual information."""
    wanted = fit.params.number("k", default=10.0)
    if fit.params.word("k") == "all":
        wanted = fit.columns
    elif "percentile" in fit.params.numbers:
        wanted = fit.columns * fit.params.number("percentile", default=10.0) / 100.0
    seconds = c["cell_s"] * all_cells(fit) + c["column_s"] * fit.columns
    if "mutual" in fit.params.word("score_func"):
        each = c["mutual_row_s"] * (1.0 if is_regression(fit) else c["mutual_classes_share"])
        seconds += fit.columns * fit.rows_train * log2(fit.rows_train) * each
        seconds += fit.columns * c["mutual_column_s"]
    columns = between(wanted, 1.0, fit.columns)
    density = fit.nonzeros / (fit.rows_train * fit.columns)
    after = replace(
        fit,
        columns=columns,
        nonzeros=fit.rows_train * columns * density,
        data_bytes=fit.data_bytes * columns / fit.columns,
    )
    return Passed(seconds, c["cell_bytes"] * all_cells(fit), after)


def texts(fit: Described, c: Constants) -> Passed:
    """Return the cost of counting words where nothing is known of the texts but their bytes."""
    rows = all_rows(fit)
    text_bytes = max(fit.data_bytes, 50.0 * rows)
    words = text_bytes / rows / 6.0
    columns = fit.params.number(
        "max_features", "n_features", default=30.0 * math.sqrt(rows * words)
    )
    after = sparse(fit, columns, 0.7 * words)
    return Passed(c["text_byte_s"] * text_bytes, c["text_bytes"] * text_bytes, after)


def tree_embedding(fit: Described, c: Constants) -> Passed:
    """Return the cost of a forest of random trees, and a column per leaf."""
    trees = between(fit.params.number("n_estimators", default=100.0), 1.0, 1e6)
    depth = between(fit.params.number("max_depth", default=5.0), 1.0, 60.0)
    leaves = min(2.0**depth * c["leaves_share"], fit.rows_train)
    seconds = trees * (c["tree_s"] + all_rows(fit) * depth * c["tree_row_level_s"])
    seconds += c["encoder_cell_s"] * all_rows(fit) * trees
    held = (c["tree_cell_bytes"] + c["encoder_bytes"]) * all_rows(fit) * trees
    return Passed(seconds, held, sparse(fit, trees * leaves, trees))


def generated(fit: Described, c: Constants) -> Passed:
    """Return the cost of samplers that make rows of the rare classes until all are as frequent."""
    grown = min(2.0, max(1.0, fit.classes)) if fit.classes else 1.0
    made = fit.nonzeros * (grown - 1.0)
    seconds = c["sampled_row_s"] * fit.rows_train + c["made_cell_s"] * made
    after = replace(fit, rows_train=fit.rows_train * grown, nonzeros=fit.nonzeros * grown)
    return Passed(seconds, item_bytes(fit) * made * 2.0, after)


def agglomeration(fit: Described, c: Constants) -> Passed:
    """Return the cost of joining columns that are near each other."""
    columns = kept_columns(fit, "n_clusters", 2.0)
    pairs = fit.columns**2
    seconds = c["column_pair_s"] * pairs * fit.rows_train + c["column_tree_s"] * pairs
    seconds += c["cell_s"] * all_cells(fit) + c["pooled_s"] * columns
    held = c["cell_bytes"] * all_cells(fit) + 16.0 * pairs
    return Passed(seconds, held, dense(fit, columns))


Transform = Callable[[Described, Constants], Passed]

TRANSFORMS: dict[str, Transform] = {
    "StandardScaler": scaler,
    "MinMaxScaler": scaler,
    "MaxAbsScaler": scaler,
    "Normalizer": other,
    "Binarizer": other,
    "FunctionTransformer": other,
    "VarianceThreshold": other,
    "RobustScaler": sorting_scaler,
    "QuantileTransformer": quantile_transform,
    "PowerTransformer": power_transform,
    "OneHotEncoder": one_hot,
    "OrdinalEncoder": encoder,
    "TargetEncoder": target_encoder,
    "PolynomialFeatures": polynomial,
    "SplineTransformer": splines,
    "KBinsDiscretizer": bins,
    "KNNImputer": neighbour_imputer,
    "SimpleImputer": simple_imputer,
    "SelectKBest": selected,
    "SelectPercentile": selected,
    "GenericUnivariateSelect": selected,
    "CountVectorizer": texts,
    "TfidfVectorizer": texts,
    "HashingVectorizer": texts,
    "RandomTreesEmbedding": tree_embedding,
    "FeatureAgglomeration": agglomeration,
    "SMOTE": generated,
    "RandomOverSampler": generated,
    "ADASYN": generated,
}
