"""Sealed datasets on their way to workers, over real connections of Dask."""

import asyncio
import os

import pytest
from distributed import Client, Scheduler, Worker

from fitcast.errors import BackendError
from fitcast.scheduler.worker.sealed_transfer import (
    CHUNK_BYTES,
    ForwardedFile,
    Receiver,
    SealedSource,
    send,
)

TOLD = {"pool": "p", "name": "n"}


async def a_cluster(folder):
    scheduler = await Scheduler(port=0, dashboard=False, host="127.0.0.1")
    source = SealedSource(scheduler, folder)
    scheduler.add_plugin(source)
    client = await Client(scheduler.address, asynchronous=True, set_as_default=False)
    return scheduler, client


async def a_worker(scheduler):
    return await Worker(scheduler.address, nthreads=1, dashboard=False, host="127.0.0.1")


@pytest.fixture
def folders(tmp_path):
    made = [tmp_path / name for name in ("client", "scheduler", "one", "two")]
    for folder in made:
        folder.mkdir()
    content = os.urandom(2 * CHUNK_BYTES + 77)
    (made[0] / "d.sealed").write_bytes(content)
    return made, content


def test_every_worker_gets_the_whole_file_and_a_late_one_gets_it_from_another(folders):
    (here, there, one, two), content = folders

    async def travel():
        scheduler, client = await a_cluster(there)
        try:
            await send(client.scheduler, "d", here / "d.sealed")
            first = await a_worker(scheduler)
            receiver = Receiver(first, one / "d.sealed")
            await receiver.receive()
            await receiver.ready(TOLD)
            told = await client.scheduler.fitcast_workers()
            assert list(told["workers"]) == [first.address]
            await client.close()
            (there / "d.sealed").unlink()  # so only the first worker has it
            (there / "d.sealed").write_bytes(bytes(len(content)))
            late = await a_worker(scheduler)
            await Receiver(late, two / "d.sealed").receive()
            await late.close()
            await first.close()
        finally:
            await scheduler.close()

    asyncio.run(asyncio.wait_for(travel(), 60))
    assert (one / "d.sealed").read_bytes() == content
    assert (two / "d.sealed").read_bytes() == content


def test_a_worker_waits_for_a_client_that_is_still_sending(folders):
    (here, there, one, _), content = folders

    async def travel():
        scheduler, client = await a_cluster(there)
        try:
            worker = await a_worker(scheduler)
            waiting = asyncio.create_task(Receiver(worker, one / "d.sealed").receive())
            await asyncio.sleep(0.2)
            assert not waiting.done()
            await send(client.scheduler, "d", here / "d.sealed")
            await waiting
            await worker.close()
            await client.close()
        finally:
            await scheduler.close()

    asyncio.run(asyncio.wait_for(travel(), 60))
    assert (one / "d.sealed").read_bytes() == content


def test_what_was_sent_before_is_not_sent_again(folders):
    (here, there, _, _), content = folders
    (there / "d.sealed").write_bytes(content[:CHUNK_BYTES])
    sent = []

    class Counting:
        def __init__(self, scheduler):
            self._scheduler = scheduler

        def __getattr__(self, name):
            call = getattr(self._scheduler, name)
            if name == "fitcast_put":
                sent.append(name)
            return call

    async def travel():
        scheduler, client = await a_cluster(there)
        await send(Counting(client.scheduler), "d", here / "d.sealed")
        await client.close()
        await scheduler.close()

    asyncio.run(asyncio.wait_for(travel(), 60))
    assert len(sent) == 2
    assert (there / "d.sealed").read_bytes() == content


def test_a_worker_that_is_gone_is_ready_no_more(folders):
    (here, there, one, _), _ = folders

    async def travel():
        scheduler, client = await a_cluster(there)
        await send(client.scheduler, "d", here / "d.sealed")
        worker = await a_worker(scheduler)
        receiver = Receiver(worker, one / "d.sealed")
        await receiver.receive()
        await receiver.ready(TOLD)
        await worker.close()
        assert (await client.scheduler.fitcast_workers())["workers"] == {}
        await client.close()
        await scheduler.close()

    asyncio.run(asyncio.wait_for(travel(), 60))


def test_disks_that_are_full_are_told(folders):
    (here, there, one, _), _ = folders
    full = "/dev/full"  # whatever is written there finds no space

    async def travel():
        scheduler, client = await a_cluster(there)
        (there / "full.sealed").symlink_to(full)
        with pytest.raises(BackendError, match="the scheduler can't store the dataset"):
            await send(client.scheduler, "full", here / "d.sealed")
        await send(client.scheduler, "d", here / "d.sealed")
        worker = await a_worker(scheduler)
        (one / "d.sealed").symlink_to(full)
        with pytest.raises(BackendError, match=r"8 MiB can't be stored .*: No space left"):
            await Receiver(worker, one / "d.sealed").receive()
        await worker.close()
        await client.close()
        await scheduler.close()

    asyncio.run(asyncio.wait_for(travel(), 60))


def test_pieces_that_do_not_follow_are_left_out(tmp_path):
    file = ForwardedFile(tmp_path / "f", 6)
    assert file.put(0, b"abc") == 3
    assert file.put(0, b"abc") == 3  # sent twice
    assert file.put(5, b"f") == 3
    assert file.put(3, b"defg") == 3  # longer than it can be
    assert not file.is_whole
    assert file.put(3, b"def") == 6
    assert file.is_whole
    assert file.get(3) == b"def"
