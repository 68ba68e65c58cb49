"""Fits that go wrong in the process of another: tried alone before it counts."""

import pytest

from fitcast.history.records import Outcome
from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.events import AttemptEnded, Settle, Start, WorkerJoined
from fitcast.scheduler.plan.pools import WorkerSize
from tests.scheduler.making import MIB, estimate, submitted

pytestmark = pytest.mark.security
ONE = WorkerSize("one", "p", 1, 8_000 * MIB)


def begun(**more):
    """A plan whose first process has several fits."""
    decisions = Decisions(checked=True)
    decisions.handle(WorkerJoined(ONE), 0.0)
    actions = decisions.handle(submitted(*[estimate(0.035)] * 60, **more), 0.0)
    (start,) = (action for action in actions if isinstance(action, Start))
    assert len(start.followers) > 2
    return decisions, start


def end_all(decisions, start, outcomes):
    """End a process, followers first; return the actions that follow."""
    actions = []
    for member in (*reversed(start.followers), start):
        outcome = outcomes.get(member.key, Outcome.SUCCEEDED)
        actions += decisions.handle(AttemptEnded(member.key, member.attempt, outcome, MIB), 1.0)
    return actions


def test_a_follower_s_failure_is_tried_once_alone():
    decisions, start = begun()
    follower = start.followers[0].key
    actions = end_all(decisions, start, {follower: Outcome.FAILED})
    assert follower not in {a.key for a in actions if isinstance(a, Settle)}
    settled = []
    for _ in range(100):
        again = [a for a in actions if isinstance(a, Start)]
        settled += [a for a in actions if isinstance(a, Settle) and a.key == follower]
        if settled:
            break
        (one,) = again
        # alone: it follows nobody any more, and nobody follows it
        assert follower not in {member.key for member in one.followers}
        assert one.key != follower or not one.followers
        actions = end_all(decisions, one, {follower: Outcome.FAILED})
    (end,) = settled
    assert (end.outcome, end.attempt) == (Outcome.FAILED, 2)


def test_a_leader_s_failure_counts_at_once():
    decisions, start = begun()
    actions = end_all(decisions, start, {start.key: Outcome.FAILED})
    (end,) = (a for a in actions if isinstance(a, Settle) and a.key == start.key)
    assert end.outcome is Outcome.FAILED
