"""Ways to a handle on a workflow: of the client that runs it, and of one that only follows it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from fitcast import Client, LocalBackend, Pool, Sweep, Workflow
from fitcast.history.store import MemoryHistory
from fitcast.scheduler.session.following import Following
from tests.background import ended_after
from tests.brokers import broker

MIB = 2**20


class Submits(Protocol):
    """Submits a sweep and returns a handle."""

    def __call__(self, sweep: Sweep) -> Workflow:
        """Do so."""


@contextmanager
def local(home: Path) -> Iterator[Submits]:
    """Handles of the client that runs the workflow."""
    backend = LocalBackend([Pool("two", cpus=1, memory_bytes=500 * MIB, workers=2)])
    with Client(backend, home=home, history=MemoryHistory()) as client:
        yield client.submit


@contextmanager
def background(home: Path) -> Iterator[Submits]:
    """Handles of a client that let the background process run it."""
    with ended_after(home), Client(home=home, start_workers=False) as client:
        yield lambda sweep: client.submit(sweep, detach=True)


@contextmanager
def attached(home: Path) -> Iterator[Submits]:
    """Handles of a process that only knows the id of what the background process runs."""
    with background(home) as submit:
        yield lambda sweep: Following(home).workflow(submit(sweep).id)


@contextmanager
def beside(home: Path) -> Iterator[Submits]:
    """Handles of a process that knows the id of what another client runs."""
    with local(home) as submit:
        yield lambda sweep: Following(home).workflow(submit(sweep).id)


@contextmanager
def remote(home: Path) -> Iterator[Submits]:
    """Handles of a client of a shared platform."""
    with broker(home) as there, Client(there.url, token=there.token("ann"), home=home) as client:
        yield client.submit


@contextmanager
def remote_later(home: Path) -> Iterator[Submits]:
    """Handles of another client of the same user, which only knows the id."""
    with broker(home) as there:
        token = there.token("ann")
        with (
            Client(there.url, token=token, home=home) as client,
            Client(there.url, token=token, home=home) as other,
        ):
            yield lambda sweep: other.workflow(client.submit(sweep).id)


DRIVERS = {
    "local": local,
    "background": background,
    "attached": attached,
    "beside": beside,
    "remote": remote,
    "remote_later": remote_later,
}
