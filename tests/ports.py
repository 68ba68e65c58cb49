"""Ports for the servers of tests."""

import os
import socket
from itertools import count

_FIRST, _COUNT = 20_000, 10_000  # below those that the kernel gives to whoever asks for any
_TURNS = count()


def free_port() -> int:
    """Return a port on which nobody listens, and that other runs of the tests won't take soon."""
    for turn in _TURNS:
        port = _FIRST + (os.getpid() * 10 + turn) % _COUNT
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError
