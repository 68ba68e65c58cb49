"""Workers that are harmed by one test after the other: each must find them well again."""

import pytest

from fitcast import Client, LocalBackend, Pool
from fitcast.history.locked_folders import memory_root
from fitcast.history.store import MemoryHistory
from tests.fault import harm, holding

MIB = 2**20


@pytest.fixture(scope="module")
def common_client(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    backend = LocalBackend(
        [
            Pool("first", cpus=1, memory_bytes=450 * MIB),
            Pool("second", cpus=1, memory_bytes=450 * MIB),
        ],
        silent_after_s=3.0,
    )
    with Client(backend, home=home, history=MemoryHistory()) as opened:
        yield opened


@pytest.fixture
def client(common_client):
    """The common client, once all that an earlier test did to its workers has been made good."""

    def is_whole():
        there = harm.victims(common_client)
        known = common_client._platform.engine._shared.decisions.workers
        return len(known) == len(there["worker"]) == len(there["fork server"]) == 2

    assert harm.until(is_whole)
    return common_client


@pytest.fixture(autouse=True)
def nothing_readable(tmp_path_factory):
    """Fail a test after which the data can be read in a file."""
    yield
    places = (memory_root(), tmp_path_factory.getbasetemp())
    assert holding.holding_mark(*places) == []
