"""How a sealed dataset gets to workers that share no storage: client → scheduler → worker → worker.

What travels is the sealed file as it is, over the workflow's own TLS connections; nobody on the
way holds its key or could read it. The scheduler keeps a copy, so a worker that joins late gets it
while the client is away. Workers ask those that have it first, the scheduler if there are none.

In: the scheduler's side, the workers' side, and sending. Not in: what is done with the file
(:mod:`fitcast.trainer.attempt.runner`).
"""

import asyncio
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin

from fitcast.errors import BackendError

TOPIC = "fitcast-workers"
"""Events of the scheduler under this name tell which workers are ready."""

CHUNK_BYTES = 4 * 2**20
_TRIES = 5
_TRY_AGAIN_S = 0.5


class ForwardedFile:
    """A file that comes in pieces, in order.

    Parameters
    ----------
    path : Path
        Where it lies.
    total_bytes : int
        How long it will be.
    """

    def __init__(self, path: Path, total_bytes: int) -> None:
        self.path = path
        self.total_bytes = total_bytes

    @property
    def held_bytes(self) -> int:
        """How much of it is there."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    @property
    def is_whole(self) -> bool:
        """Whether all of it is there."""
        return self.held_bytes == self.total_bytes

    def put(self, offset: int, data: bytes) -> int:
        """Append a piece if it follows what is there; return how much is there then."""
        held = self.held_bytes
        if offset == held and held + len(data) <= self.total_bytes:
            with self.path.open("ab") as file:
                file.write(data)
        return self.held_bytes

    def get(self, offset: int) -> bytes:
        """Return the piece that begins at an offset."""
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(CHUNK_BYTES)


class SealedSource(SchedulerPlugin):  # type: ignore[misc]
    """The scheduler's side: takes the file in, tells who has it, and which workers are ready."""

    name = "fitcast-sealed-source"

    def __init__(self, scheduler: Any, folder: Path) -> None:
        self._scheduler = scheduler
        self._folder = folder
        self._file: ForwardedFile | None = None
        self._ready: dict[str, dict[str, Any]] = {}  # by address: what a worker told of itself
        self._version = 0  # of that: answers and events travel apart, and may pass each other
        scheduler.handlers |= {
            "fitcast_offer": self._offer,
            "fitcast_put": self._put,
            "fitcast_get": self._get,
            "fitcast_sources": self._sources,
            "fitcast_ready": self._note_ready,
            "fitcast_workers": self._workers,
        }

    def _offer(self, dataset_id: str, total_bytes: int) -> int:
        self._file = ForwardedFile(self._folder / f"{dataset_id}.sealed", total_bytes)
        return self._file.held_bytes

    def _put(self, offset: int, data: bytes) -> int:
        assert self._file is not None
        with suppress(OSError):  # whoever sends sees that it grows no more
            self._file.put(offset, data)
        return self._file.held_bytes

    def _get(self, offset: int) -> bytes:
        assert self._file is not None
        return self._file.get(offset)

    def _sources(self) -> dict[str, Any]:
        file = self._file
        if file is None or not file.is_whole:
            return {"total_bytes": None, "addresses": []}
        having = [address for address, told in self._ready.items() if told["has_file"]]
        return {"total_bytes": file.total_bytes, "addresses": having}

    def _note_ready(self, address: str, told: dict[str, Any]) -> None:
        if address in self._scheduler.workers:
            self._ready[address] = told
            self._tell()

    def _workers(self) -> dict[str, Any]:
        return {"version": self._version, "workers": dict(self._ready)}

    def remove_worker(self, scheduler: Any, worker: str, **kwargs: Any) -> None:
        """Forget a worker that is gone."""
        if self._ready.pop(worker, None) is not None:
            self._tell()

    def _tell(self) -> None:
        self._version += 1
        self._scheduler.log_event(TOPIC, self._workers())


async def send(scheduler: Any, dataset_id: str, path: Path) -> None:
    """Send a sealed file to a scheduler; what is there already isn't sent again."""
    total_bytes = path.stat().st_size
    file = ForwardedFile(path, total_bytes)
    held = await scheduler.fitcast_offer(dataset_id=dataset_id, total_bytes=total_bytes)
    while held < total_bytes:
        data = await asyncio.to_thread(file.get, held)
        now_held = await scheduler.fitcast_put(offset=held, data=data)
        if now_held <= held:
            raise BackendError("the scheduler can't store the dataset: its disk may be too small")
        held = now_held


class Receiver:
    """A worker's side: gets the file, gives it to others, and tells the scheduler when it has it.

    Parameters
    ----------
    worker : distributed.Worker
        On whose connections it travels.
    path : Path
        Where the file is to lie.
    """

    def __init__(self, worker: Any, path: Path) -> None:
        self._worker = worker
        self._path = path
        self._file: ForwardedFile | None = None
        worker.handlers["fitcast_get"] = self._get

    def _get(self, offset: int) -> bytes:
        assert self._file is not None
        return self._file.get(offset)

    async def receive(self) -> None:
        """Return once all of the file is there; go on for as long as the worker lives.

        Raises
        ------
        BackendError
            It can't be stored here.
        """
        while True:
            try:
                told = await self._worker.scheduler.fitcast_sources()
                if told["total_bytes"] is None:  # the client is still sending
                    await asyncio.sleep(_TRY_AGAIN_S)
                    continue
                self._file = ForwardedFile(self._path, told["total_bytes"])
                await self._fill(self._file, told["addresses"])
                return
            except OSError:  # whom it was asking is gone: another will have it
                await asyncio.sleep(_TRY_AGAIN_S * (1 + random.random()))

    async def _fill(self, file: ForwardedFile, addresses: list[str]) -> None:
        others = [address for address in addresses if address != self._worker.address]
        source = self._worker.rpc(random.choice(others)) if others else self._worker.scheduler
        while not file.is_whole:
            held = file.held_bytes
            data = await source.fitcast_get(offset=held)
            try:
                now_held = await asyncio.to_thread(file.put, held, data)
            except OSError as error:
                raise BackendError(
                    f"the dataset of {file.total_bytes / 2**20:.0f} MiB can't be stored on this "
                    f"worker: {error.strerror}"
                ) from error
            if now_held <= held:
                raise OSError("this isn't the file that was asked for")

    async def ready(self, told: dict[str, Any]) -> None:
        """Tell the scheduler that fits may be sent here."""
        for left in reversed(range(_TRIES)):
            try:
                await self._worker.scheduler.fitcast_ready(
                    address=self._worker.address, told=told | {"has_file": self._file is not None}
                )
                return
            except OSError:
                if not left:
                    raise
                await asyncio.sleep(_TRY_AGAIN_S)
