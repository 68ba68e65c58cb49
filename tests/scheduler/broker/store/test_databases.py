"""Databases: schemas and migrations, files and addresses, errors of ours."""

import os
import re
import stat

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from fitcast.errors import BrokerStoreError
from fitcast.scheduler.broker.store import BrokerStore
from fitcast.scheduler.broker.store.tables import METADATA
from tests.scheduler.broker.store.test_replicas import in_processes


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/empty.db"
        return
    server = request.getfixturevalue("postgres_server")
    name = server.new_database()
    yield server.url(name)
    server.drop(name)


def test_migrations_make_what_the_tables_are(empty_url):
    with BrokerStore(empty_url) as store, store._database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, METADATA) == []


def test_the_checks_of_states_are_those_that_there_are(empty_url):
    # Alembic doesn't compare these
    checks = [one for one in METADATA.tables["workflows"].constraints if hasattr(one, "sqltext")]
    told = {one.name: set(re.findall(r"'(\w+)'", str(one.sqltext))) for one in checks}
    with BrokerStore(empty_url) as store:
        found = inspect(store._database.engine).get_check_constraints("workflows")
    assert {one["name"]: set(re.findall(r"'(\w+)'", one["sqltext"])) for one in found} == told


def test_opening_again_changes_nothing(empty_url):
    with BrokerStore(empty_url) as store:
        store.add_user("ana")
    with BrokerStore(empty_url) as store:
        assert store.user("ana")
        store.check()


def test_several_may_open_a_new_one_at_once(empty_url):
    def opened():
        with BrokerStore(empty_url) as store:
            return len(store.users())

    assert in_processes(*[opened] * 4) == [0] * 4


def test_one_of_a_newer_fitcast_is_refused(empty_url):
    with BrokerStore(empty_url) as store, store._database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(BrokerStoreError, match=r"newer fitcast \(schema 9999\)"):
        BrokerStore(empty_url).open()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "broker.db",
        "mysql://root:canary@host/db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory",
    ],
)
def test_what_is_no_address_is_refused_and_not_repeated(url):
    with pytest.raises(BrokerStoreError, match="sqlite:///") as caught:
        BrokerStore(url)
    assert "canary" not in str(caught.value)


def test_a_server_that_isnt_there_is_told_without_the_password(tmp_path):
    pytest.importorskip("psycopg")
    url = f"postgresql+psycopg://ana:canary@/db?host={tmp_path}"
    with pytest.raises(BrokerStoreError, match="check that it runs") as caught:
        BrokerStore(url).open()
    assert "canary" not in str(caught.value)


def test_a_sqlite_database_is_for_its_owner_alone(tmp_path):
    path = tmp_path / "home" / "broker.db"
    before = os.umask(0)
    try:
        with BrokerStore(f"sqlite:///{path}") as store:
            store.add_user("ana")
            files = sorted(path.parent.iterdir())
            assert [file.name for file in files] == ["broker.db", "broker.db-shm", "broker.db-wal"]
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_one_that_was_open_to_others_is_closed(tmp_path):
    path = tmp_path / "broker.db"
    path.touch()
    path.chmod(0o666)
    with BrokerStore(f"sqlite:///{path}"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_to_one_or_what_is_no_database_is_refused(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("no database, but long enough for a header of one " * 10)
    for name in ("link", "folder", "text", "text/below"):
        with pytest.raises(BrokerStoreError):
            BrokerStore(f"sqlite:///{tmp_path}/{name}").open()
    assert not (tmp_path / "elsewhere").exists()


def test_sqlite_writes_what_a_power_cut_leaves(sqlite_url):
    with BrokerStore(sqlite_url) as store, store._database.engine.connect() as connection:
        told = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        }
    assert told == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}


def test_postgresql_keeps_what_it_said_is_kept(postgres_url):
    with BrokerStore(postgres_url) as store, store._database.engine.connect() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"
        assert connection.execute(text("SHOW transaction_isolation")).scalar() == "read committed"
