"""Brings sealed files to a shared platform, through breaks of the connection.

In: sending a file from where it broke off. Not in: sealing
(:mod:`fitcast.scheduler.session.remote.submitting`).
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from fitcast.errors import (
    BrokerUnreachableError,
    LimitError,
    StoreError,
    TooLargeError,
    UploadError,
)
from fitcast.scheduler.session.remote.calls import BrokerCalls

PIECE_BYTES: Final = 64 * 2**20
"""So much goes with one request: what a proxy between usually lets pass, and a break costs."""

READ_BYTES: Final = 2**20

TRY_FOR_S: Final = 300.0
"""For so long an upload that gets no byte further is tried again."""

_PAUSE_S: Final = 1.0


def upload(
    calls: BrokerCalls,
    workflow_id: str,
    name: str,
    path: Path,
    on_progress: Callable[[int], None] = lambda _: None,
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Send a file, all that the platform doesn't have of it yet.

    Parameters
    ----------
    calls
        The platform.
    workflow_id, name
        Which upload of which workflow.
    path
        The file.
    on_progress
        Is told how many bytes have arrived.
    clock, pause
        Monotonic seconds, and waiting for some.

    Raises
    ------
    BrokerUnreachableError
        The platform took none of it for minutes.
    StoreError
        Its disk was full for as long.
    BrokerError
        It refuses it.
    """
    size = path.stat().st_size
    received = calls.received(workflow_id, name)
    last_s = clock()
    while received < size:
        try:
            at = calls.send(workflow_id, name, received, _piece(path, received))
        except TooLargeError:
            raise  # it is no smaller later
        except (BrokerUnreachableError, StoreError, LimitError, UploadError):
            # away, its disk is full, others' turn, or it still waits for what broke off
            if clock() - last_s > TRY_FOR_S:
                raise
            pause(_PAUSE_S)
            at = calls.received(workflow_id, name)
        if at > received:
            last_s = clock()
        received = at
        on_progress(received)


def _piece(path: Path, offset: int) -> Iterator[bytes]:
    left = PIECE_BYTES
    with path.open("rb") as file:
        file.seek(offset)
        while left and (data := file.read(min(READ_BYTES, left))):
            yield data
            left -= len(data)
