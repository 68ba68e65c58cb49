"""Sweeps that come as plain JSON: checked here, prepared by a worker of the same user's.

In: what becomes of a description until its workflow is announced. Nothing that it names is imported
or read in this process. Not in: what a worker does (:mod:`fitcast.scheduler.broker.preparation`),
what follows (:mod:`fitcast.scheduler.broker.service`).
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from fitcast.errors import ForbiddenError, InvalidInputError
from fitcast.scheduler.broker.announcement import (
    LEAST_PRIORITY,
    MOST_PRIORITY,
    AnnouncedFile,
    Announcement,
)
from fitcast.scheduler.broker.keys import key_context
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.preparation import Preparation
from fitcast.scheduler.broker.resources import Demand, Resources
from fitcast.scheduler.broker.service import Service
from fitcast.scheduler.broker.store import PREPARE, NewWorkflow, StoredWorkflow, User
from fitcast.scheduler.session.remote.submitting import new_workflow_id, seal_into
from fitcast.trainer.sealing import SealedDataset, new_key
from fitcast.trainer.surroundings import surroundings
from fitcast.trainer.sweep.described import SweepDescription, check_description, description_of
from fitcast.trainer.sweep.prepared_sweep import PreparedSweep
from fitcast.trainer.sweep.submission_file import to_json
from fitcast.version import __version__

_TOKEN_FOR: Final = timedelta(days=30)
"""So long may a preparation wait in the queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What descriptions may ask for; the operator's to say.

    Attributes
    ----------
    packages
        Top-level packages whose classes they may name.
    places
        Addresses that data may lie under; none lets no description in.
    address
        Where workers reach the broker.
    """

    packages: Sequence[str]
    places: Sequence[str]
    address: str


class Descriptions:
    """Takes descriptions in.

    Parameters
    ----------
    service
        Where their workflows go.
    allowed
        What they may ask for.
    """

    def __init__(self, service: Service, allowed: Allowed) -> None:
        self._service = service
        self._allowed = allowed

    @property
    def packages(self) -> Sequence[str]:
        """The packages whose classes may be named; none if no description is taken."""
        return self._allowed.packages if self._allowed.places else ()

    def begin(self, user: User, told: Mapping[str, Any], idempotency_key: str) -> StoredWorkflow:
        """Take a description in; the same one again gives the same workflow.

        Parameters
        ----------
        user
            Whose.
        told
            As :class:`SweepDescription` has it, and ``priority``.
        idempotency_key
            Of the request.

        Raises
        ------
        InvalidInputError
            It isn't one, or asks for what may not be used.
        ForbiddenError
            This platform takes none.
        TooLargeError
            It has too many fits.
        LimitError
            The user has too much queued.
        IdempotencyError
            Another one came with this key.
        """
        if not self._allowed.places:
            raise ForbiddenError(
                "this platform takes no sweeps as JSON: its operator names no place that data may "
                "be read from"
            )
        given = dict(told)
        priority = _priority(given.pop("priority", 0))
        description = description_of(given)
        check_description(
            description,
            packages=self._allowed.packages,
            places=self._allowed.places,
            most_fits=self._service.caps.fits,
        )
        row = self._row(user, description, told, priority, idempotency_key)
        store = self._service.store
        if row.state is State.UPLOADING:
            before = store.preparation_of(row.workflow_id)
            if before is None:  # at first, and after a crash in between
                self._prepare(user, row, given)
        return store.get(row.workflow_id)

    def _row(
        self,
        user: User,
        description: SweepDescription,
        told: Mapping[str, Any],
        priority: int,
        idempotency_key: str,
    ) -> StoredWorkflow:
        """Return the workflow that the user sees, of which nothing is here yet."""
        workflow_id = new_workflow_id()
        context = key_context(user.user_id, workflow_id, "")
        wrapped, version = self._service.keys.wrap(new_key(), context)
        nothing = Demand(cpu_s=0.0, memory_byte_s=0.0, gpu_s=0.0, most=Resources())
        return self._service.store.add(
            user.user_id,
            NewWorkflow(
                workflow_id=workflow_id,
                name=(description.name or ", ".join(description.models))[:200],
                priority=priority,
                fits_total=0,
                demand=nothing,
                dataset_bytes=0,
                dataset_sha256="",
                sweep_bytes=0,
                sweep_sha256="",
                wrapped_key=wrapped,
                key_version=version,
                idempotency_key=idempotency_key,
                request_sha256=_digest(told),
            ),
        )

    def _prepare(self, user: User, row: StoredWorkflow, description: dict[str, Any]) -> None:
        """Queue what prepares it."""
        expires_at = datetime.now(UTC) + _TOKEN_FOR
        _, token = self._service.store.create_token(
            user.name, row.workflow_id, {PREPARE}, expires_at
        )
        preparation = Preparation(
            workflow_id=row.workflow_id,
            description=description,
            address=self._allowed.address,
            token=token,
            packages=list(self._allowed.packages),
            places=list(self._allowed.places),
            most_fits=self._service.caps.fits,
            priority=row.priority,
        )
        prepared = preparation.sweep(_bytes_at(description["data"])).prepare()
        with tempfile.TemporaryDirectory(prefix="fitcast-described-") as folder:
            self._bring(user, row, prepared, Path(folder))

    def _bring(
        self, user: User, row: StoredWorkflow, prepared: PreparedSweep, folder: Path
    ) -> None:
        """Hand a sweep of the broker's own in, as a client would."""
        workflow_id, key = new_workflow_id(), new_key()
        paths, sealed = seal_into(folder, workflow_id, prepared, surroundings(), key)
        announced = Announcement.model_construct(
            workflow_id=workflow_id,
            version=__version__,
            submission=json.loads(json.dumps(to_json(prepared.submission))),  # as it would travel
            key=key,
            priority=row.priority,
            dataset=_told(sealed["dataset"], paths["dataset"]),
            sweep=_told(sealed["sweep"], paths["sweep"]),
        )
        self._service.begin(user, announced, f"prepares-{workflow_id}", prepares=row.workflow_id)


def _told(sealed: SealedDataset, path: Path) -> AnnouncedFile:
    return AnnouncedFile.model_construct(
        dataset_id=sealed.dataset_id,
        plaintext_bytes=sealed.plaintext_bytes,
        sealed_bytes=sealed.sealed_bytes,
        sealed_sha256=sealed.sealed_sha256,
        content=path.read_bytes(),
    )


def _priority(told: object) -> int:
    if (
        isinstance(told, bool)
        or not isinstance(told, int)
        or not LEAST_PRIORITY <= told <= MOST_PRIORITY
    ):
        raise InvalidInputError(
            f"priority must be a whole number from {LEAST_PRIORITY} to {MOST_PRIORITY}"
        )
    return told


def _bytes_at(data: str) -> int:
    """Return how large a file of this machine is; 0 of any other, and if it can't be told."""
    try:
        return Path(data.removeprefix("file://")).stat().st_size
    except (OSError, ValueError):
        return 0


def _digest(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
