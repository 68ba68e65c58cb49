"""Tests with other libraries' estimators and containers (``make test-interop``)."""

from importlib.util import find_spec

import pytest

from fitcast import Client, LocalBackend, MemoryHistory, Pool

LIBRARIES = ("catboost", "imblearn", "polars", "sksurv", "skorch", "torch")
# Where they aren't installed, nothing here is collected, as nothing here could be imported.
collect_ignore_glob = [] if all(map(find_spec, LIBRARIES)) else ["test_*.py"]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    backend = LocalBackend([Pool("two", cpus=2, memory_bytes=6 * 2**30)])
    with Client(backend, home=home, history=MemoryHistory()) as made:
        yield made
