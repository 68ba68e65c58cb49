"""A replica that is killed at any commit leaves a legal state, and loses nothing it accepted."""

from itertools import pairwise

import pytest
from sqlalchemy import delete, text

from fitcast.errors import UnknownWorkflowError
from fitcast.scheduler.broker.lifecycle import State, check_transition
from fitcast.scheduler.broker.store import BrokerStore
from fitcast.scheduler.broker.store.tables import METADATA, NOTES
from tests.scheduler.broker.store.killed import dies_at


def checked(store, told):
    """Check that all that was told is there, and that what is there is legal."""
    facts = {}
    for kind, what in told:
        facts.setdefault(kind, []).append(what)
    for name in facts.get("user", []):
        assert store.user(name)
    for secret in facts.get("token", []):
        assert store.authenticate(secret)
    # "cancelled" is removed in the end, told or not
    for name in facts.get("removed", []):
        with pytest.raises(UnknownWorkflowError):
            store.get(name)
    for name in set(facts.get("added", [])) - {"cancelled"}:
        assert store.get(name).idempotency_key == name
    for name in set(facts.get("received", [])) - {"cancelled"}:
        assert store.get(name).received["dataset"] >= 60
    for name in set(facts.get("accepted", [])) - {"cancelled"}:
        assert store.get(name).queued_at is not None
    for name in set(facts.get("claimed", [])) - {"cancelled"}:
        assert store.get(name).fence == 1
    for name in facts.get("ended", []):
        assert store.get(name).state is State.SUCCEEDED
    if "charged" in facts:
        assert store.accounts()[0].usage.cpus == 10.0
    # events and rows tell the same
    for workflow in store.workflows():
        states = [
            State(event.data["state"])
            for event in store.events_after(0, workflow_id=workflow.workflow_id)
            if event.kind == "state"
        ]
        assert states[0] is State.UPLOADING
        for now, then in pairwise(states):
            check_transition(workflow.workflow_id, now, then)
        assert states[-1] is workflow.state


def gone_on_with(store):
    """Let another replica do the rest."""
    store.take_lapsed()
    assert store.running() == []
    for workflow in store.queued():
        claimed = store.claim(workflow.workflow_id, "next", 60.0)
        store.end(workflow.workflow_id, claimed.fence, State.SUCCEEDED)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_any_commit_loses_nothing_that_was_told(database_url, after):
    BrokerStore(database_url).open().close()
    commit, died = 0, True
    while died:
        commit += 1
        told, died = dies_at(database_url, commit, after)
        with BrokerStore(database_url) as store:
            checked(store, told)
            accepted = {what for kind, what in told if kind == "accepted"}
            gone_on_with(store)
            states = {workflow.workflow_id: workflow.state for workflow in store.workflows()}
            for name in accepted - {"cancelled"}:
                assert states[name] is State.SUCCEEDED
            engine = store._database.engine
            if engine.dialect.name == "sqlite":
                with engine.connect() as connection:
                    assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"
            with engine.begin() as connection:
                for table in reversed(METADATA.sorted_tables):
                    if table is not NOTES:
                        connection.execute(delete(table))
    assert commit > 35  # as many as there are commits in that life
