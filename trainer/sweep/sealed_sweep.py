"""What of a user's a sweep was made of, sealed for the workflow: jobs, settings, the rule.

A list of byte strings, so that whoever holds the key takes a job out without running anything of
the user's. Their objects are opened only where that user's own code may run: in the user's client,
or in a worker of the workflow.

Not in: the plain data beside it (:mod:`fitcast.trainer.sweep.submission`), the dataset.
"""

import json
import os
import pickle
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from fitcast.errors import SubmissionError
from fitcast.trainer.attempt.spec import Attached, JobBytes
from fitcast.trainer.sealing import SealedDataset, seal, unseal_into
from fitcast.trainer.shared_memory import map_attachments, new_block, write_all
from fitcast.trainer.sweep.prepared_sweep import PreparedSweep
from fitcast.trainer.sweep.users_code import users_code_by_value

_SCHEMA: Final = 1
_ROWS: Final = "<i8"
_WHAT: Final = {"params": "the candidates' settings", "refit": "the rule for the best"}


def seal_sweep(
    prepared: PreparedSweep, surroundings: bytes, uri: str, key: bytes, *, workflow_id: str
) -> SealedDataset:
    """Seal what a sweep was made of, but for its dataset.

    Parameters
    ----------
    prepared
        The sweep.
    surroundings
        Of the user's code, as where it was submitted.
    uri, key, workflow_id
        As :func:`fitcast.trainer.sealing.seal` takes them.

    Raises
    ------
    SealError
        It can't be written there.
    """
    return seal(None, uri, key, workflow_id=workflow_id, attachments=_parts(prepared, surroundings))


def _parts(prepared: PreparedSweep, surroundings: bytes) -> list[bytes]:
    parts: list[bytes] = []
    numbers: dict[int, int] = {}  # by identity: candidates have parts in common

    def number(part: bytes | Attached) -> int | list[int]:
        if isinstance(part, Attached):
            return [part.number]
        if id(part) not in numbers:
            numbers[id(part)] = len(parts) + 1
            parts.append(part)
        return numbers[id(part)]

    jobs = [
        [
            number(job.job),
            number(job.estimator),
            [number(value) for value in job.values],
            list(job.modules),
            number(job.users_modules),
        ]
        for job in prepared.jobs
    ]
    head = {
        "schema": _SCHEMA,
        "jobs": jobs,
        "surroundings": number(surroundings),
        "params": number(_pickled(prepared.params)),
        "refit": number(_pickled(prepared.refit)),
        "test_rows": [
            number(np.ascontiguousarray(rows, dtype=_ROWS).tobytes()) for rows in prepared.test_rows
        ],
    }
    return [json.dumps(head, separators=(",", ":")).encode(), *parts]


def _pickled(what: object) -> bytes:
    """Return it pickled; nothing if it can't be, as the sweep itself doesn't need it to."""
    try:
        with users_code_by_value() as dumps:
            return dumps(what)
    except Exception:
        return b""


class OpenedSweep:
    """What :func:`seal_sweep` sealed.

    Parameters
    ----------
    uri, key, dataset_id
        As :func:`fitcast.trainer.sealing.unseal_into` takes them.

    Raises
    ------
    SealError
        It isn't there, or not what was sealed.
    SubmissionError
        A newer fitcast wrote it.
    """

    def __init__(self, uri: str, key: bytes, dataset_id: str) -> None:
        block = new_block("fitcast-sweep")
        try:
            unseal_into(uri, key, dataset_id=dataset_id, sink=_Block(block))
            self._parts = map_attachments(block)
        finally:
            os.close(block)
        self._head = json.loads(bytes(self._parts[0]))
        if self._head["schema"] > _SCHEMA:
            raise SubmissionError(
                f"the sweep is sealed in layout {self._head['schema']}, and this fitcast reads up "
                f"to {_SCHEMA}: install the version that wrote it, or a later one"
            )
        self._known: dict[int, bytes] = {}  # what candidates have in common stays so
        self.jobs = tuple(map(self._job, self._head["jobs"]))
        self.surroundings = self._bytes(self._head["surroundings"])

    def _bytes(self, number: int) -> bytes:
        if number not in self._known:
            self._known[number] = bytes(self._parts[number])
        return self._known[number]

    def _job(self, told: Sequence[Any]) -> JobBytes:
        def part(number: int | list[int]) -> bytes | Attached:
            return Attached(number[0]) if isinstance(number, list) else self._bytes(number)

        job, estimator, values, modules, users = told
        return JobBytes(
            self._bytes(job),
            part(estimator),
            tuple(map(part, values)),
            tuple(map(str, modules)),
            part(users),
        )

    def pickled(self, name: Literal["params", "refit"]) -> bytes:
        """Return the settings, or the rule, as they were pickled.

        Raises
        ------
        SubmissionError
            They couldn't be.
        """
        data = self._bytes(self._head[name])
        if not data:
            raise SubmissionError(
                f"{_WHAT[name]} couldn't be sent: it is known where it was submitted"
            )
        return data

    @cached_property
    def test_rows(self) -> list[npt.NDArray[np.intp]]:
        """The rows that each fold tests."""
        told = (self._bytes(number) for number in self._head["test_rows"])
        return [np.frombuffer(rows, dtype=_ROWS).astype(np.intp) for rows in told]

    @cached_property
    def params(self) -> list[dict[str, Any]]:
        """The grid's setting of each candidate; runs the user's code.

        Raises
        ------
        SubmissionError
            They couldn't be pickled, or can't be opened here.
        """
        data = self.pickled("params")
        try:
            opened: list[dict[str, Any]] = pickle.loads(data)  # noqa: S301 - the user's own
        except Exception as error:
            raise SubmissionError(
                f"{_WHAT['params']} can't be opened here ({type(error).__name__}: {error}): import "
                "what they need, and ask again"
            ) from error
        return opened


class _Block:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: bytes, /) -> None:
        write_all(self._fd, data)
