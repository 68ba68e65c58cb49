"""Attempts on a real Dask worker: cancelled before they come, and while their dataset opens."""

import asyncio
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from distributed import Client, Scheduler, Worker
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from fitcast.errors import BackendError
from fitcast.history.records import Outcome
from fitcast.scheduler.worker.plugin import (
    PLUGIN_NAME,
    FitWorker,
    cancel_attempt,
    close_dataset,
    run_attempts,
)
from fitcast.trainer.attempt.spec import AttemptSpec
from fitcast.trainer.sealing import new_key, seal
from fitcast.trainer.sweep.prepared import Sweep

sys.path.insert(0, str(Path(__file__).parents[2] / "trainer"))

from running import HeldKey, held_blocks, wait_for

X, Y = make_classification(200, 5, random_state=0)


@pytest.fixture(scope="module")
def prepared():
    return Sweep(LogisticRegression(), X, Y, cv=2).prepare()


@pytest.fixture(autouse=True)
def interrupts():
    before = signal.getsignal(signal.SIGINT)  # the worker is in this process, and ignores it
    yield
    signal.signal(signal.SIGINT, before)


class Cluster:
    """A worker with its scheduler and client, and a sealed dataset whose key is held back."""

    def __init__(self, client, worker, prepared, folder):
        self.client, self.worker, self.prepared = client, worker, prepared
        key = new_key()
        sealed = seal(
            prepared.content,
            str(folder / "data.sealed"),
            key,
            workflow_id="w",
            attachments=prepared.attachments,
        )
        self.dataset_id = sealed.dataset_id
        self.uri_file = folder / f"{sealed.dataset_id}.uri"
        self.uri_file.write_text(sealed.uri, encoding="utf-8")
        self.held = HeldKey(folder / f"{sealed.dataset_id}.key", key)
        self.runner = worker.plugins[PLUGIN_NAME].runner

    def spec(self, number):
        return AttemptSpec(
            workflow_id="w",
            fit_id=f"c{number}-f0",
            attempt=1,
            dataset_id=self.dataset_id,
            job=self.prepared.job(0),
            fold=0,
            threads=1,
            memory_limit_bytes=2**32,
            deadline_s=60.0,
        )

    def run(self, *numbers):
        specs = tuple(self.spec(number) for number in numbers)
        return self.client.submit(
            run_attempts, specs, workers=[self.worker.address], pure=False, key=f"fit-{numbers}"
        )

    async def cancel(self, number):
        where = [self.worker.address]
        return await self.client.run(cancel_attempt, "w", f"c{number}-f0", 1, workers=where)

    def waiting(self):
        return self.runner._datasets._openings[self.dataset_id].waiting

    async def close_dataset(self):
        await self.client.run(close_dataset, self.dataset_id)
        assert not self.runner._datasets.ids()
        assert await asyncio.to_thread(wait_for, lambda: not held_blocks())


@asynccontextmanager
async def a_cluster(prepared, folder):
    scheduler = await Scheduler(port=0, dashboard=False, host="127.0.0.1")
    plugin = FitWorker(str(folder))
    worker = await Worker(
        scheduler.address, nthreads=4, dashboard=False, host="127.0.0.1", plugins=(plugin,)
    )
    client = await Client(scheduler.address, asynchronous=True, set_as_default=False)
    try:
        yield Cluster(client, worker, prepared, folder)
    finally:
        await client.close()
        await worker.close()
        await scheduler.close()


def test_cancelled_while_its_dataset_opens(prepared, tmp_path):
    async def play():
        async with a_cluster(prepared, tmp_path) as cluster:
            cancelled, goes_on = cluster.run(0, 1), cluster.run(2)
            await asyncio.to_thread(cluster.held.asked_for)
            assert await asyncio.to_thread(wait_for, lambda: cluster.waiting() == 2)
            assert await cluster.cancel(1) == {cluster.worker.address: True}
            first, second = await cancelled
            assert (first.outcome, second) == (Outcome.CANCELLED, None)
            cluster.held.give()
            (other,) = await goes_on
            assert other.outcome is Outcome.SUCCEEDED
            await cluster.close_dataset()

    asyncio.run(play())


def test_cancelled_before_it_comes(prepared, tmp_path):
    async def play():
        async with a_cluster(prepared, tmp_path) as cluster:
            assert await cluster.cancel(0) == {cluster.worker.address: True}
            await cluster.close_dataset()
            cluster.uri_file.unlink()  # its workflow is over
            (late,) = await cluster.run(0)
            assert late.outcome is Outcome.CANCELLED
            with pytest.raises(BackendError, match="was removed"):
                await cluster.run(1)

    asyncio.run(play())


def test_a_dataset_that_is_closed_while_it_opens(prepared, tmp_path):
    async def play():
        async with a_cluster(prepared, tmp_path) as cluster:
            running = cluster.run(0)
            await asyncio.to_thread(cluster.held.asked_for)
            await cluster.close_dataset()
            (ended,) = await running
            assert ended.outcome is Outcome.CANCELLED
            assert cluster.held.is_given_up()

    asyncio.run(play())
