"""Submissions that come at the same time: each is as if it had come alone."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from fitcast.errors import AuthenticationError, IdempotencyError, LimitError, WorkflowStateError
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.quotas import Quota
from fitcast.scheduler.broker.store.database import Database
from tests.polling import wait_for
from tests.scheduler.broker.submissions import submission

BY_ITSELF = {"workflow_id", "created_at", "queued_at"}


def at_once(store, *submissions):
    """Hand all in while another one writes; return what became of each: a row, or an error."""
    database: Database = store._database
    writes, goes_on = threading.Event(), threading.Event()

    def holds_up(writing):
        writes.set()
        assert goes_on.wait(60)

    def handed_in(user_id, new, **more):
        try:
            return store.add(user_id, new, **more)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(submissions) + 1) as pool:
        pool.submit(database.write, holds_up)
        assert writes.wait(60)
        waiting = []
        for number, (user_id, new, more) in enumerate(submissions):
            waiting.append(pool.submit(handed_in, user_id, new, **more))
            assert wait_for(lambda n=number: len(database._waiting) == n + 1)
        goes_on.set()
        return [one.result() for one in waiting]


def refuses(user, held):
    raise LimitError("no more")


def test_all_of_them_are_as_one_that_came_alone(store):
    ana, bob = (store.add_user(name, group="lab").user_id for name in ("ana", "bob"))
    like = {"priority": 3, "name": "trees \0 of ana", "key_version": "k"}
    alone = {
        whole: store.add(ana, submission(f"alone-{whole}", **like), is_whole=whole)
        for whole in (True, False)
    }
    many = [
        (user, submission(f"w{n}", **like), {"is_whole": n % 2 == 0})
        for n, user in enumerate((ana, bob, ana, ana))
    ]
    rows = at_once(store, *many)
    for (user, new, how), row in zip(many, rows, strict=True):
        before = asdict(alone[how["is_whole"]])
        mine = asdict(row)
        assert {k for k in mine if mine[k] != before[k]} <= BY_ITSELF | {"user_id", "user"}
        assert (row.workflow_id, row.user_id) == (new.workflow_id, user)
        assert store.get(row.workflow_id) == row
        events = store.events_after(0, workflow_id=row.workflow_id)
        state = State.QUEUED if how["is_whole"] else State.UPLOADING
        assert [(one.kind, one.data) for one in events] == [("state", {"state": state})]
        assert (row.queued_at is None) == (not how["is_whole"])
    ours = [one.workflow_id for one in store.queued()]
    assert ours == ["alone-True", "w0", "w2"]


def test_what_isnt_plain_is_judged_by_itself(store):
    ana, poor, gone = (store.add_user(name).user_id for name in ("ana", "poor", "gone"))
    store.set_user("poor", quota=Quota(queued_fits=5))
    store.disable_user("gone")
    store.add(ana, submission("before", idempotency_key="used"))
    told = at_once(
        store,
        (ana, submission("a"), {"is_whole": True}),
        (poor, submission("b"), {"admits": refuses, "is_whole": True}),
        (ana, submission("before"), {}),
        (ana, submission("c", idempotency_key="used"), {}),
        (ana, submission("d", idempotency_key="used", request_sha256="0" * 64), {}),
        (ana, submission("e", idempotency_key="new"), {}),
        (ana, submission("f", idempotency_key="new"), {}),
        (ana, submission("g"), {}),
        (ana, submission("g"), {}),
        (gone, submission("h"), {"is_whole": True}),
    )
    names = [one if isinstance(one, Exception) else one.workflow_id for one in told]
    assert names[0] == "a"
    assert isinstance(names[1], LimitError)
    assert isinstance(names[2], WorkflowStateError)
    assert names[3] == "before"
    assert isinstance(names[4], IdempotencyError)
    assert names[5:7] == ["e", "e"]
    assert names[7] == "g" and isinstance(names[8], WorkflowStateError)
    assert isinstance(names[9], AuthenticationError)
    assert store.known("abcdefgh") == {"a", "e", "g"}
    for workflow_id in "aeg":
        assert len(store.events_after(0, workflow_id=workflow_id)) == 1
