"""A broker in this process, with workers of its own and a history in memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fitcast import LocalBackend, Pool
from fitcast.history.store import MemoryHistory
from fitcast.scheduler.broker.serving.process import (
    listening_at,
    opened_keys,
    opened_store,
    running,
)
from fitcast.scheduler.broker.settings import BrokerSettings
from fitcast.scheduler.broker.store import BrokerStore
from fitcast.scheduler.session.engine import Engine
from fitcast.scheduler.session.opening import engine_of
from fitcast.settings import Settings

MIB = 2**20


@dataclass(frozen=True)
class Broker:
    """One that runs."""

    url: str
    store: BrokerStore
    engine: Engine
    home: Path

    def token(self, user, *scopes, is_admin=False):
        """Return a token of a user, who is added if need be."""
        if user not in {known.name for known in self.store.users()}:
            self.store.add_user(user, is_admin=is_admin)
        return self.store.create_token(user, "test", frozenset(scopes or ("read", "submit")))[1]


@contextmanager
def broker(home: Path, pools=None, **chosen) -> Iterator[Broker]:
    """Run a broker on a home, in a context."""
    settings = Settings(home=home)
    settings.ensure_home()
    chosen = BrokerSettings(**{"port": 0, **chosen})
    backend = LocalBackend(pools or [Pool("two", cpus=1, memory_bytes=500 * MIB, workers=2)])
    with listening_at(chosen) as listening, opened_store(settings, chosen) as store:
        keys = opened_keys(settings, chosen)
        engine = engine_of(settings, backend, history=MemoryHistory())
        try:
            with running(listening, store, keys, engine, settings, chosen) as url:
                yield Broker(url, store, engine, home)
        finally:
            engine.close()


def no_broker_variables(monkeypatch):
    """Let no platform of the environment be meant."""
    for name in list(os.environ):
        if name.startswith("FITCAST_BROKER") or name == "FITCAST_TOKEN":
            monkeypatch.delenv(name)
