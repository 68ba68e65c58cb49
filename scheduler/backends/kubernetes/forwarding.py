"""A port of this machine's loopback that leads to one of a pod, through the API server.

Each connection travels in a WebSocket of its own, as Kubernetes forwards ports
(``v4.channel.k8s.io``): a byte that names the channel goes before every message, 0 for data and 1
for errors, and the first message of each channel is the number of the port. kr8s has the same, but
asks without a pause and without an end for a pod that is gone, and may return a port that it failed
to listen on (kr8s 0.20.15).

Not in: how a WebSocket is opened (:mod:`fitcast.scheduler.backends.kubernetes.api`).
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Protocol

_READ_BYTES = 2**16
_DATA, _ERRORS = b"\x00", b"\x01"


class Socket(Protocol):
    """What a WebSocket can do."""

    async def send_bytes(self, data: bytes) -> None:
        """Send a message."""

    async def receive_bytes(self) -> bytes:
        """Return the next message."""


class ForwardedPort:
    """Forwards connections for as long as it lives; all calls on one event loop.

    Parameters
    ----------
    connect : callable
        Returns a context that opens a WebSocket to the pod's port.
    """

    def __init__(self, connect: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        self._connect = connect
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.trouble = ""
        """Why the last connection that failed did."""

    async def start(self) -> int:
        """Return the port of the loopback that is listened on.

        Whatever `connect` raises is raised here if the pod's port can't be reached at all.
        """
        async with self._connect():
            pass
        self._server = await asyncio.start_server(self._accept, host="127.0.0.1", port=0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """End all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._forward(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._connect() as socket:
                await _carry(socket, reader, writer)
        except Exception as error:  # whoever connected sees the end, and may try again
            self.trouble = str(error) or repr(error)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _carry(
    socket: Socket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Carry bytes both ways until one side ends."""
    ways = {
        asyncio.create_task(_carry_there(socket, reader)),
        asyncio.create_task(_carry_back(socket, writer)),
    }
    try:
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
    for way in done:
        way.result()


async def _carry_there(socket: Socket, reader: asyncio.StreamReader) -> None:
    while data := await reader.read(_READ_BYTES):
        await socket.send_bytes(_DATA + data)


async def _carry_back(socket: Socket, writer: asyncio.StreamWriter) -> None:
    begun = set()
    while True:
        message = await socket.receive_bytes()
        channel, data = message[:1], message[1:]
        if channel not in begun:
            begun.add(channel)  # the port's number
        elif channel == _ERRORS:
            raise ConnectionError(data.decode(errors="replace"))
        else:
            writer.write(data)
            await writer.drain()
