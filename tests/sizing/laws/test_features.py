import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sizing_making import FOREST, request

from fitcast.sizing.laws.features import describe, read_params, scaled


def test_costless_params_dont_tell_fits_apart():
    one = describe(request(params={"max_depth": 3, "random_state": 1, "n_jobs": 4}))
    other = describe(request(params={"max_depth": 3, "random_state": None, "verbose": 2}))
    assert one.key == other.key
    assert one.key != describe(request(params={"max_depth": 4})).key


def test_folds_that_differ_by_a_row_are_alike_and_threads_are_not():
    assert describe(request(rows=20_000)).key == describe(request(rows=20_001)).key
    assert describe(request(threads=1)).key != describe(request(threads=2)).key


def test_a_pipelines_last_step_is_read_by_own_names():
    params = {"steps": "list", "scale": "StandardScaler", "scale__with_mean": True}
    params |= {"rf": "RandomForestClassifier", "rf__max_depth": 7, "rf__n_jobs": 3}
    steps = ("sklearn.preprocessing.StandardScaler", FOREST)
    read = read_params(FOREST, steps, params)
    assert read.number("max_depth", default=0) == 7
    assert read.word("scale__with_mean") == "True"
    assert "n_jobs" not in read.numbers


def test_values_without_sense_are_words():
    read = read_params("a.B", (), {"a": math.nan, "b": math.inf, "c": 10**400, "d": None})
    assert not read.numbers
    assert read.words["c"] == "no number"


def test_values_that_cant_be_hashed_are_read():
    assert read_params("a.B", (), {"a": [1, 2]}).words["a"] == "[1, 2]"


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(-1e9, 1e9))
def test_scaled_keeps_order(a, b):
    low, high = sorted((a, b))
    assert scaled(low) <= scaled(high)
    assert scaled(-a) == pytest.approx(-scaled(a))
