"""Users, tokens, what is held and had, the audit log: the same on either database."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import inspect, select, update

from fitcast.errors import (
    AuthenticationError,
    InvalidInputError,
    UnknownUserError,
    UserExistsError,
)
from fitcast.scheduler.broker.quotas import Quota
from fitcast.scheduler.broker.resources import Resources
from fitcast.scheduler.broker.store import Holdings
from fitcast.scheduler.broker.store.tables import METADATA, TOKENS, USERS
from tests.scheduler.broker.submissions import progress, queued, submission

QUOTA = Quota(running_cpus=8.0, running_memory_bytes=2**35, queued_fits=100, stored_bytes=2**40)


def aged(store, user_id, by_s):
    """Let what a user had be older, as if time had gone by."""
    with store._database.engine.begin() as connection:
        connection.execute(
            update(USERS)
            .where(USERS.c.user_id == user_id)
            .values(usage_as_of_s=USERS.c.usage_as_of_s - by_s)
        )


def test_a_user_is_as_added(store):
    added = store.add_user("ana", group="risk", weight=2.0, is_admin=True, quota=QUOTA)
    assert store.user("ana") == added
    assert (added.group, added.weight, added.is_admin, added.quota) == ("risk", 2.0, True, QUOTA)
    assert added.disabled_at is None
    assert abs(added.created_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_users_are_listed_by_name(store):
    for name in ("zoe", "ana", "bob"):
        store.add_user(name)
    assert [user.name for user in store.users()] == ["ana", "bob", "zoe"]
    assert store.user("bob").quota == Quota()


def test_a_name_is_given_once(store):
    store.add_user("ana")
    with pytest.raises(UserExistsError, match="'ana'"):
        store.add_user("ana")
    store.disable_user("ana")
    with pytest.raises(UserExistsError):
        store.add_user("ana")


@pytest.mark.parametrize("name", ["", "a b", "-x", "../x", "a\0", "x" * 101, "é"])
def test_what_can_be_no_name_is_refused(store, name):
    with pytest.raises(InvalidInputError):
        store.add_user(name)
    assert store.users() == []


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_what_can_be_no_weight_is_refused(store, weight):
    with pytest.raises(InvalidInputError, match="weight"):
        store.add_user("ana", weight=weight)


def test_a_user_is_changed_in_what_is_given(store):
    before = store.add_user("ana", group="risk", quota=QUOTA)
    after = store.set_user("ana", weight=3.0)
    assert (after.weight, after.group, after.quota) == (3.0, "risk", QUOTA)
    assert store.set_user("ana") == after
    assert store.set_user("ana", quota=Quota(), group="").quota == Quota()
    assert after.user_id == before.user_id
    with pytest.raises(UnknownUserError, match="fitcast user list"):
        store.set_user("bob", weight=2.0)


def test_a_token_lets_its_user_in_and_the_database_has_its_hash_alone(store):
    user = store.add_user("ana")
    token, secret = store.create_token("ana", "laptop")
    assert secret.startswith("fct_")
    assert len(secret) == 47
    found, used = store.authenticate(secret)
    assert found == user
    assert (used.token_id, used.label) == (token.token_id, "laptop")
    assert used.scopes == {"submit", "read"}
    assert used.last_used_at is not None
    with store._database.engine.connect() as connection:
        row = connection.execute(select(TOKENS)).mappings().one()
        assert bytes(row["secret_sha256"]) == hashlib.sha256(secret.encode()).digest()
        told = " ".join(
            str(cell)
            for table in METADATA.sorted_tables
            for line in connection.execute(select(table))
            for cell in line
        )
    assert secret[4:] not in told


def test_that_a_token_is_used_is_not_written_down_each_time(store):
    store.add_user("ana")
    _, secret = store.create_token("ana")
    first = store.authenticate(secret)[1].last_used_at
    assert store.authenticate(secret)[1].last_used_at == first


@pytest.mark.parametrize(
    "forged",
    [
        lambda secret: "",
        lambda secret: secret[:-1],
        lambda secret: secret + "x",
        lambda secret: secret[:-1] + ("A" if secret[-1] != "A" else "B"),
        lambda secret: secret.removeprefix("fct_"),
        lambda secret: "fct_" + "A" * 43,
        lambda secret: "fct_" + "\0" * 43,
        lambda secret: secret + "\n",
    ],
)
def test_a_forged_token_lets_nobody_in(store, forged):
    store.add_user("ana")
    _, secret = store.create_token("ana")
    with pytest.raises(AuthenticationError, match="unknown"):
        store.authenticate(forged(secret))


def test_hashes_that_begin_alike_are_told_apart(store):
    store.add_user("ana")
    store.add_user("bob")
    _, of_ana = store.create_token("ana")
    _, of_bob = store.create_token("bob")
    with store._database.engine.begin() as connection:
        selector = hashlib.sha256(of_bob.encode()).digest()[:8].hex()
        connection.execute(update(TOKENS).values(selector=selector))
    assert store.authenticate(of_bob)[0].name == "bob"
    with pytest.raises(AuthenticationError):
        store.authenticate(of_ana)


def test_a_revoked_token_lets_nobody_in(store):
    store.add_user("ana")
    token, secret = store.create_token("ana")
    revoked = store.revoke_token(token.token_id)
    assert revoked.revoked_at is not None
    assert store.revoke_token(token.token_id, "ana") == revoked
    with pytest.raises(AuthenticationError, match="revoked"):
        store.authenticate(secret)


def test_nobody_revokes_anothers_token(store):
    store.add_user("ana")
    store.add_user("bob")
    token, secret = store.create_token("ana")
    with pytest.raises(InvalidInputError, match="no token"):
        store.revoke_token(token.token_id, "bob")
    assert store.authenticate(secret)


def test_an_expired_token_lets_nobody_in(store):
    store.add_user("ana")
    _, past = store.create_token("ana", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    _, later = store.create_token("ana", expires_at=datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(AuthenticationError, match="expired"):
        store.authenticate(past)
    assert store.authenticate(later)
    with pytest.raises(InvalidInputError, match="time zone"):
        store.create_token("ana", expires_at=datetime(2030, 1, 1))


def test_scopes_are_those_that_there_are_and_that_the_user_has(store):
    store.add_user("ana", is_admin=True)
    store.add_user("bob")
    with pytest.raises(InvalidInputError, match="scopes"):
        store.create_token("ana", scopes=["submit", "root"])
    with pytest.raises(InvalidInputError, match="scopes"):
        store.create_token("ana", scopes=[])
    with pytest.raises(InvalidInputError, match="no admin"):
        store.create_token("bob", scopes=["admin"])
    _, secret = store.create_token("ana", scopes=["admin", "read"])
    assert store.authenticate(secret)[1].scopes == {"admin", "read"}
    store.set_user("ana", is_admin=False)
    assert store.authenticate(secret)[1].scopes == {"read"}


def test_a_disabled_user_is_let_in_no_more(store):
    user = store.add_user("ana")
    _, secret = store.create_token("ana")
    workflow_id = queued(store, user.user_id)
    assert store.disable_user("ana").disabled_at is not None
    with pytest.raises(AuthenticationError):
        store.authenticate(secret)
    with pytest.raises(InvalidInputError, match="disabled"):
        store.create_token("ana")
    with pytest.raises(AuthenticationError, match="disabled"):
        store.add(user.user_id, submission())
    assert store.queue_heads() == []
    store.enable_user("ana")
    assert [one.workflow_id for one in store.queue_heads()] == [workflow_id]
    with pytest.raises(AuthenticationError, match="revoked"):  # for good
        store.authenticate(secret)


def test_usage_is_added_up_and_decays_by_half(store):
    ana = store.add_user("ana", group="risk", weight=2.0)
    bob = store.add_user("bob")
    store.charge(ana.user_id, Resources(100.0, 2.0**30, 4.0), half_life_s=3600.0)
    aged(store, ana.user_id, 3600.0)
    store.charge(ana.user_id, Resources(10.0, 0.0, 0.0), half_life_s=3600.0)
    of_ana, of_bob = store.accounts()
    assert (of_ana.user, of_ana.group, of_ana.weight) == ("ana", "risk", 2.0)
    assert of_ana.usage.cpus == pytest.approx(60.0, rel=1e-3)
    assert of_ana.usage.memory_bytes == pytest.approx(2.0**29, rel=1e-3)
    assert of_ana.usage.gpus == pytest.approx(2.0, rel=1e-3)
    assert (of_bob.user_id, of_bob.usage) == (bob.user_id, Resources())
    aged(store, ana.user_id, 7200.0)
    assert store.accounts(half_life_s=3600.0)[0].usage.cpus == pytest.approx(15.0, rel=1e-3)
    with pytest.raises(UnknownUserError):
        store.charge(999, Resources(), half_life_s=1.0)


def test_a_clock_that_was_set_back_lets_no_usage_grow(store):
    ana = store.add_user("ana")
    store.charge(ana.user_id, Resources(100.0), half_life_s=60.0)
    aged(store, ana.user_id, -3600.0)
    store.charge(ana.user_id, Resources(0.0), half_life_s=60.0)
    assert store.accounts(half_life_s=60.0)[0].usage.cpus == pytest.approx(100.0, rel=1e-6)


def test_what_a_user_holds_is_counted(store):
    ana, bob = store.add_user("ana"), store.add_user("bob")
    assert store.holdings(ana.user_id) == Holdings()
    queued(store, bob.user_id)
    store.add(ana.user_id, submission())
    queued(store, ana.user_id, fits_total=5)
    runs = queued(store, ana.user_id, fits_total=7)
    claimed = store.claim(runs, "r", 60.0)
    told = {runs: (claimed.fence, progress(3, stored_bytes=1000))}
    assert store.renew("r", 60.0, told) == {runs}
    held = store.holdings(ana.user_id)
    assert held.queued_fits == 10 + 5 + 4
    assert (held.running_cpus, held.running_memory_bytes) == (2.0, 2.0**30)
    assert held.stored_bytes == 110 + 110 + 1000


def test_who_did_what_is_written_down_newest_first(store):
    for number in range(3):
        store.note_audit("ana", "submit", f"w{number}", "ok", "\0 nul and \ud800")
    entries = store.audit_entries()
    assert [entry.target for entry in entries] == ["w2", "w1", "w0"]
    assert [e.target for e in store.audit_entries(1, after=entries[0].entry_id)] == ["w1"]
    assert (entries[0].actor, entries[0].action, entries[0].outcome) == ("ana", "submit", "ok")


def test_all_tables_are_there(store):
    there = set(inspect(store._database.engine).get_table_names())
    assert there == {*METADATA.tables, "alembic_version"}
