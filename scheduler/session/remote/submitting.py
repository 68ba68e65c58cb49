"""A prepared sweep → a workflow on a shared platform: sealed here, then brought there.

The platform gets plain data, two sealed files and their key, which is fresh. What is written here
on the way is sealed too, and removed in the end. Not in: the order of requests that fail
(:mod:`fitcast.scheduler.session.remote.uploading`).
"""

import base64
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from fitcast.errors import FitcastError
from fitcast.scheduler.session.remote.calls import BrokerCalls
from fitcast.scheduler.session.remote.remote_run import RemoteRun
from fitcast.scheduler.session.remote.uploading import upload
from fitcast.trainer.sealing import SealedDataset, new_key, seal
from fitcast.trainer.sweep.prepared_sweep import PreparedSweep
from fitcast.trainer.sweep.sealed_sweep import seal_sweep
from fitcast.trainer.sweep.submission_file import to_json
from fitcast.version import __version__

DATASET, SWEEP = "dataset", "sweep"

_INLINE_BYTES: Final = 2**20
"""Files of up to so many bytes go with the announcement, in one request."""


def submit_to(
    calls: BrokerCalls,
    prepared: PreparedSweep,
    surroundings: bytes,
    home: Path,
    *,
    priority: int = 0,
    on_progress: Callable[[int, int], None] = lambda sent, total: None,
) -> RemoteRun:
    """Seal a sweep and bring it to a shared platform; return it once it is queued there.

    Parameters
    ----------
    calls, prepared, surroundings, home, priority, on_progress
        As `bring` takes them.

    Raises
    ------
    SealError
        It can't be sealed, or not be written in `home`.
    BrokerError
        The platform refuses it, or doesn't answer. Nothing of it is left here or there.
    """
    workflow_id, key = new_workflow_id(), new_key()
    bring(
        calls,
        workflow_id,
        prepared,
        surroundings,
        key,
        home,
        priority=priority,
        on_progress=on_progress,
    )
    return RemoteRun(calls, workflow_id, prepared, key)


def bring(
    calls: BrokerCalls,
    workflow_id: str,
    prepared: PreparedSweep,
    surroundings: bytes,
    key: bytes,
    home: Path,
    *,
    priority: int = 0,
    on_progress: Callable[[int, int], None] = lambda sent, total: None,
) -> None:
    """Seal a sweep and bring it to a shared platform, until it is queued there.

    Parameters
    ----------
    calls
        The platform.
    workflow_id
        What it is to be called.
    prepared
        The sweep.
    surroundings
        Of the user's code.
    key
        To seal it with; fresh.
    home
        Where sealed files lie until they are uploaded, in a folder of their own.
    priority
        Within this user's own work: larger goes first.
    on_progress
        ``on_progress(sent, total)``, in bytes.

    Raises
    ------
    SealError
        It can't be sealed, or not be written in `home`.
    BrokerError
        The platform refuses it, or doesn't answer. Nothing of it is left here or there.
    """
    folder = home / "outgoing" / workflow_id
    created = False
    try:
        folder.mkdir(mode=0o700, parents=True)
        paths, sealed = seal_into(folder, workflow_id, prepared, surroundings, key)
        body: dict[str, Any] = {
            "workflow_id": workflow_id,
            "version": __version__,
            "submission": to_json(prepared.submission),
            "key": base64.b64encode(key).decode(),
            "priority": priority,
            **{name: _told(one) for name, one in sealed.items()},
        }
        created = True  # from here on something may be there
        if all(one.sealed_bytes <= _INLINE_BYTES for one in sealed.values()):
            for name, path in paths.items():
                body[name]["content"] = base64.b64encode(path.read_bytes()).decode()
            calls.create(body, idempotency_key=workflow_id)
            on_progress(1, 1)
            return
        calls.create(body, idempotency_key=workflow_id)
        total = sum(one.sealed_bytes for one in sealed.values())
        sent = 0
        for name in (SWEEP, DATASET):
            upload(
                calls, workflow_id, name, paths[name], partial(_told_of, on_progress, sent, total)
            )
            sent += sealed[name].sealed_bytes
        calls.commit(workflow_id)
    except BaseException:  # an interrupt, above all: nothing half submitted stays
        if created:
            with suppress(FitcastError):
                calls.cancel(workflow_id)
                calls.remove(workflow_id)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def seal_into(
    folder: Path, workflow_id: str, prepared: PreparedSweep, surroundings: bytes, key: bytes
) -> tuple[dict[str, Path], dict[str, SealedDataset]]:
    """Seal a sweep and its dataset; return where they lie, and what they are, by upload.

    Raises
    ------
    SealError
        They can't be sealed, or not be written there.
    """
    paths = {DATASET: folder / "dataset.sealed", SWEEP: folder / "sweep.sealed"}
    dataset = seal(
        prepared.content,
        str(paths[DATASET]),
        key,
        workflow_id=workflow_id,
        attachments=prepared.attachments,
    )
    sweep = seal_sweep(prepared, surroundings, str(paths[SWEEP]), key, workflow_id=workflow_id)
    return paths, {DATASET: dataset, SWEEP: sweep}


def new_workflow_id() -> str:
    """Return an id as the workflows of a shared platform have them."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid4().hex}"


def _told_of(on_progress: Callable[[int, int], None], before: int, total: int, sent: int) -> None:
    on_progress(before + sent, total)


def _told(sealed: SealedDataset) -> dict[str, Any]:
    told = asdict(sealed)
    del told["uri"], told["workflow_id"]
    return told
