"""A workflow on a shared platform: followed by asking it; its results are opened here.

In: what is known of it and how it is looked at. Not in: how it came there
(:mod:`fitcast.scheduler.session.remote.submitting`).
"""

import base64
import binascii
import logging
import math
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fitcast.errors import BrokerUnreachableError, StoreError, SubmissionError
from fitcast.scheduler.forecast.eta import Eta
from fitcast.scheduler.kept.accepted import Accepted, DamagedError, accepted_from_json
from fitcast.scheduler.kept.results import ResultStore
from fitcast.scheduler.run.runs import Run, SweepObjects
from fitcast.scheduler.session.documents import eta_of
from fitcast.scheduler.session.remote.calls import BrokerCalls
from fitcast.scheduler.session.remote.results_folder import BrokerFolder
from fitcast.scheduler.session.told import ToldRun
from fitcast.trainer.sweep.sealed_sweep import OpenedSweep

log = logging.getLogger(__name__)

SWEEP_FILE = "sweep.sealed"
_PIECE_BYTES = 8 * 2**20


class RemoteRun(ToldRun):
    """A workflow on a shared platform.

    Parameters
    ----------
    calls : BrokerCalls
        The platform.
    workflow_id : str
        Which.
    objects : SweepObjects, optional
        What it was made of, where that is known; else it is opened when it is asked for.
    key : bytes, optional
        Its key, where that is known; else the platform is asked.

    Raises
    ------
    UnknownWorkflowError
        There is none, or it is another user's.
    BrokerError
        The platform refuses, or doesn't answer.
    """

    def __init__(
        self,
        calls: BrokerCalls,
        workflow_id: str,
        objects: SweepObjects | None = None,
        key: bytes | None = None,
    ) -> None:
        accepted = _accepted(calls, workflow_id)
        key = key or _key(calls, workflow_id)
        run = Run(
            workflow_id=workflow_id,
            submission=accepted.submission,
            objects=objects or DownloadedSweep(calls, accepted, key),
            correction=None,
            estimates=accepted.estimates,
            final_estimate=accepted.final_estimate,
            submitted_at=accepted.submitted_at,
            opened=1,
        )
        run.key, run.sealed = key, accepted.dataset
        folder = BrokerFolder(calls, workflow_id)
        run.store = ResultStore(calls.address.url, key, workflow_id, folder)
        super().__init__(run)
        self._calls = calls
        self._last = calls.workflow(workflow_id)
        run.forecast.set_result(_forecast(self._last, accepted))
        self._take_in(self._last, calls.fits(workflow_id, ""))

    @property
    def mlflow_url(self) -> str | None:
        """Where it is seen in the platform's MLflow; None if nowhere."""
        return self._calls.mlflow_url(self.workflow_id)

    def chosen(self) -> int | None:
        """Return the index of the best candidate; None if none was chosen yet."""
        known = self._last.get("best_index")
        return self._run.chosen() if known is None else int(known)

    def cancel(self) -> None:
        """Have it given up."""
        self._calls.cancel(self.workflow_id)

    def _asked(self, wait_s: float) -> tuple[dict[str, Any], dict[str, Any]] | None:
        try:
            told = self._calls.workflow(self.workflow_id, wait_s)
            return told, self._calls.fits(self.workflow_id, self._cursor)
        except BrokerUnreachableError as error:
            log.debug("%s", error)
            return None

    def _take_in(self, told: dict[str, Any], changed: dict[str, Any]) -> None:
        try:
            super()._take_in(told, changed)
        except (StoreError, BrokerUnreachableError) as error:
            if not isinstance(error.__cause__ or error, BrokerUnreachableError):
                raise
            self._take_in_silence()  # it was lost while results were read: they are asked for again
        else:
            self._last = told

    def _take_in_silence(self) -> None:
        self._run.note_waits(
            "told", ("the platform doesn't answer; what was submitted goes on there",)
        )


class DownloadedSweep:
    """What a workflow was made of, fetched and opened once it is asked for.

    Parameters
    ----------
    calls : BrokerCalls
        The platform.
    accepted : Accepted
        The workflow.
    key : bytes
        Its key.
    """

    def __init__(self, calls: BrokerCalls, accepted: Accepted, key: bytes) -> None:
        self._calls = calls
        self._accepted = accepted
        self._key = key

    @cached_property
    def _opened(self) -> OpenedSweep:
        told = self._accepted.sweep
        with tempfile.TemporaryDirectory(prefix="fitcast-") as folder:
            path = Path(folder, SWEEP_FILE)
            with path.open("wb") as file:
                for start in range(0, told.sealed_bytes, _PIECE_BYTES):
                    end = min(start + _PIECE_BYTES, told.sealed_bytes)
                    file.write(self._calls.part(self._accepted.workflow_id, SWEEP_FILE, start, end))
            return OpenedSweep(str(path), self._key, told.dataset_id)

    @property
    def params(self) -> Sequence[dict[str, Any]]:
        """The grid's setting of each candidate; runs the user's own code."""
        return self._opened.params

    @property
    def test_rows(self) -> Sequence[npt.NDArray[np.intp]]:
        """The rows that each fold tests."""
        return self._opened.test_rows


def _accepted(calls: BrokerCalls, workflow_id: str) -> Accepted:
    try:
        return accepted_from_json(calls.accepted(workflow_id))
    except DamagedError as error:
        raise SubmissionError(
            f"what the platform tells of workflow {workflow_id} can't be read ({error}): use the "
            "version of fitcast that the platform has"
        ) from error


def _key(calls: BrokerCalls, workflow_id: str) -> bytes:
    try:
        return base64.b64decode(calls.key(workflow_id), validate=True)
    except binascii.Error as error:
        raise SubmissionError(f"the key of workflow {workflow_id} is damaged") from error


def _forecast(told: dict[str, Any], accepted: Accepted) -> Eta:
    if told.get("forecast") is not None:
        return eta_of(told["forecast"])
    return Eta(math.nan, math.nan, math.nan, accepted.submitted_at or datetime.now(UTC))
