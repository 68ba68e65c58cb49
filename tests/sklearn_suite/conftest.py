import pytest

from fitcast import Client, MemoryHistory
from fitcast.scheduler.session import searching


@pytest.fixture(scope="module")
def one_client(tmp_path_factory):
    with Client(home=tmp_path_factory.mktemp("home"), history=MemoryHistory()) as client:
        yield client


@pytest.fixture(autouse=True)
def shared(one_client, monkeypatch):
    monkeypatch.setattr(searching, "shared_client", lambda: one_client)
