"""Whose turn it is where users share the workers."""

import pytest

from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.events import SharesChanged, Start, WorkerJoined
from fitcast.scheduler.plan.invariants import InvariantError
from fitcast.scheduler.plan.pools import WorkerSize
from tests.scheduler.making import MIB, estimate, submitted


def begun(weights, *workflows, cpus=12):
    """Submit workflows, then let a worker join; return how many fits of each run."""
    decisions = Decisions(checked=True)
    if weights:
        decisions.handle(SharesChanged(weights), 0.0)
    for workflow in workflows:
        decisions.handle(workflow, 0.0)
    actions = decisions.handle(WorkerJoined(WorkerSize("one", "p", cpus, 100_000 * MIB)), 0.0)
    starts = [action.key.workflow_id for action in actions if isinstance(action, Start)]
    return [starts.count(workflow.workflow_id) for workflow in workflows]


def of(name, user, **more):
    return submitted(*[estimate(10.0)] * 30, name=name, share_of=user, **more)


def test_without_weights_workflows_take_turns():
    assert begun({}, of("1", "a"), of("2", "a"), of("3", "b")) == [4, 4, 4]


def test_with_weights_users_do():
    assert begun({"a": 1.0}, of("1", "a"), of("2", "a"), of("3", "b")) == [3, 3, 6]
    assert begun({"a": 1.0, "b": 2.0}, of("1", "a"), of("2", "b")) == [4, 8]


def test_memory_counts_where_it_is_what_a_user_has_most_of():
    large = submitted(*[estimate(10.0, 12_500 * MIB)] * 30, name="1", share_of="a")
    few, many = begun({"a": 1.0}, large, of("2", "b"))
    assert few + many == 12
    assert few < many


def test_priorities_count_among_a_users_own():
    counts = begun({"a": 1.0}, of("1", "a"), of("2", "a", priority=1), of("3", "b", priority=-9))
    assert counts == [0, 6, 6]


def test_a_weight_must_be_positive():
    with pytest.raises(InvariantError, match="weight"):
        begun({"a": 0.0}, of("1", "b"))
