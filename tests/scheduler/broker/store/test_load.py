"""How much waits and runs, and in which place: the same on either database."""

import pytest
from sqlalchemy import update

from fitcast.scheduler.broker.resources import Resources
from fitcast.scheduler.broker.store.tables import WORKFLOWS
from tests.scheduler.broker.submissions import progress, queued, submission


@pytest.fixture
def ana(store):
    return store.add_user("ana").user_id


@pytest.fixture
def bob(store):
    return store.add_user("bob").user_id


def test_an_empty_queue_has_no_wait(store):
    load = store.load()
    assert (load.uploading, load.queued, load.running) == (0, 0, 0)
    assert (load.longest_wait_s, load.mean_wait_s) == (0.0, 0.0)
    assert load.used == Resources()
    assert store.places() == {}


def test_what_waits_and_runs_is_counted_of_everybody(store, ana, bob):
    store.add(ana, submission("uploading"))
    for user_id, name in ((ana, "a1"), (bob, "b1"), (bob, "b2"), (ana, "a2")):
        queued(store, user_id, name)
    row = store.claim("a1", "r", 60.0)
    store.renew("r", 60.0, {"a1": (row.fence, progress(used=Resources(2.0, 3e9, 1.0)))})
    with store._database.engine.begin() as connection:  # as if it had waited for an hour
        its = WORKFLOWS.c.workflow_id == "b1"
        connection.execute(
            update(WORKFLOWS).where(its).values(queued_at_s=WORKFLOWS.c.queued_at_s - 3600.0)
        )
    load = store.load()
    assert (load.uploading, load.queued, load.running) == (1, 3, 1)
    assert load.used == Resources(2.0, 3e9, 1.0)
    assert load.longest_wait_s >= 3600.0
    assert load.longest_wait_s / 3 <= load.mean_wait_s < load.longest_wait_s


def test_places_are_by_time_in_the_queue_among_everybodys(store, ana, bob):
    for user_id, name in ((ana, "a1"), (bob, "b1"), (ana, "a2")):
        queued(store, user_id, name, priority=5 if name == "a2" else 0)
    assert store.places() == {"a1": 1, "b1": 2, "a2": 3}
    assert store.places(limit=1) == {"a1": 1}
    assert store.places(ana) == {"a1": 1, "a2": 3}
    assert store.places(bob) == {"b1": 2}
    store.claim("a1", "r", 60.0)
    assert store.places() == {"b1": 1, "a2": 2}
