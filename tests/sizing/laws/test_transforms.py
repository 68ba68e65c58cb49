"""Transformers' laws: what they cost, and what data they hand on."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sizing_making import request
from sklearn import decomposition, kernel_approximation, preprocessing

from fitcast.sizing.laws.features import Params, describe
from fitcast.sizing.laws.prior import constants
from fitcast.sizing.laws.projections import PROJECTIONS
from fitcast.sizing.laws.transforms import TRANSFORMS, other

LAWS = TRANSFORMS | PROJECTIONS

numbers = st.dictionaries(
    st.sampled_from(
        [
            "n_components",
            "degree",
            "n_knots",
            "n_bins",
            "n_clusters",
            "n_init",
            "max_iter",
            "batch_size",
            "k",
            "percentile",
            "n_quantiles",
            "subsample",
            "cv",
            "n_neighbors",
            "n_estimators",
            "max_depth",
            "n_features",
            "max_features",
        ]
    ),
    st.floats(-1e12, 1e12),
    max_size=6,
)
words = st.dictionaries(
    st.sampled_from(
        ["svd_solver", "eigen_solver", "strategy", "encode", "sparse_output", "score_func"]
    ),
    st.sampled_from(
        [
            "auto",
            "full",
            "randomized",
            "arpack",
            "kmeans",
            "onehot-dense",
            "ordinal",
            "False",
            "mutual",
        ]
    ),
    max_size=4,
)


def given_to(name, *, numbers=None, words=None, **shape):
    """Return what a transformer gets."""
    fit = describe(request(f"sklearn.{name}", **shape))
    return replace(fit, params=Params(numbers=numbers or {}, words=words or {}, key=0))


@given(
    st.sampled_from([*LAWS, "Unheard"]),
    st.integers(1, 10**7),
    st.integers(0, 10**7),
    st.integers(1, 10**5),
    st.floats(1e-6, 1.0),
    numbers,
    words,
)
def test_every_law_gives_a_cost_and_data_whatever_it_is_asked(
    name, rows, tested, columns, density, numbers, words
):
    nonzeros = max(1, round(rows * columns * density))
    fit = given_to(
        name,
        numbers=numbers,
        words=words,
        rows_train=rows,
        rows_test=tested,
        columns=columns,
        nonzeros=nonzeros,
    )
    passed = LAWS.get(name, other)(fit, constants()["steps"])
    after = passed.after
    for cost in (passed.seconds, passed.memory_bytes, after.data_bytes):
        assert math.isfinite(cost)
        assert cost >= 0.0
    assert after.columns >= 1.0
    assert 0.0 <= after.nonzeros <= after.rows_train * after.columns * (1 + 1e-9)


@given(st.sampled_from([*LAWS, "Unheard"]), st.integers(200, 10**5), st.integers(2, 300))
def test_more_rows_never_cost_less(name, rows, columns):
    few, many = (
        LAWS.get(name, other)(
            given_to(
                name,
                rows_train=count,
                rows_test=count // 4,
                columns=columns,
                nonzeros=count * columns,
                data_bytes=10 * count * columns,
            ),
            constants()["steps"],
        )
        for count in (rows, 2 * rows)
    )
    # With enough rows these go another way, by the columns' products or by a few components.
    cheaper = 0.0 if name in ("PCA", "KernelPCA", "IncrementalPCA") else 0.999
    assert many.seconds >= cheaper * few.seconds
    assert many.memory_bytes >= cheaper * few.memory_bytes


X = np.random.default_rng(0).integers(0, 9, (400, 7)).astype(float)


@pytest.mark.parametrize(
    "transformer",
    [
        preprocessing.PolynomialFeatures(2),
        preprocessing.PolynomialFeatures(3, interaction_only=True),
        preprocessing.SplineTransformer(n_knots=6, degree=2),
        preprocessing.KBinsDiscretizer(4, encode="onehot-dense", strategy="uniform"),
        preprocessing.KBinsDiscretizer(4, encode="ordinal", strategy="uniform"),
        preprocessing.OneHotEncoder(sparse_output=False),
        preprocessing.OneHotEncoder(),
        preprocessing.QuantileTransformer(n_quantiles=100),
        decomposition.PCA(3),
        decomposition.TruncatedSVD(4),
        decomposition.KernelPCA(5),
        kernel_approximation.Nystroem(n_components=50),
        kernel_approximation.RBFSampler(n_components=60),
    ],
    ids=lambda transformer: type(transformer).__name__,
)
def test_what_is_handed_on_is_what_scikit_learn_makes(transformer):
    made = transformer.fit_transform(X)
    fit = given_to(
        type(transformer).__name__,
        numbers={
            n: float(v)
            for n, v in transformer.get_params().items()
            if isinstance(v, int | float) and not isinstance(v, bool)
        },
        words={n: str(v) for n, v in transformer.get_params().items() if isinstance(v, str | bool)},
        rows_train=len(X),
        rows_test=100,
        columns=X.shape[1],
        nonzeros=X.size,
        data_bytes=500 * 7 * 8,
        distinct_values=9 * X.shape[1],
    )
    after = LAWS[type(transformer).__name__](fit, constants()["steps"]).after
    assert after.columns == made.shape[1]
    held = made.nnz if sparse.issparse(made) else made.size
    assert after.nonzeros == held
