"""What becomes of workflows that can't be opened, in virtual time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitcast import errors
from fitcast.scheduler.broker.serving.reopening import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    Pauses,
    ends,
    told,
)


@pytest.mark.parametrize(
    "error",
    [
        errors.WorkflowHeldError("held"),
        errors.UnknownWorkflowError("no folder"),
        errors.StoreError("full"),
        errors.KeyEncryptionError("vault is sealed"),
        errors.BackendError("no workers"),
        OSError(24, "too many open files"),
        TimeoutError(),
        MemoryError(),
    ],
)
def test_what_is_wrong_with_the_place_ends_no_workflow(error):
    assert not ends(error)
    assert str(error) == "" or str(error) not in told(error)


@pytest.mark.parametrize(
    "error",
    [
        errors.SubmissionError("damaged"),
        errors.SealError("altered"),
        errors.FitTooLargeError("no pool can hold it"),
        ValueError("a fault of ours"),
    ],
)
def test_what_is_wrong_with_the_workflow_ends_it(error):
    assert ends(error)


@given(st.integers(1, 2000))
def test_pauses_grow_to_a_bound_and_end(tries):
    pauses, now_s, last_s = Pauses(), 0.0, FIRST_PAUSE_S
    for _ in range(tries):
        pause_s = pauses.add("w", now_s)
        assert last_s <= pause_s <= LONGEST_PAUSE_S
        assert pauses.left_alone(now_s) == {"w"}
        now_s, last_s = now_s + pause_s, pause_s
        assert pauses.left_alone(now_s) == set()
    pauses.forget("w")
    assert pauses.add("w", now_s) == FIRST_PAUSE_S


def test_one_that_was_not_heard_of_for_long_is_forgotten():
    pauses = Pauses()
    for _ in range(10):
        pauses.add("w", 0.0)
    pauses.left_alone(3600.0)
    assert pauses.add("w", 3600.0) == FIRST_PAUSE_S
