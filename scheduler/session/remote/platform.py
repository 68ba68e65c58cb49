"""A shared platform, as a client's sweeps run there.

In: what `Client("https://…")` does. Not in: requests
(:mod:`fitcast.scheduler.session.remote.calls`), the platform itself
(:mod:`fitcast.scheduler.broker`).
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn
from uuid import uuid4

from fitcast.errors import BrokerError, FitcastError, SubmissionError
from fitcast.scheduler.forecast.probes import probe_sweeps
from fitcast.scheduler.forecast.sweep_estimate import SweepEstimate, estimate_of
from fitcast.scheduler.forecast.sweep_forecast import SweepForecast
from fitcast.scheduler.kept.accepted import DamagedError, estimates_from_json
from fitcast.scheduler.plan.pools import Pool, check_pools
from fitcast.scheduler.run.followed import Followed
from fitcast.scheduler.session.remote.address import BrokerAddress, token_for
from fitcast.scheduler.session.remote.calls import BrokerCalls
from fitcast.scheduler.session.remote.remote_run import RemoteRun
from fitcast.scheduler.session.remote.submitting import submit_to
from fitcast.scheduler.session.workflow import Workflow
from fitcast.trainer.surroundings import surroundings
from fitcast.trainer.sweep.prepared_sweep import PreparedSweep
from fitcast.trainer.sweep.submission_file import to_json

if TYPE_CHECKING:
    from fitcast.trainer.sweep.prepared import Sweep

ASK_FOR_S: Final = 20.0
"""So long one request waits for the history."""


_PREPARING: Final = "preparing"
_LOOK_EVERY_S: Final = 0.5


class RemotePlatform:
    """Lets a shared platform run sweeps; implements `Platform`.

    Parameters
    ----------
    url : str
        Where it answers.
    token : str, optional
        What opens it; see `token_for`.
    home : Path
        Where this client may write.

    Raises
    ------
    InvalidInputError
        The address can't be one, or there is no token.
    BrokerError
        The platform doesn't answer, or refuses the token.
    """

    tracking_uri = ""
    troubles: tuple[str, ...] = ()

    def __init__(self, url: str, token: str | None, home: Path) -> None:
        address = BrokerAddress.of(url)
        self._home = home
        self._calls = BrokerCalls(address, token_for(address, home, token))
        try:
            self.about = self._calls.about()
        except BaseException:
            self._calls.close()
            raise
        self._runs: dict[str, RemoteRun] = {}  # that this process submitted or asked for

    def estimate(
        self, sweep: "Sweep", pools: Sequence[Pool] | None, *, probe: bool
    ) -> SweepEstimate:
        """Forecast a sweep by the platform's sizing model; no data leaves this process."""
        prepared = sweep.prepare()
        probed = self._probed(prepared) if probe else []
        told = self._calls.estimates(to_json(prepared.submission), probed)
        cast = _forecast(prepared, told)
        if pools is not None:
            return estimate_of(cast, check_pools(pools))
        return estimate_of(cast, pools_from(told["pools"]), float(told["ready_in_s"]))

    def submit(self, sweep: "Sweep", *, probe: bool, detach: bool, priority: int = 0) -> Workflow:
        """Start a sweep; it outlives this process anyway."""
        prepared = sweep.prepare(recheck=True)
        if probe:
            self._probed(prepared)
        run = submit_to(self._calls, prepared, surroundings(), self._home, priority=priority)
        self._runs[run.workflow_id] = run
        return self._handle(run)

    def describe(self, told: Mapping[str, Any], *, priority: int = 0) -> str:
        """Hand a sweep in as plain JSON, which a worker prepares; return the workflow's id."""
        body = {**told, "priority": priority}
        return str(self._calls.describe(body, uuid4().hex)["workflow_id"])

    def prepared(self, workflow_id: str) -> Workflow:
        """Wait until a worker has prepared a workflow, and return its handle.

        Raises
        ------
        SubmissionError
            It couldn't be prepared.
        """
        while self._calls.workflow(workflow_id)["state"] == _PREPARING:
            time.sleep(_LOOK_EVERY_S)
        return self.workflow(workflow_id)

    def resume(self, workflow_id: str, sweep: "Sweep | None") -> Workflow:
        """Let a workflow be gone on with."""
        if sweep is not None:
            raise SubmissionError(
                "a shared platform keeps a workflow's dataset until it has ended: resume it "
                "without the sweep, or submit the sweep anew"
            )
        self._calls.resume(workflow_id)
        self._runs.pop(workflow_id, None)
        return self.workflow(workflow_id)

    def workflow(self, workflow_id: str) -> Workflow:
        """Return the handle of a workflow of this user."""
        known = self._runs.get(workflow_id)
        if known is None:
            known = self._runs[workflow_id] = RemoteRun(self._calls, workflow_id)
        return self._handle(known)

    def workflows(self) -> list[Workflow]:
        """Return the workflows of this user, oldest first."""
        found = []
        for told in self._calls.workflows():
            with suppress(SubmissionError):  # removed meanwhile, or of a newer fitcast
                found.append(self.workflow(told["workflow_id"]))
        return found

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """Return what is told of the newest workflows of this user, oldest first."""
        return self._calls.workflows()[-limit:]

    def queue(self) -> list[dict[str, Any]]:
        """Return what runs and waits, as told: everybody's for an administrator."""
        return self._calls.queue()

    def remove(self, workflow_id: str) -> None:
        """Remove all of a workflow that is over."""
        self._calls.remove(workflow_id)
        self._runs.pop(workflow_id, None)

    def forget(self, workflow_id: str) -> None:
        """Let go of a workflow in this process; the platform keeps it as long as any."""
        self._runs.pop(workflow_id, None)

    def learn(self) -> int:
        """Let the platform train on all that is known; return how many records that is."""
        return self._calls.learn()

    def flush(self, timeout_s: float) -> bool:
        """Wait until the platform's history has all of this user's."""
        left_s = timeout_s
        while True:
            wait_s = max(0.0, min(left_s, ASK_FOR_S))
            if self._calls.flushed(wait_s):
                return True
            left_s -= wait_s
            if left_s <= 0.0:
                return False

    def close(self) -> None:
        """End all connections; workflows go on."""
        self._calls.close()

    def _handle(self, run: RemoteRun) -> Workflow:
        return Workflow(run, lambda _: run.cancel(), lambda _: run.mlflow_url, _log_model, _same)

    def _probed(self, prepared: PreparedSweep) -> list[str]:
        """Try a few fits on a sample of the rows; return the workflows that did."""
        told = self._calls.estimates(to_json(prepared.submission), [])
        cast = _forecast(prepared, told)
        probes = [
            self.submit(small, probe=False, detach=True)
            for small in probe_sweeps(prepared, cast.estimates)
        ]
        return [probe.wait().id for probe in probes]


def pools_to(pools: Sequence[Pool]) -> list[dict[str, Any]]:
    """Return pools as plain JSON values."""
    return [asdict(pool) for pool in pools]


def pools_from(told: Sequence[Mapping[str, Any]]) -> tuple[Pool, ...]:
    """Return what :func:`pools_to` told."""
    known = {field.name for field in fields(Pool)}
    return tuple(
        Pool(**{name: value for name, value in one.items() if name in known}) for one in told
    )


def _forecast(prepared: PreparedSweep, told: Mapping[str, Any]) -> SweepForecast:
    try:
        estimates, final = estimates_from_json(prepared.submission.fits, told["estimates"])
        start_s = float(told["process_start_s"])
    except (DamagedError, KeyError, TypeError, ValueError) as error:
        raise BrokerError(
            f"the platform's forecast can't be read ({error}): use the version of fitcast that it "
            "has"
        ) from error
    return SweepForecast(prepared.submission, None, estimates, final, start_s)


def _same(run: Followed) -> Followed:
    return run


def _log_model(*_: Any, **__: Any) -> NoReturn:
    raise FitcastError(
        "the platform's MLflow is written by the platform alone: log the model into a store of "
        "your own with mlflow.sklearn.log_model(result.best_estimator_)"
    )
