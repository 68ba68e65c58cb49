"""What was described and what prepares it: two rows that belong together, on either database."""

import pytest

from fitcast.errors import (
    AuthenticationError,
    LimitError,
    UnknownWorkflowError,
    UploadError,
    WorkflowStateError,
)
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.store import PREPARE
from tests.scheduler.broker.submissions import queued, submission, uploaded

NOTHING = {
    "fits_total": 0,
    "dataset_bytes": 0,
    "dataset_sha256": "",
    "sweep_bytes": 0,
    "sweep_sha256": "",
}


@pytest.fixture
def ana(store):
    return store.add_user("ana").user_id


def described(store, user_id, workflow_id="w"):
    store.add(user_id, submission(workflow_id, idempotency_key=workflow_id, **NOTHING))
    queued(store, user_id, f"{workflow_id}-p", prepares=workflow_id)
    secret = store.create_token("ana", workflow_id, {PREPARE})[1]
    return workflow_id, f"{workflow_id}-p", secret


def announced(store, user_id, workflow_id, **changes):
    return store.announce(user_id, submission(workflow_id, **changes), lambda *_: None)


def test_one_sees_what_was_described_alone(store, ana):
    workflow_id, preparing, _ = described(store, ana)
    assert [one.workflow_id for one in store.workflows(ana)] == [workflow_id]
    assert store.preparation_of(workflow_id).workflow_id == preparing
    assert [one.workflow_id for one in store.queued()] == [preparing]
    assert not store.get(workflow_id).is_announced


def test_it_is_queued_only_once_it_is_there(store, ana):
    workflow_id, _, _ = described(store, ana)
    with pytest.raises(UploadError, match="prepared from its description"):
        store.accept(workflow_id)
    row = announced(store, ana, workflow_id)
    assert (row.is_announced, row.fits_total, row.idempotency_key) == (True, 10, workflow_id)
    store.note_received(workflow_id, "sweep", 0, 4)
    again = announced(store, ana, workflow_id, sweep_sha256="b" * 64)  # a worker began anew
    assert again.received == {"dataset": 0, "sweep": 0}
    assert again.sweep_sha256 == "b" * 64
    uploaded(store, workflow_id)
    assert store.accept(workflow_id).state is State.QUEUED
    after = announced(store, ana, workflow_id, sweep_sha256="c" * 64)
    assert (after.state, after.sweep_sha256) == (State.QUEUED, "b" * 64)


def test_what_it_is_now_must_be_admitted(store, ana):
    workflow_id, _, _ = described(store, ana)

    def refused(user, held):
        raise LimitError(f"{user.name} has {held.queued_fits}")

    with pytest.raises(LimitError, match="ana has 10"):
        store.announce(ana, submission(workflow_id), refused)
    assert not store.get(workflow_id).is_announced


def test_nothing_is_announced_for_another(store, ana):
    bob = store.add_user("bob").user_id
    workflow_id, _, _ = described(store, ana)
    with pytest.raises(UnknownWorkflowError):
        announced(store, bob, workflow_id)
    with pytest.raises(UnknownWorkflowError):
        announced(store, ana, "nobody-described-it")


@pytest.mark.parametrize(
    ("end", "then", "error"),
    [
        (State.FAILED, State.FAILED, ("InvalidDataError", "no column")),
        (State.SUCCEEDED, State.FAILED, ("WorkflowFailedError", "it was prepared, and")),
        (State.CANCELLED, State.CANCELLED, ("", "")),
    ],
)
def test_it_ends_with_what_prepares_it(store, ana, end, then, error):
    workflow_id, preparing, secret = described(store, ana)
    fence = store.claim(preparing, "r", 60.0).fence
    said = ("InvalidDataError", "no column") if end is State.FAILED else ("", "")
    store.end(preparing, fence, end, *said)
    row = store.get(workflow_id)
    assert row.state is then
    assert row.error_type == error[0]
    assert row.error.startswith(error[1])
    assert row.ended_at is not None
    told = [event.data.get("state") for event in store.events_after(0, workflow_id=workflow_id)]
    assert told == [State.UPLOADING, then]
    with pytest.raises(AuthenticationError, match="revoked"):
        store.authenticate(secret)
    with pytest.raises(WorkflowStateError):
        announced(store, ana, workflow_id)


def test_what_is_queued_stays_when_that_ends(store, ana):
    workflow_id, preparing, secret = described(store, ana)
    fence = store.claim(preparing, "r", 60.0).fence
    assert store.authenticate(secret)[1].scopes == {PREPARE}
    announced(store, ana, workflow_id)
    uploaded(store, workflow_id)
    store.accept(workflow_id)
    store.end(preparing, fence, State.FAILED, "X", "its worker was lost at the very end")
    assert store.get(workflow_id).state is State.QUEUED
    with pytest.raises(AuthenticationError):
        store.authenticate(secret)


def test_a_cancel_reaches_both(store, ana):
    workflow_id, preparing, _ = described(store, ana)
    assert store.ask_cancel(workflow_id, ana).state is State.CANCELLED
    assert store.get(preparing).state is State.CANCELLED
    workflow_id, preparing, _ = described(store, ana, "x")
    fence = store.claim(preparing, "r", 60.0).fence
    assert store.ask_cancel(workflow_id, ana).state is State.CANCELLED
    assert store.get(preparing).cancel_asked
    assert store.give_back(preparing, fence)
    assert store.get(preparing).state is State.CANCELLED


def test_an_older_preparation_ends_nothing(store, ana):
    workflow_id, first, _ = described(store, ana)
    queued(store, ana, "second", prepares=workflow_id)
    fence = store.claim(first, "r", 60.0).fence
    store.end(first, fence, State.FAILED, "X", "x")
    assert store.get(workflow_id).state is State.UPLOADING
    assert store.preparation_of(workflow_id).workflow_id == "second"


def test_it_does_not_expire_while_it_waits_to_be_prepared(store, ana):
    workflow_id, preparing, _ = described(store, ana)
    assert store.expire_uploads(-1.0) == []
    store.ask_cancel(preparing)
    assert store.get(workflow_id).state is State.CANCELLED
    store.add(ana, submission("alone", **NOTHING))
    assert [one.workflow_id for one in store.expire_uploads(-1.0)] == ["alone"]
