"""Brokers: in this process, with a history in memory; and as a process of its own."""

import os
import signal
import subprocess
import sys
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
from tests.background import below, lives
from tests.polling import LONGEST_S, wait_for

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
def broker(
    home: Path, pools=None, is_ending=lambda: False, backend=None, **chosen
) -> Iterator[Broker]:
    """Run a broker on a home, in a context."""
    settings = Settings(home=home)
    settings.ensure_home()
    chosen = BrokerSettings(**{"port": 0, **chosen})
    backend = backend or LocalBackend(
        pools or [Pool("two", cpus=1, memory_bytes=500 * MIB, workers=2)]
    )
    with listening_at(chosen) as listening, opened_store(settings, chosen) as store:
        keys = opened_keys(settings, chosen)
        engine = engine_of(settings, backend, history=MemoryHistory())
        try:
            with running(listening, store, keys, engine, settings, chosen, is_ending) as url:
                yield Broker(url, store, engine, home)
        finally:
            engine.close()


def no_broker_variables(monkeypatch):
    """Let no platform of the environment be meant."""
    for name in list(os.environ):
        if name.startswith("FITCAST_BROKER") or name == "FITCAST_TOKEN":
            monkeypatch.delenv(name)


class Served:
    """A broker as it is run: `fitcast serve`, a process that can be killed and started again.

    Parameters
    ----------
    home
        Its home.
    port
        Where it listens, each time.
    variables
        Of its environment, without ``FITCAST_``.
    """

    def __init__(self, home: Path, port: int, **variables: object) -> None:
        self.home = home
        self.url = f"http://127.0.0.1:{port}"
        self._variables = {"BROKER_PORT": port, "BROKER_LEASE_S": 2, "CPUS": 2} | variables
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> "Served":
        told = {f"FITCAST_{name}": str(value) for name, value in self._variables.items()}
        home = {"FITCAST_HOME": str(self.home), "PYTHONPATH": str(Path(__file__).parents[1])}
        self.home.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from fitcast.cli import main; main()", "serve"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | told | home,
            )
        assert self._process.stdout is not None
        assert self.url in self._process.stdout.readline(), self.log.read_text()
        return self

    @property
    def log(self) -> Path:
        return self.home.with_name(f"{self.home.name}-{self.url.rpartition(':')[2]}.log")

    def kill(self) -> None:
        """Kill it as a power cut would; what it began ends by itself."""
        self._ended(signal.SIGKILL)

    def end(self) -> None:
        """End it in order."""
        self._ended(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def _ended(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        family = below(self.pid)
        self.send(how)
        self._process.wait(LONGEST_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None
        assert wait_for(lambda: not any(map(lives, family)))

    def __enter__(self) -> "Served":
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.send(signal.SIGCONT)
        self.end()
