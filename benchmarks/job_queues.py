"""Durable queues side by side: fitcast's broker, procrastinate, DBOS; each told of jobs by many.

In: one class per queue, which takes a job in and answers once it would survive a kill. Not in: who
asks how often, what comes of it (:mod:`benchmarks.workloads.submissions`).
"""

import importlib
import os
from typing import Final, Protocol
from uuid import uuid4

from fitcast.scheduler.broker.resources import Demand, Resources
from fitcast.scheduler.broker.store import BrokerStore, NewWorkflow

PAYLOAD: Final = "x" * 500
"""What a job is told, beside its name: about as much as an announced workflow has in its row."""

_DIGEST: Final = 64 * "0"
_DEMAND: Final = Demand(
    cpu_s=600.0, memory_byte_s=600.0 * 2**30, gpu_s=0.0, most=Resources(4.0, 4.0 * 2**30)
)


class Queue(Protocol):
    """One that takes jobs in."""

    name: str

    def submit(self, user: int) -> None:
        """Take a job of a user in; it is durable from then on."""

    def count(self) -> int:
        """Return how many jobs wait."""

    def close(self) -> None:
        """End all connections."""


class OurQueue:
    """The broker's store, told of a small workflow: its files are there, it is queued at once."""

    name = "fitcast"

    def __init__(self, url: str, users: int) -> None:
        self._store = BrokerStore(url).open()
        self.user_ids = [self._store.add_user(f"user-{n}").user_id for n in range(users)]
        self.store = self._store

    def submit(self, user: int) -> None:
        """Take a workflow in."""
        workflow_id = uuid4().hex
        self._store.add(
            self.user_ids[user],
            NewWorkflow(
                workflow_id=workflow_id,
                name=PAYLOAD[:100],
                fits_total=100,
                demand=_DEMAND,
                forecast_s=(100.0, 200.0, 400.0),
                dataset_bytes=1000,
                dataset_sha256=_DIGEST,
                sweep_bytes=100,
                sweep_sha256=_DIGEST,
                wrapped_key=PAYLOAD[:200].encode(),
                key_version="1",
                idempotency_key=workflow_id,
                request_sha256=_DIGEST,
            ),
            lambda user, held: None,
            is_whole=True,
        )

    def count(self) -> int:
        """Return how many wait."""
        return self._store.load().queued

    def close(self) -> None:
        """Close the database."""
        self._store.close()


class Procrastinate:
    """A job deferred to PostgreSQL, by as many threads as users."""

    name = "procrastinate"

    def __init__(self, url: str, users: int) -> None:
        self._procrastinate = importlib.import_module("procrastinate")
        conninfo = libpq(url)
        connector = self._procrastinate.SyncPsycopgConnector(
            conninfo=conninfo, min_size=1, max_size=min(users, 20)
        )
        self._app = self._procrastinate.App(connector=connector)
        self._app.open()
        self._app.schema_manager.apply_schema()
        self._deferrer = self._app.configure_task("benchmark", allow_unknown=True, queue="fits")

    def submit(self, user: int) -> None:
        """Take a job in."""
        self._deferrer.defer(user=user, told=PAYLOAD)

    def count(self) -> int:
        """Return how many wait."""
        query = "SELECT count(*) AS n FROM procrastinate_jobs WHERE status = 'todo'"
        return int(self._app.connector.execute_query_one(query)["n"])

    def close(self) -> None:
        """Close the connections."""
        self._app.close()


class Dbos:
    """A workflow enqueued by DBOS's client, which writes to SQLite or PostgreSQL."""

    name = "DBOS"

    def __init__(self, url: str, users: int) -> None:
        os.environ.setdefault("DBOS_DISABLE_VERSION_CHECK", "1")
        dbos = importlib.import_module("dbos")
        dbos.DBOS(config={"name": "benchmark", "system_database_url": url, "log_level": "ERROR"})
        dbos.DBOS.launch()  # makes the tables
        dbos.DBOS.destroy()
        self._client = dbos.DBOSClient(system_database_url=url)

    def submit(self, user: int) -> None:
        """Take a job in."""
        self._client.enqueue({"workflow_name": "fit", "queue_name": "fits"}, user, PAYLOAD)

    def count(self) -> int:
        """Return how many wait."""
        return len(self._client.list_workflows(status="ENQUEUED"))

    def close(self) -> None:
        """Close the connections."""
        self._client.destroy()


def libpq(url: str) -> str:
    """Return an address as psycopg itself takes it."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)
