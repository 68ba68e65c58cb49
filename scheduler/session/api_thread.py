"""An API's server, on a thread of its own: signals stay the process's."""

import asyncio
import socket
import threading
from typing import Any

import uvicorn


def api_config(app: Any, *, grace_s: int, **more: Any) -> uvicorn.Config:
    """Return how an API of ours is served: its own log, nothing said of the server.

    Parameters
    ----------
    app : ASGI application
        What answers.
    grace_s : int
        What is being answered has so many seconds more when the server is closed.
    **more
        Of `uvicorn.Config`.
    """
    return uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=grace_s,
        **more,
    )


class ApiThread:
    """Answers from now on, until it is closed.

    Parameters
    ----------
    config : uvicorn.Config
        Of the server.
    listening : socket
        Where requests come; the caller's to close.
    name : str
        Of the thread.
    """

    def __init__(self, config: uvicorn.Config, listening: socket.socket, name: str) -> None:
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._server.serve([listening])), name=name
        )
        self._thread.start()

    def close(self) -> None:
        """Answer what was asked already, and end."""
        self._server.should_exit = True
        self._thread.join()
