"""Who runs what, for how long, and what becomes of it: the same on either database."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, insert, select, text, update

from fitcast.errors import LostLeaseError, UnknownWorkflowError, WorkflowStateError
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.resources import Demand, Resources
from fitcast.scheduler.broker.store import BrokerStore
from fitcast.scheduler.broker.store.tables import NOTES, WORKFLOWS
from tests.scheduler.broker.submissions import progress, queued, submission

LEASE_S = 60.0


@pytest.fixture
def ana(store):
    return store.add_user("ana").user_id


@pytest.fixture
def bob(store):
    return store.add_user("bob").user_id


def ids(workflows):
    return [workflow.workflow_id for workflow in workflows]


def test_the_heads_are_each_users_first(store, ana, bob):
    store.add_user("zoe")
    store.add(ana, submission("uploading"))
    for name in ("a1", "a2"):
        queued(store, ana, name)
    queued(store, bob, "b1")
    queued(store, bob, "b2", priority=5)
    queued(store, bob, "b3", priority=5)
    assert sorted(ids(store.queue_heads())) == ["a1", "b2"]
    assert ids(store.queued()) == ["a1", "a2", "b1", "b2", "b3"]
    assert ids(store.queued(2)) == ["a1", "a2"]
    store.claim("b2", "r", LEASE_S)
    assert sorted(ids(store.queue_heads())) == ["a1", "b3"]


def test_a_short_one_passes_an_own_long_one_but_not_for_ever(store, ana):
    long = Demand(cpu_s=3600.0, most=Resources(1.0))
    short = Demand(cpu_s=60.0, most=Resources(1.0))
    queued(store, ana, "long", demand=long)
    queued(store, ana, "short", demand=short)
    assert ids(store.queue_heads()) == ["short"]
    with store._database.engine.begin() as connection:  # as if it had come two hours ago
        of_long = WORKFLOWS.c.workflow_id == "long"
        connection.execute(
            update(WORKFLOWS).where(of_long).values(due_at_s=WORKFLOWS.c.due_at_s - 7200.0)
        )
    assert ids(store.queue_heads()) == ["long"]


def test_a_claim_takes_it_out_of_the_queue_for_one(store, ana):
    queued(store, ana, "w")
    claimed = store.claim("w", "r1", LEASE_S)
    assert (claimed.state, claimed.replica, claimed.fence) == (State.RUNNING, "r1", 1)
    until = claimed.lease_until - datetime.now(UTC)
    assert timedelta(seconds=0) < until < timedelta(seconds=LEASE_S + 1)
    assert claimed.started_at is not None
    assert store.claim("w", "r2", LEASE_S) is None
    assert store.claim("unknown", "r2", LEASE_S) is None
    assert store.queue_heads() == store.queued() == []
    assert ids(store.running()) == ids(store.running("r1")) == ["w"]
    assert store.running("r2") == []


def test_a_renewal_keeps_it_and_tells_how_far_it_is(store, ana):
    queued(store, ana, "w")
    fence = store.claim("w", "r", LEASE_S).fence
    left = Demand(cpu_s=5.0, most=Resources(1.0))
    told = progress(4, demand_left=left, stored_bytes=77)
    assert store.renew("r", LEASE_S, {"w": (fence, told)}) == {"w"}
    workflow = store.get("w")
    assert (workflow.fits_done, workflow.demand, workflow.stored_bytes) == (4, left, 77)
    assert (workflow.eta_s, workflow.used) == ((1.0, 2.0, 3.0), Resources(2.0, 2.0**30))
    assert workflow.eta_at is not None
    odd = progress(5, eta_s=(float("nan"),) * 3, used=Resources(float("nan")))
    assert store.renew("r", LEASE_S, {"w": (fence, odd)}) == {"w"}
    assert (store.get("w").eta_s, store.get("w").used.cpus) == (None, 0.0)
    assert store.get("w").stored_bytes == 77
    events = [e for e in store.events_after(0, workflow_id="w") if e.kind == "progress"]
    assert [e.data for e in events] == [{"fits_done": 5, "eta_s": None}]  # the last word alone
    assert store.renew("r", LEASE_S, {}) == set()


def test_who_comes_with_an_old_fence_has_lost_it(store, ana):
    queued(store, ana, "w")
    old = store.claim("w", "r1", -1.0).fence
    assert ids(store.take_lapsed()) == ["w"]
    new = store.claim("w", "r2", LEASE_S).fence
    assert new > old
    assert store.renew("r1", LEASE_S, {"w": (old, progress(9))}) == set()
    assert store.renew("r1", LEASE_S, {"w": (new, progress(9))}) == set()  # another's fence
    assert not store.give_back("w", old)
    with pytest.raises(LostLeaseError, match="running"):
        store.end("w", old, State.SUCCEEDED)
    workflow = store.get("w")
    assert (workflow.replica, workflow.fence, workflow.fits_done) == ("r2", new, 0)


def test_a_lapsed_lease_that_nobody_took_can_be_renewed(store, ana):
    queued(store, ana, "w")
    fence = store.claim("w", "r", -1.0).fence
    assert store.renew("r", LEASE_S, {"w": (fence, progress())}) == {"w"}
    assert store.take_lapsed() == []


def test_only_lapsed_leases_are_taken(store, ana):
    for name, lease_s in (("held", LEASE_S), ("lost", -1.0), ("asked", -1.0)):
        queued(store, ana, name)
        store.claim(name, "r", lease_s)
    store.ask_cancel("asked")
    taken = {workflow.workflow_id: workflow.state for workflow in store.take_lapsed()}
    assert taken == {"lost": State.QUEUED, "asked": State.CANCELLED}
    assert store.get("held").state is State.RUNNING
    assert store.get("asked").ended_at is not None
    assert store.take_lapsed() == []
    last = store.events_after(0, workflow_id="lost")[-1]
    assert last.data == {"state": "queued", "reason": "lost"}


def test_a_replica_that_begins_anew_takes_what_it_had(store, ana):
    for name, replica in (("mine", "r1"), ("other", "r2")):
        queued(store, ana, name)
        store.claim(name, replica, LEASE_S)
    assert ids(store.take_lapsed("r1")) == ["mine"]
    assert ids(store.running()) == ["other"]


def test_what_is_given_back_has_its_place_or_waits_anew(store, ana):
    for name in ("w1", "w2"):
        queued(store, ana, name)
    fence = store.claim("w1", "r", LEASE_S).fence
    store.renew("r", LEASE_S, {"w1": (fence, progress(3))})
    before = store.get("w1")
    assert store.give_back("w1", fence, "shutting down")
    after = store.get("w1")
    assert after.state is State.QUEUED
    assert (after.replica, after.lease_until, after.used) == (None, None, Resources())
    assert (after.queued_at, after.started_at) == (before.queued_at, before.started_at)
    assert after.fits_done == 3
    assert ids(store.queue_heads()) == ["w1"]
    assert not store.give_back("w1", fence)
    fence = store.claim("w1", "r", LEASE_S).fence
    assert store.give_back("w1", fence, "gave way", waits_anew=True)
    assert ids(store.queue_heads()) == ["w2"]
    assert store.get("w1").started_at == before.started_at


def test_what_is_given_back_after_a_cancel_is_cancelled(store, ana):
    queued(store, ana, "w")
    fence = store.claim("w", "r", LEASE_S).fence
    asked = store.ask_cancel("w")
    assert (asked.state, asked.cancel_asked) == (State.RUNNING, True)
    assert store.running("r")[0].cancel_asked
    assert store.ask_cancel("w").state is State.RUNNING
    assert store.give_back("w", fence)
    assert store.get("w").state is State.CANCELLED
    kinds = [e.data.get("state", e.kind) for e in store.events_after(0, workflow_id="w")]
    assert kinds == ["uploading", "queued", "running", "cancel_asked", "cancelled"]


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.CANCELLED])
def test_an_end_is_said_once(store, ana, state):
    queued(store, ana, "w")
    fence = store.claim("w", "r", LEASE_S).fence
    ended = store.end("w", fence, state, "ValueError", "it \0 broke \ud800")
    assert (ended.state, ended.error_type) == (state, "ValueError")
    assert ended.error == "it \N{REPLACEMENT CHARACTER} broke ?"
    assert ended.ended_at is not None
    assert store.end("w", fence, state, "again", "") == ended
    other = State.FAILED if state is not State.FAILED else State.SUCCEEDED
    with pytest.raises(LostLeaseError):
        store.end("w", fence, other)
    assert store.claim("w", "r", LEASE_S) is None
    assert store.ask_cancel("w") == ended


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, State.UPLOADING, State.EXPIRED])
def test_what_is_no_end_is_refused(store, ana, state):
    queued(store, ana, "w")
    fence = store.claim("w", "r", LEASE_S).fence
    with pytest.raises(WorkflowStateError):
        store.end("w", fence, state)
    with pytest.raises(UnknownWorkflowError):
        store.end("v", 1, State.FAILED)


def test_a_cancel_of_what_waits_is_done_at_once(store, ana):
    queued(store, ana, "w")
    assert store.ask_cancel("w", ana).state is State.CANCELLED
    assert store.claim("w", "r", LEASE_S) is None
    with pytest.raises(UnknownWorkflowError):
        store.ask_cancel("v")


def test_a_clock_of_this_process_that_jumps_lapses_nothing(store, ana, monkeypatch):
    queued(store, ana, "w")
    fence = store.claim("w", "r", LEASE_S).fence
    before = store.get("w")
    real = time.time
    for jump_s in (3600.0, -3600.0):
        monkeypatch.setattr(time, "time", lambda jump_s=jump_s: real() + jump_s)
        assert store.take_lapsed() == []
        assert store.renew("r", LEASE_S, {"w": (fence, progress())}) == {"w"}
        after = store.get("w")
        assert abs(after.lease_until - before.lease_until) < timedelta(seconds=LEASE_S)
        queued(store, ana, f"w{jump_s:.0f}")
    assert abs(store.get("w3600").queued_at - before.queued_at) < timedelta(seconds=LEASE_S)


def test_leases_of_before_the_machines_start_have_lapsed(sqlite_url):
    # its steady clock begins anew then
    with BrokerStore(sqlite_url) as store:
        user_id = store.add_user("ana").user_id
        queued(store, user_id, "w")
        store.claim("w", "r", LEASE_S)
    with BrokerStore(sqlite_url) as store:  # the broker alone began anew
        assert store.take_lapsed() == []
        with store._database.engine.begin() as connection:
            connection.execute(update(NOTES).values(value="another start"))
    with BrokerStore(sqlite_url) as store:
        assert ids(store.take_lapsed()) == ["w"]


def test_the_heads_of_long_queues_are_found_by_their_index(store, ana, bob):
    for user_id in (ana, bob):
        queued(store, user_id)
    with store._database.engine.begin() as connection:
        for row in connection.execute(select(WORKFLOWS)).mappings().all():
            copies = [
                {k: v for k, v in row.items() if k != "row_id"}
                | {"workflow_id": f"{row['workflow_id']}-{n}", "priority": n % 7}
                for n in range(5000)
            ]
            connection.execute(insert(WORKFLOWS), copies)
        connection.execute(text("ANALYZE"))
    asked = []
    listen = lambda _c, _k, statement, parameters, *_: asked.append((statement, parameters))  # noqa: E731
    event.listen(store._database.engine, "before_cursor_execute", listen)
    heads = store.queue_heads()
    event.remove(store._database.engine, "before_cursor_execute", listen)
    assert [head.priority for head in heads] == [6, 6]
    ((statement, parameters),) = [one for one in asked if one[0].startswith("SELECT")]
    how = "EXPLAIN" if store._database.engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    with store._database.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"{how} {statement}", parameters).all()
    told = "\n".join(" ".join(map(str, row)) for row in plan)
    assert "ix_workflows_user_queue" in told, told
    assert "Seq Scan on workflows" not in told
    assert "SCAN workflows" not in told


def test_what_is_left_alone_holds_up_no_other_of_its_user(store, ana):
    for name in ("w1", "w2"):
        queued(store, ana, name)
    assert ids(store.queue_heads()) == ids(store.queue_heads({"w2"})) == ["w1"]
    assert ids(store.queue_heads({"w1"})) == ["w2"]
    assert ids(store.queue_heads({"w1", "w2"})) == []


def test_what_holds_a_workflow_up_is_noted_until_it_is_claimed(store, ana):
    queued(store, ana, "w")
    fence = store.claim("w", "r", LEASE_S).fence
    store.give_back("w", fence, note="held")
    assert (store.get("w").error_type, store.get("w").error) == ("", "held")
    claimed = store.claim("w", "r", LEASE_S)
    assert claimed.error == ""
    ended = store.end("w", claimed.fence, State.SUCCEEDED, fits_done=7)
    assert ended.fits_done == 7
