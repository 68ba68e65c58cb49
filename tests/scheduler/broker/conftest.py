"""Databases for the broker's tests: SQLite, and a PostgreSQL server of this test process."""

import pytest

from fitcast.scheduler.broker.store import BrokerStore
from tests.postgres_server import PostgresServer, why_not


@pytest.fixture(scope="session")
def postgres_server():
    reason = why_not()
    if reason:
        pytest.skip(reason)
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres_template(postgres_server):
    """A database with the schema in it, of which each test gets a copy."""
    name = postgres_server.new_database()
    BrokerStore(postgres_server.url(name)).open().close()
    return name


@pytest.fixture
def postgres_url(postgres_server, postgres_template):
    name = postgres_server.new_database(postgres_template)
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path}/broker.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request):
    """The address of an empty database, of either kind."""
    return request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")


@pytest.fixture
def store(database_url):
    with BrokerStore(database_url) as opened:
        yield opened
