"""Workflows that come in, are looked at and go: the same on either database."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, update

from fitcast.errors import (
    BrokerError,
    IdempotencyError,
    InvalidInputError,
    UnknownUserError,
    UnknownWorkflowError,
    UploadError,
    WorkflowStateError,
)
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.quotas import Quota
from fitcast.scheduler.broker.store.tables import METADATA, WORKFLOWS
from tests.scheduler.broker.submissions import DEMAND, queued, submission, uploaded


@pytest.fixture
def ana(store):
    return store.add_user("ana", group="risk").user_id


@pytest.fixture
def bob(store):
    return store.add_user("bob").user_id


def kinds(store, workflow_id):
    return [
        event.data.get("state", event.kind)
        for event in store.events_after(0, workflow_id=workflow_id)
    ]


def test_a_submission_is_as_handed_in(store, ana):
    new = submission("w-1", name="trees \0 of ana", priority=3, idempotency_key="k")
    added = store.add(ana, new)
    assert store.get("w-1") == added
    assert (added.user, added.group, added.user_id) == ("ana", "risk", ana)
    assert added.state is State.UPLOADING
    assert added.name == "trees \N{REPLACEMENT CHARACTER} of ana"
    for name in ("priority", "fits_total", "demand", "forecast_s", "dataset_bytes", "sweep_bytes"):
        assert getattr(added, name) == getattr(new, name), name
    for name in ("dataset_sha256", "sweep_sha256", "wrapped_key", "key_version"):
        assert getattr(added, name) == getattr(new, name), name
    assert added.received == {"dataset": 0, "sweep": 0}
    assert (added.fence, added.replica, added.lease_until, added.eta_s) == (0, None, None, None)
    assert added.stored_bytes == 110
    assert "wrapped" not in repr(added)


@pytest.mark.parametrize(
    "changes",
    [
        {"workflow_id": "../w"},
        {"workflow_id": "w\n"},
        {"fits_total": -1},
        {"dataset_bytes": 2**63},
        {"priority": 2**31},
        {"idempotency_key": ""},
        {"idempotency_key": "a b"},
    ],
)
def test_what_no_row_can_hold_is_refused(store, ana, changes):
    with pytest.raises(InvalidInputError):
        store.add(ana, submission(**changes))
    assert store.workflows() == []


def test_numbers_that_are_none_dont_end_a_workflow(store, ana):
    odd = replace(DEMAND, cpu_s=float("nan"), gpu_s=float("inf"), memory_byte_s=-1.0)
    added = store.add(ana, submission(demand=odd, forecast_s=(1.0, float("inf"), 2.0)))
    assert (added.demand.cpu_s, added.demand.gpu_s) == (0.0, 1e300)
    assert added.demand.memory_byte_s == 0.0
    assert added.forecast_s is None


def test_an_id_is_given_once(store, ana, bob):
    store.add(ana, submission("w"))
    with pytest.raises(WorkflowStateError, match="another id"):
        store.add(bob, submission("w"))
    with pytest.raises(UnknownUserError):
        store.add(999, submission())


def test_the_same_request_again_gives_the_same_workflow(store, ana, bob):
    first = store.add(ana, submission("w", idempotency_key="k"))
    again = store.add(ana, submission("v", idempotency_key="k"))
    assert again == first
    assert store.add(bob, submission("u", idempotency_key="k")).workflow_id == "u"
    with pytest.raises(IdempotencyError, match="another request"):
        store.add(ana, submission("t", idempotency_key="k", request_sha256="other"))
    assert len(store.workflows(ana)) == 1
    assert kinds(store, "w") == ["uploading"]


def test_submissions_without_a_key_are_different_ones(store, ana):
    store.add(ana, submission())
    store.add(ana, submission())
    assert len(store.workflows(ana)) == 2


def test_who_admits_sees_what_is_held_and_may_refuse(store, ana):
    seen = []
    store.set_user("ana", quota=Quota(queued_fits=20))

    def admits(user, holdings):
        seen.append((user.name, holdings.queued_fits))
        if holdings.queued_fits >= 20:
            raise BrokerError("enough")

    for number in range(2):
        store.add(ana, submission(idempotency_key=f"k{number}"), admits)
    with pytest.raises(BrokerError, match="enough"):
        store.add(ana, submission(idempotency_key="k2"), admits)
    assert seen == [("ana", 0), ("ana", 10), ("ana", 20)]
    assert len(store.workflows()) == 2
    # what was admitted before isn't refused later
    assert store.add(ana, submission(idempotency_key="k1"), admits).idempotency_key == "k1"
    assert len(store.workflows()) == 2
    store.set_user("ana", quota=Quota(running_cpus=1.0))  # bounds no submission
    store.add(ana, submission(), admits)
    assert len(seen) == 4


@pytest.mark.parametrize("odd", ["w\0", "\ud800", "", "x" * 10_000, "'; DROP TABLE users; --"])
def test_no_text_can_be_asked_for_that_a_database_cannot_hold(store, ana, odd):
    for ask in (
        lambda: store.get(odd, ana),
        lambda: store.workflows(ana, after=odd),
        lambda: store.ask_cancel(odd, ana),
        lambda: store.remove(odd, ana),
    ):
        with pytest.raises(UnknownWorkflowError):
            ask()


def test_anothers_workflow_is_unknown(store, ana, bob):
    workflow_id = queued(store, ana)
    messages = set()
    for ask in (
        lambda: store.get(workflow_id, bob),
        lambda: store.ask_cancel(workflow_id, bob),
        lambda: store.remove(workflow_id, bob),
        lambda: store.workflows(bob, after=workflow_id),
    ):
        with pytest.raises(UnknownWorkflowError) as caught:
            ask()
        messages.add(str(caught.value).replace("any more: list from the beginning", ""))
    assert store.workflows(bob) == []
    assert store.get(workflow_id, ana).state is State.QUEUED


def test_lists_are_newest_first_and_go_on_after_the_last_one_seen(store, ana, bob):
    ids = [queued(store, ana) if n % 2 else queued(store, bob) for n in range(6)]
    store.ask_cancel(ids[1])
    assert [w.workflow_id for w in store.workflows()] == ids[::-1]
    assert [w.workflow_id for w in store.workflows(limit=2)] == [ids[5], ids[4]]
    assert [w.workflow_id for w in store.workflows(limit=2, after=ids[4])] == [ids[3], ids[2]]
    assert [w.workflow_id for w in store.workflows(ana)] == [ids[5], ids[3], ids[1]]
    assert [w.workflow_id for w in store.workflows(ana, [State.CANCELLED])] == [ids[1]]


def test_pieces_of_an_upload_go_on_from_one_another(store, ana):
    store.add(ana, submission("w"))
    assert store.note_received("w", "dataset", 0, 60) == 60
    with pytest.raises(UploadError, match="60 bytes of the dataset are here"):
        store.note_received("w", "dataset", 0, 60)
    with pytest.raises(UploadError, match="announced with 100 bytes"):
        store.note_received("w", "dataset", 60, 41)
    with pytest.raises(UploadError):
        store.note_received("w", "dataset", -1, 1)
    with pytest.raises(UploadError, match="no upload 'model'"):
        store.note_received("w", "model", 0, 1)
    with pytest.raises(UnknownWorkflowError):
        store.note_received("v", "sweep", 0, 1)
    assert store.get("w").received == {"dataset": 60, "sweep": 0}
    assert store.note_received("w", "dataset", 60, 40) == 100


def test_only_a_whole_one_is_let_into_the_queue(store, ana):
    store.add(ana, submission("w"))
    store.note_received("w", "dataset", 0, 100)
    with pytest.raises(UploadError, match="0 of 10"):
        store.accept("w")
    store.note_received("w", "sweep", 0, 10)
    accepted = store.accept("w")
    assert accepted.state is State.QUEUED
    assert accepted.queued_at >= accepted.created_at
    assert store.accept("w") == accepted
    assert kinds(store, "w") == ["uploading", "queued"]
    with pytest.raises(WorkflowStateError, match="queued"):
        store.note_received("w", "sweep", 10, 0)
    with pytest.raises(UnknownWorkflowError):
        store.accept("v")


def test_what_was_cancelled_comes_into_no_queue(store, ana):
    store.add(ana, submission("w"))
    uploaded(store, "w")
    assert store.ask_cancel("w").state is State.CANCELLED
    with pytest.raises(WorkflowStateError, match="has ended"):
        store.accept("w")


def test_uploads_of_which_nothing_comes_expire(store, ana):
    store.add(ana, submission("idle"))
    store.add(ana, submission("busy"))
    waits = queued(store, ana)
    with store._database.engine.begin() as connection:
        connection.execute(update(WORKFLOWS).values(touched_at_s=WORKFLOWS.c.touched_at_s - 3600.0))
    store.note_received("busy", "sweep", 0, 1)
    assert [w.workflow_id for w in store.expire_uploads(1800.0)] == ["idle"]
    assert store.get("idle").state is State.EXPIRED
    assert store.expire_uploads(1800.0) == []
    assert store.get(waits).state is State.QUEUED
    assert kinds(store, "idle") == ["uploading", "expired"]


def test_what_has_ended_is_removed_to_the_last_trace(store, ana):
    secret = "canary-of-ana"
    workflow_id = queued(store, ana, name=secret, wrapped_key=secret.encode())
    with pytest.raises(WorkflowStateError, match="queued"):
        store.remove(workflow_id)
    claimed = store.claim(workflow_id, "r", 60.0)
    with pytest.raises(WorkflowStateError, match="running"):
        store.remove(workflow_id)
    store.end(workflow_id, claimed.fence, State.FAILED, "ValueError", secret)
    store.remove(workflow_id, ana)
    with pytest.raises(UnknownWorkflowError):
        store.get(workflow_id)
    assert kinds(store, workflow_id) == ["removed"]
    with store._database.engine.connect() as connection:
        for table in METADATA.sorted_tables:
            assert secret not in repr(connection.execute(select(table)).all())
    url = store._database.engine.url
    if url.get_backend_name() == "sqlite":
        for path in Path(url.database).parent.glob("broker.db*"):
            assert secret.encode() not in path.read_bytes()


def test_keys_are_wrapped_again_and_what_is_up_to_date_stays(store, ana):
    ids = [store.add(ana, submission(wrapped_key=b"old%d" % n)).workflow_id for n in range(7)]
    done = store.add(ana, submission(wrapped_key=b"new", key_version="2")).workflow_id

    def again(workflow):
        if workflow.key_version == "2":
            return None
        return workflow.wrapped_key.replace(b"old", b"new"), "2"

    assert store.rewrap(again, at_once=3) == 7
    assert [store.get(one).wrapped_key for one in ids] == [b"new%d" % n for n in range(7)]
    assert {store.get(one).key_version for one in [*ids, done]} == {"2"}
    assert store.rewrap(again, at_once=3) == 0


def test_a_key_that_changed_meanwhile_is_left_alone(store, ana):
    workflow_id = store.add(ana, submission(wrapped_key=b"old")).workflow_id

    def again(workflow):
        store.rewrap(lambda _: (b"by another", "3")) if workflow.key_version == "1" else None
        return b"too late", "2"

    assert store.rewrap(again) == 0
    assert store.get(workflow_id).wrapped_key == b"by another"


def test_events_are_numbered_upwards_and_each_user_has_their_own(store, ana, bob):
    of_ana, of_bob = queued(store, ana), queued(store, bob)
    events = store.events_after(0)
    assert [event.seq for event in events] == sorted({event.seq for event in events})
    assert {event.workflow_id for event in store.events_after(0, ana)} == {of_ana}
    assert [e.data["state"] for e in store.events_after(0, bob, of_bob)] == ["uploading", "queued"]
    assert store.events_after(0, bob, of_ana) == []
    assert store.events_after(events[1].seq, limit=1) == [events[2]]
    assert store.last_seq() == events[-1].seq
    assert store.events_after(events[-1].seq) == []
    store.drop_events(older_than_s=3600.0)
    assert store.events_after(0) == events
    store.drop_events(older_than_s=-60.0)
    assert store.events_after(0) == []
    queued(store, ana)
    assert store.events_after(0)[0].seq > events[-1].seq
