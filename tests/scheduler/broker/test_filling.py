"""Filling beside what fits that run have already."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fitcast.scheduler.broker.filling import Users, fill

ROUNDING = 1e-6


@st.composite
def clusters(draw):
    """Return needs of workflows, their users, and what each has, all of it together being there."""
    several = draw(st.integers(1, 6))
    number = st.floats(0.01, 1.0)
    needs = np.array([[draw(number), draw(number)] for _ in range(several)])
    user = np.sort([draw(st.integers(0, several - 1)) for _ in range(several)])
    user = np.unique(user, return_inverse=True)[1]
    held = np.array([draw(st.floats(0.0, 1.0)) for _ in range(several)])
    held /= max(1.0, float((held[:, None] * needs).sum(axis=0).max()))
    count = int(user.max()) + 1
    weight = np.array([draw(st.floats(0.2, 5.0)) for _ in range(count)])
    return needs, user, Users(draw=np.zeros(count, dtype=np.int64), weight=weight), held


@given(clusters())
def test_nobody_has_less_than_they_hold_and_all_together_what_there_is(cluster):
    needs, user, users, held = cluster
    got = fill(needs, user, users, held=held)
    assert (got >= held - ROUNDING).all() and (got <= 1.0 + ROUNDING).all()
    assert ((got[:, None] * needs).sum(axis=0) <= 1.0 + ROUNDING).all()


@given(clusters())
def test_holding_nothing_is_as_before(cluster):
    needs, user, users, held = cluster
    assert (fill(needs, user, users) == fill(needs, user, users, held=0.0 * held)).all()


@given(clusters())
def test_who_holds_nothing_has_no_more_for_what_others_hold(cluster):
    needs, user, users, held = cluster
    held[user == user[0]] = 0.0
    if len(np.unique(user)) > 1 and needs.shape[1]:
        mine = user == user[0]
        one = needs[:, :1]  # of a single resource: of several, less of one may mean more of another
        free = fill(one, user, users)[mine]
        assert (fill(one, user, users, held=held)[mine] <= free + ROUNDING).all()
