"""The short-lived processes that fill shared blocks: unseal a dataset, cut out a fold's rows.

In: what happens in those processes. Not in: forking them
(:mod:`fitcast.trainer.attempt.fork_server`), keeping the blocks
(:mod:`fitcast.trainer.attempt.split_blocks`). The key is read here and ends with the process:
neither the fork server nor a fit ever holds it.
"""

import os
import select
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from fitcast.errors import SealError
from fitcast.trainer.attempt.fitting import cut
from fitcast.trainer.attempt.messages import (
    ConnectionLostError,
    Cut,
    Load,
    Loaded,
    receive_message,
    send_message,
)
from fitcast.trainer.attempt.process_tree import (
    close_other_descriptors,
    no_core_files,
    not_looked_into,
)
from fitcast.trainer.shared_memory import map_object, write_all, write_object

_SHARE_FROM_BYTES = 8 * 2**20  # below, cutting anew costs a fit less than sharing saves


class _Block:
    """A block as the place that plaintext goes to."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: bytes, /) -> None:
        write_all(self._fd, data)


def load(connection: socket.socket, block_fd: int) -> NoReturn:
    """Be the process that unseals a dataset into a block. Never returns."""
    try:
        close_other_descriptors({connection.fileno(), block_fd})
        with suppress(ConnectionLostError):
            send_message(connection, _load(_begin(connection), block_fd))
    finally:
        os._exit(0)


def cut_out(connection: socket.socket, dataset_fd: int, block_fd: int) -> NoReturn:
    """Be the process that writes the rows of a fold to a block. Never returns."""
    try:
        close_other_descriptors({connection.fileno(), dataset_fd, block_fd})
        with suppress(ConnectionLostError):
            send_message(connection, _cut(_begin(connection), dataset_fd, block_fd))
    finally:
        os._exit(0)


def _begin(connection: socket.socket) -> Any:
    no_core_files()
    not_looked_into()  # a fit of the same worker isn't to read the key here
    asked: Load | Cut = receive_message(connection)
    watch = threading.Thread(target=_end_with, args=(connection,), daemon=True)
    watch.start()
    sys.path += [entry for entry in asked.sys_path if entry not in sys.path]
    return asked


def _end_with(connection: socket.socket) -> NoReturn:
    """End the process when the runner hangs up: nobody wants the block any more."""
    poller = select.poll()
    poller.register(connection, select.POLLRDHUP)
    poller.poll()
    os._exit(0)


def _load(asked: Load, block_fd: int) -> Loaded:
    from fitcast.trainer.sealing import unseal_into

    try:
        key = Path(asked.key_file).read_bytes()
    except OSError as error:
        return Loaded(error=f"the key of the dataset can't be read ({error}): submit again")
    try:
        held = unseal_into(asked.uri, key, dataset_id=asked.dataset_id, sink=_Block(block_fd))
        content: Any = map_object(block_fd)
    except SealError as error:
        return Loaded(error=str(error), sealed_wrong=True)
    except Exception as error:
        return Loaded(error=f"the dataset can't be opened: {type(error).__name__}: {error}")
    return Loaded(held_bytes=held, shareable=held >= _SHARE_FROM_BYTES and not _square(content.X))


def _square(X: Any) -> bool:
    """Whether X may be a kernel: then estimators differ in how they want it cut."""
    shape: tuple[int, ...] = getattr(X, "shape", ())
    return len(shape) == 2 and shape[0] == shape[1]


def _cut(asked: Cut, dataset_fd: int, block_fd: int) -> Loaded:
    try:
        content: Any = map_object(dataset_fd)
        return Loaded(held_bytes=write_object(block_fd, cut(content, asked.fold)))
    except Exception as error:  # the fit will meet the same and report it with its traceback
        return Loaded(error=f"{type(error).__name__}: {error}")
