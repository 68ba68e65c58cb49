"""A queued workflow's states: what may follow what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitcast.errors import WorkflowStateError
from fitcast.scheduler.broker.lifecycle import (
    NEXT,
    TERMINAL,
    State,
    after_replica,
    check_transition,
)

states = st.sampled_from(State)


def test_every_state_has_its_next_ones():
    assert set(NEXT) == set(State)
    assert {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED} == TERMINAL
    assert {state for state in State if state.is_terminal} == TERMINAL


@given(states, states)
def test_a_way_is_refused_exactly_if_it_isnt_there(now, then):
    if then in NEXT[now]:
        check_transition("w", now, then)
    else:
        with pytest.raises(WorkflowStateError, match=f"w is {now}: it can't become {then}"):
            check_transition("w", now, then)


@given(st.lists(states, max_size=30))
def test_no_walk_leaves_an_end_or_comes_back_to_uploading(walk):
    now, seen = State.UPLOADING, [State.UPLOADING]
    for then in walk:
        try:
            check_transition("w", now, then)
        except WorkflowStateError:
            continue
        assert not now.is_terminal
        now = then
        seen.append(now)
    assert seen.count(State.UPLOADING) == 1
    assert sum(state.is_terminal for state in seen) <= 1
    if State.RUNNING in seen:
        assert seen[:3] == [State.UPLOADING, State.QUEUED, State.RUNNING]


@given(states)
def test_every_state_has_a_way_to_an_end(state):
    reached, front = {state}, {state}
    while front:
        front = {then for one in front for then in NEXT[one]} - reached
        reached |= front
    assert reached & TERMINAL


@given(st.booleans())
def test_what_no_replica_has_goes_on_or_is_cancelled_as_was_asked(asked):
    then = after_replica(cancel_asked=asked)
    check_transition("w", State.RUNNING, then)
    assert then.is_terminal == asked


def test_an_end_says_that_it_is_one():
    with pytest.raises(WorkflowStateError, match="it has ended"):
        check_transition("w", State.FAILED, State.QUEUED)
