"""What an estimator is made of, as JSON: all of it comes back, and anything else is refused."""

import json
import pickle
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitcast.history import codec
from fitcast.history.parts import (
    MOST_LEVELS,
    MOST_PARTS,
    EstimatorPart,
    Selected,
    part_from_json,
    part_to_json,
)
from tests.history import examples

TREE = EstimatorPart(
    algorithm="sklearn.ensemble.BaggingClassifier",
    params=(("n_estimators", 10), ("bootstrap", True)),
    parts=(EstimatorPart(algorithm="sklearn.svm.SVC", role="estimator", count=3),),
)


@given(examples.parts)
@settings(deadline=None)
def test_all_of_a_tree_comes_back(part):
    back = part_from_json(json.loads(json.dumps(part_to_json(part))))
    assert repr(back) == repr(part)
    assert hash(back) == hash(part)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["algorithm", "parts", "params", "counts", "selected", "count", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(anything)
@settings(deadline=None)
def test_what_is_no_tree_is_refused_as_a_value(told):
    try:
        part = part_from_json(told)
    except ValueError:
        return
    assert part_from_json(part_to_json(part)) == part


def chain(levels):
    told = {"algorithm": "a"}
    for _ in range(levels - 1):
        told = {"algorithm": "a", "parts": [told]}
    return told


def test_a_tree_has_so_many_levels_and_parts_and_no_more():
    assert part_from_json(chain(MOST_LEVELS)).size == MOST_LEVELS
    leaves = [{"algorithm": "leaf"}] * (MOST_PARTS - 1)
    assert part_from_json({"algorithm": "a", "parts": leaves}).size == MOST_PARTS
    for told in (
        chain(MOST_LEVELS + 1),
        chain(900),
        {"algorithm": "a", "parts": [*leaves, *leaves]},
    ):
        with pytest.raises(ValueError, match="too many"):
            part_from_json(told)


def test_what_a_later_fitcast_says_beside_is_passed_over():
    told = part_to_json(TREE) | {"colour": "blue"}
    assert part_from_json(told) == TREE


def test_a_hash_is_not_taken_to_another_process():
    hash(TREE)
    code = (
        "import pickle, sys; part = pickle.loads(sys.stdin.buffer.read());"
        "fresh = type(part)(algorithm=part.algorithm, params=part.params, parts=part.parts);"
        "print(hash(part) == hash(fresh))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(TREE), capture_output=True, check=True
    )
    assert told.stdout.strip() == b"True"


def test_a_record_says_what_its_estimator_is_made_of_and_an_older_one_nothing():
    record = examples.record()
    row = codec.record_to_row(record)
    assert row["request_made_of"] is None
    del row["request_made_of"]
    del row["request_memory_order"]
    older = codec.row_to_record(row)
    assert older == record
    assert older.request.made_of is None


def test_a_record_with_a_damaged_tree_is_left_out():
    row = codec.record_to_row(examples.record()) | {"request_made_of": '{"algorithm": 3}'}
    assert codec.row_to_record(row) is None


def test_what_is_selected_needs_its_columns():
    assert part_from_json({"algorithm": "a", "selected": {"columns": 3}}).selected == Selected(
        columns=3
    )
    with pytest.raises(ValueError, match="columns"):
        part_from_json({"algorithm": "a", "selected": {}})
