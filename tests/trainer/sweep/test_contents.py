import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fitcast.trainer.sweep.contents import MOST_DISTINCT, Contents, contents_of


def test_distinct_values_are_counted_per_column():
    X = np.column_stack([np.zeros(1000), np.arange(1000) % 7, np.arange(1000)])

    assert contents_of(X).distinct_values == 1 + 7 + MOST_DISTINCT


def test_large_data_is_told_by_a_sample():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 12, (50_000, 1500))

    assert contents_of(X).distinct_values == 12 * 1500


def test_frames_tell_of_categories_and_of_what_is_missing():
    X = pd.DataFrame(
        {
            "number": [1.0, 2.0, np.nan, np.nan],
            "text": ["a", "b", "b", None],
            "kind": pd.Categorical(["x", "x", "y", "y"]),
            "day": pd.to_datetime(["2026-01-01"] * 4),
            "flag": [True, False, True, True],
        }
    )

    found = contents_of(X)

    assert found.categorical_columns == 3  # a date is no number either
    assert found.missing_share == pytest.approx(3 / 20)
    assert found.distinct_values == 2 + 2 + 2 + 1 + 2


def test_missing_values_of_arrays_count_as_no_value():
    found = contents_of(np.array([[1.0, np.nan], [1.0, np.nan], [2.0, np.nan], [2.0, 5.0]]))

    assert found.missing_share == pytest.approx(3 / 8)
    assert found.distinct_values == 2 + 1


def test_sparse_data_counts_like_the_same_data_dense():
    dense = np.random.default_rng(0).poisson(0.1, (500, 40))

    assert contents_of(sp.csr_matrix(dense)) == contents_of(dense)
    assert contents_of(sp.coo_array(dense)) == contents_of(dense)


def test_scales_are_seen_as_they_are_and_go_away_once_standardised():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 8))
    scaled = X * 10.0 ** np.arange(8)

    assert contents_of(X).condition_decades < 0.2
    assert contents_of(scaled).condition_decades > 5.0
    assert contents_of(scaled).correlation_decades == pytest.approx(
        contents_of(X).correlation_decades, abs=0.01
    )


def test_correlated_columns_are_ill_conditioned_even_standardised():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 1)) + 0.01 * rng.standard_normal((2000, 6))

    assert contents_of(X).correlation_decades > 3.0


@pytest.mark.parametrize("odd", [None, [[1], [3, 4]], "text", np.empty((0, 3)), object(), 3])
def test_of_what_cannot_be_looked_into_nothing_is_said(odd):
    assert contents_of(odd) == Contents()


@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.int16, np.bool_]),
        st.tuples(st.integers(1, 30), st.integers(1, 8)),
    )
)
def test_any_numbers_give_finite_counts(X):
    with np.errstate(all="ignore"):
        found = contents_of(X)

    assert 0 <= found.distinct_values <= X.size
    assert 0.0 <= found.missing_share <= 1.0
    assert 0.0 <= found.condition_decades <= 12.0
    assert 0.0 <= found.correlation_decades <= 12.0
