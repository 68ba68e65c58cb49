"""What transformers cost that mix all columns, or compare all rows.

In: decompositions, kernel approximations, clusters, manifolds. Not in: what works column by column
(:mod:`fitcast.sizing.laws.transforms`), constants (``prior.json``).
"""

from dataclasses import replace

from fitcast.sizing.laws.features import Described
from fitcast.sizing.laws.law import Constants, between, is_sparse, log2
from fitcast.sizing.laws.passing import Passed, all_cells, all_rows, dense, kept_columns
from fitcast.sizing.laws.transforms import Transform

_SMALL = 500.0  # rows or columns up to which PCA decomposes the whole


def components(fit: Described, c: Constants) -> Passed:
    """Return the cost of PCA and truncated SVD: of the covariances, of all, or of a sketch."""
    rows, columns, cells = fit.rows_train, fit.columns, all_cells(fit)
    small = min(rows, columns)
    kept = kept_columns(fit, default=2.0 if _name(fit) == "TruncatedSVD" else 0.0)
    solver = fit.params.word("svd_solver", "auto")
    if solver == "auto":
        few = max(rows, columns) > _SMALL and kept < 0.8 * small
        wide = columns <= 1000.0 and rows >= 10.0 * columns
        solver = "covariance_eigh" if wide else "randomized" if few else "full"
    if _name(fit) == "TruncatedSVD" or is_sparse(fit):
        solver = "randomized"
    if solver == "covariance_eigh":
        seconds = c["projection_square_s"] * fit.nonzeros * columns + c["cube_s"] * columns**3
        copies = 1.0
    elif solver in ("randomized", "arpack"):
        seconds = c["projection_sketch_s"] * fit.nonzeros * (kept + 10.0)
        copies = 1.0
    else:
        seconds = c["projection_svd_s"] * fit.nonzeros * small
        copies = 2.0
    seconds += c["product_cell_s"] * cells * kept + c["cell_s"] * cells
    held = c["projection_copies"] * 8.0 * cells * copies + 8.0 * all_rows(fit) * kept
    return Passed(seconds, held, replace(dense(fit, kept), correlation=0.0))


def batches_of_components(fit: Described, c: Constants) -> Passed:
    """Return the cost of incremental PCA: a decomposition per batch of rows."""
    kept = kept_columns(fit)
    size = between(fit.params.number("batch_size", default=5.0 * fit.columns), 1.0, fit.rows_train)
    batches = max(1.0, fit.rows_train / size)
    each_s = c["batch_s"] + c["projection_svd_s"] * (size + kept) * fit.columns**2
    seconds = batches * each_s + c["product_cell_s"] * all_cells(fit) * kept
    held = 8.0 * all_cells(fit) + c["projection_copies"] * 8.0 * size * fit.columns
    return Passed(seconds, held, dense(fit, kept))


def kernel_components(fit: Described, c: Constants) -> Passed:
    """Return the cost of kernel PCA: all pairs of rows, decomposed."""
    rows = fit.rows_train
    wanted = fit.params.number("n_components", default=0.0)
    kept = between(wanted, 1.0, rows) if wanted >= 1.0 else rows
    seconds = rows * all_rows(fit) * (c["pair_s"] + c["pair_column_s"] * fit.columns)
    solver = fit.params.word("eigen_solver", "auto")
    few = rows > 200.0 and kept < 10.0
    if solver in ("arpack", "randomized") or (solver == "auto" and few):
        seconds += c["arpack_s"] * rows**2 * (kept + 10.0)
        held = c["pair_bytes"] * rows**2
    else:
        seconds += c["eigen_cube_s"] * rows**3
        held = c["eigen_pair_bytes"] * rows**2
    seconds += c["product_cell_s"] * all_rows(fit) * rows * kept
    return Passed(seconds, held + 8.0 * all_rows(fit) * kept, dense(fit, kept))


def independent_components(fit: Described, c: Constants) -> Passed:
    """Return the cost of FastICA: whitening, then passes until the components stand still."""
    kept = kept_columns(fit)
    most = between(fit.params.number("max_iter", default=200.0), 1.0, 1e6)
    passes = min(most, c["ica_passes"] * (1.0 + kept * c["ica_kept_share"]))
    seconds = c["projection_svd_s"] * fit.nonzeros * min(fit.rows_train, fit.columns)
    seconds += passes * fit.rows_train * (c["tanh_s"] * kept + c["product_cell_s"] * kept**2)
    seconds += passes * c["step_s"]
    held = 8.0 * all_cells(fit) * 2.0 + c["ica_bytes"] * fit.rows_train * kept
    return Passed(seconds, held, dense(fit, kept))


def factors(fit: Described, c: Constants) -> Passed:
    """Return the cost of NMF and factor analysis: passes over rows × columns × components."""
    kept = kept_columns(fit)
    if _name(fit) == "FactorAnalysis":
        passes = c["factor_passes"]
        each_s = c["sketch_pass_s"] * fit.nonzeros * (kept + 10.0) + c["step_s"]
    else:
        most = between(fit.params.number("max_iter", default=200.0), 1.0, 1e6)
        passes = min(most, c["nmf_passes"])
        each_s = c["nmf_cell_s"] * all_cells(fit) * kept + c["step_s"]
        each_s += c["nmf_row_s"] * all_rows(fit) * kept**2
    seconds = passes * each_s + c["cell_s"] * all_cells(fit)
    held = c["nmf_copies"] * 8.0 * all_cells(fit) + 16.0 * all_rows(fit) * kept
    return Passed(seconds, held, dense(fit, kept))


def dictionary(fit: Described, c: Constants) -> Passed:
    """Return the cost of dictionary learning: each row coded by least angles, batch by batch."""
    kept = kept_columns(fit)
    passes = between(fit.params.number("max_iter", default=1000.0), 1.0, 1e6)
    batch = between(fit.params.number("batch_size", default=256.0), 1.0, fit.rows_train)
    if not _name(fit).startswith("MiniBatch"):
        batch = fit.rows_train
    batches = passes * max(1.0, fit.rows_train / batch) * c["coded_share"]
    coded = batches * batch + all_rows(fit)
    code_s = c["code_s"] + c["code_atom_s"] * kept + c["product_cell_s"] * fit.columns * kept
    seconds = coded * code_s + batches * c["batch_s"]
    held = c["cell_bytes"] * all_cells(fit) + 16.0 * all_rows(fit) * kept
    return Passed(seconds, held, dense(fit, kept))


def topics(fit: Described, c: Constants) -> Passed:
    """Return the cost of topic models: passes over the words of each row until it settles."""
    kept = between(fit.params.number("n_components", default=10.0), 1.0, 1e5)
    passes = between(fit.params.number("max_iter", default=10.0), 1.0, 1e6)
    settling = between(fit.params.number("max_doc_update_iter", default=100.0), 1.0, 1e6)
    settling = min(settling, c["settling_passes"])
    seen = passes * fit.nonzeros + all_cells(fit)
    rows = passes * fit.rows_train + all_rows(fit)
    seconds = settling * (c["topic_cell_s"] * seen * kept + c["topic_row_s"] * rows)
    held = c["cell_bytes"] * all_cells(fit) + 24.0 * all_rows(fit) * kept
    return Passed(seconds, held, dense(fit, kept))


def landmarks(fit: Described, c: Constants) -> Passed:
    """Return the cost of Nystroem: every row with some of them, and a decomposition of those."""
    kept = between(fit.params.number("n_components", default=100.0), 1.0, fit.rows_train)
    pairs = all_rows(fit) * kept
    seconds = pairs * (c["pair_s"] + c["pair_column_s"] * fit.columns)
    seconds += c["product_cell_s"] * pairs * kept + c["svd_cube_s"] * kept**3
    return Passed(seconds, c["landmark_bytes"] * pairs, dense(fit, kept))


def random_features(fit: Described, c: Constants) -> Passed:
    """Return the cost of random projections, with a cosine of each or not."""
    name = _name(fit)
    wanted = fit.params.number("n_components", default=100.0)
    kept = between(wanted, 1.0, 1e7)
    made = all_rows(fit) * kept
    seconds = c["product_cell_s"] * all_cells(fit) * kept
    if name == "SparseRandomProjection":
        seconds = c["sparse_cell_s"] * all_cells(fit) * kept / max(1.0, fit.columns**0.5)
    if name in ("RBFSampler", "SkewedChi2Sampler"):
        seconds += c["cosine_s"] * made
    elif name == "PolynomialCountSketch":
        degree = between(fit.params.number("degree", default=2.0), 1.0, 50.0)
        seconds = degree * (c["sketch_cell_s"] * all_cells(fit) * 1.0)
        seconds += (degree + 1.0) * c["fourier_s"] * made * log2(kept)
        return Passed(seconds, c["fourier_bytes"] * made * degree, dense(fit, kept))
    return Passed(seconds, c["random_bytes"] * made, dense(fit, kept))


def clusters(fit: Described, c: Constants) -> Passed:
    """Return the cost of k-means as a transformer: starts × passes over rows × centres."""
    wanted = between(fit.params.number("n_clusters", default=8.0), 1.0, fit.rows_train)
    starts = between(fit.params.number("n_init", default=1.0), 1.0, 1e6)
    if fit.params.word("n_init") == "auto":
        starts = 1.0 if fit.params.word("init", "k-means++") == "k-means++" else 10.0
    most = between(fit.params.number("max_iter", default=300.0), 1.0, 1e6)
    passes = min(most, c["means_passes"] * (fit.rows_train / 1e4) ** c["means_rows_power"])
    if _name(fit).startswith("MiniBatch"):
        passes = min(most, 5.0)
    chosen_s = wanted * (c["centre_s"] + c["centre_cell_s"] * fit.nonzeros)
    pass_s = c["mean_cell_s"] * fit.nonzeros * wanted + c["mean_row_s"] * fit.rows_train
    seconds = starts * (chosen_s + passes * (pass_s + c["step_s"]))
    seconds += c["mean_cell_s"] * all_cells(fit) * wanted
    held = c["cell_bytes"] * all_cells(fit) + c["mean_row_bytes"] * all_rows(fit)
    return Passed(seconds, held + 8.0 * all_rows(fit) * wanted, dense(fit, wanted))


def manifold(fit: Described, c: Constants) -> Passed:
    """Return the cost of Isomap and its kin: shortest paths between all rows, decomposed."""
    rows = fit.rows_train
    kept = between(fit.params.number("n_components", default=2.0), 1.0, rows)
    wanted = between(fit.params.number("n_neighbors", default=5.0), 1.0, rows)
    seconds = c["path_s"] * rows**2 * log2(rows) * wanted**0.5
    seconds += c["arpack_s"] * rows**2 * (kept + 10.0)
    seconds += c["path_row_s"] * fit.rows_test * rows * wanted
    held = c["path_bytes"] * rows**2 + 8.0 * fit.rows_test * rows
    return Passed(seconds, held, dense(fit, kept))


def neighbourhoods(fit: Described, c: Constants) -> Passed:
    """Return the cost of neighbourhood components: all pairs of rows in each step."""
    rows = fit.rows_train
    kept = kept_columns(fit)
    steps = between(fit.params.number("max_iter", default=50.0), 1.0, 1e6)
    pair_s = c["nca_pair_s"] + c["pair_column_s"] * (kept + fit.columns)
    seconds = steps * c["evaluations"] * rows**2 * pair_s
    return Passed(seconds, c["nca_bytes"] * rows**2, dense(fit, kept))


def boltzmann(fit: Described, c: Constants) -> Passed:
    """Return the cost of a restricted Boltzmann machine: passes over batches of rows."""
    kept = between(fit.params.number("n_components", default=256.0), 1.0, 1e6)
    passes = between(fit.params.number("n_iter", default=10.0), 1.0, 1e6)
    batch = between(fit.params.number("batch_size", default=10.0), 1.0, fit.rows_train)
    batches = max(1.0, fit.rows_train / batch)
    each = fit.nonzeros * kept
    seconds = passes * (batches * c["boltzmann_batch_s"] + c["boltzmann_cell_s"] * each)
    seconds += passes * c["boltzmann_value_s"] * fit.rows_train * (kept + fit.columns)
    seconds += c["product_cell_s"] * all_cells(fit) * kept
    return Passed(seconds, 16.0 * all_rows(fit) * kept, dense(fit, kept))


def _name(fit: Described) -> str:
    return fit.algorithm.rpartition(".")[2]


PROJECTIONS: dict[str, Transform] = {
    "PCA": components,
    "TruncatedSVD": components,
    "IncrementalPCA": batches_of_components,
    "KernelPCA": kernel_components,
    "FastICA": independent_components,
    "NMF": factors,
    "MiniBatchNMF": factors,
    "FactorAnalysis": factors,
    "DictionaryLearning": dictionary,
    "MiniBatchDictionaryLearning": dictionary,
    "SparsePCA": dictionary,
    "MiniBatchSparsePCA": dictionary,
    "LatentDirichletAllocation": topics,
    "Nystroem": landmarks,
    "RBFSampler": random_features,
    "SkewedChi2Sampler": random_features,
    "PolynomialCountSketch": random_features,
    "GaussianRandomProjection": random_features,
    "SparseRandomProjection": random_features,
    "KMeans": clusters,
    "MiniBatchKMeans": clusters,
    "Isomap": manifold,
    "NeighborhoodComponentsAnalysis": neighbourhoods,
    "BernoulliRBM": boltzmann,
}
