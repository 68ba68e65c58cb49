"""A client's own engine: sweeps run on this machine, or wherever its backend has workers.

In: what an engine, the background process and the folders of workflows do for a client. Not in:
what users see of it (:mod:`fitcast.scheduler.session.client`).
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from fitcast.errors import FitcastError, InvalidInputError, WorkflowHeldError
from fitcast.history.store import HistoryStore
from fitcast.scheduler.backends.chosen import backend_of_settings
from fitcast.scheduler.backends.local import LocalBackend
from fitcast.scheduler.backends.protocol import Backend
from fitcast.scheduler.forecast.probes import probe_sweeps
from fitcast.scheduler.forecast.sweep_estimate import SweepEstimate, estimate_of
from fitcast.scheduler.forecast.sweep_forecast import forecast_sweep
from fitcast.scheduler.plan.pools import Pool, check_pools, planned_workers
from fitcast.scheduler.run.followed import Followed
from fitcast.scheduler.session.background.starting import hand_over, started
from fitcast.scheduler.session.distant import DistantRun
from fitcast.scheduler.session.following import Following
from fitcast.scheduler.session.opening import engine_of
from fitcast.scheduler.session.workflow import Workflow
from fitcast.settings import Settings
from fitcast.sizing.learning.model import SizingModel
from fitcast.trainer.surroundings import Began, surroundings

if TYPE_CHECKING:
    from fitcast.trainer.sweep.prepared import Sweep


class OwnPlatform:
    """Runs sweeps; implements :class:`fitcast.scheduler.session.platform.Platform`.

    Parameters
    ----------
    settings : Settings
        Of a home that is there.
    backend : Backend, optional
        Where fits run; by default as the settings say.
    history : HistoryStore, optional
        Another store than that of the settings.
    start_workers : bool
        As :class:`fitcast.scheduler.session.engine.Engine` takes it.
    """

    def __init__(
        self,
        settings: Settings,
        backend: Backend | None,
        history: HistoryStore | None,
        *,
        start_workers: bool,
    ) -> None:
        self.tracking_uri = settings.tracking_uri
        self.following = Following(settings.home)
        self._settings = settings
        self._backend = backend or backend_of_settings()
        self._began = Began.now() if isinstance(self._backend, LocalBackend) else None
        self._has_own_history = history is not None
        self.engine = engine_of(
            settings, self._backend, history=history, start_workers=start_workers
        )

    @property
    def troubles(self) -> tuple[str, ...]:
        """What the user was told about the history: unreachable, disk full, sent later."""
        return tuple(self.engine.troubles)

    def estimate(
        self, sweep: "Sweep", pools: Sequence[Pool] | None, *, probe: bool
    ) -> SweepEstimate:
        """Forecast a sweep."""
        there = self.engine.pools if pools is None else check_pools(pools)
        ready_in_s = self.engine.ready_in_s() if pools is None else 0.0
        model = self._probed(sweep) if probe else self.engine.model()
        cast = forecast_sweep(model, sweep.prepare().submission, planned_workers(there))
        if pools is None:
            cast = self.engine.beside_others(cast)
        return estimate_of(cast, there, ready_in_s)

    def submit(self, sweep: "Sweep", *, probe: bool, detach: bool) -> Workflow:
        """Start a sweep."""
        if detach:
            self._check_detachable()
        around = surroundings(self._began)
        elsewhere = around if self._began is None else surroundings(Began.elsewhere())
        prepared = sweep.prepare(recheck=True)
        model = self._probed(sweep) if probe else self.engine.model()
        cast = forecast_sweep(model, prepared.submission, self.engine.workers())
        cast = self.engine.beside_others(cast)
        if detach:
            started(self._settings)  # before anything is kept: it may not be possible
            workflow_id = self.engine.accept(cast, prepared, around, elsewhere)
            hand_over(workflow_id, self._settings)
            return self._handle(self.following.run(workflow_id))
        run = self.engine.submit(cast, prepared, around, elsewhere)
        try:
            eta = self.engine.eta(cast)
            run.captured.wait()
            self.engine.note_forecast(run, eta)
        except BaseException:  # an interrupt, above all: nothing half submitted goes on
            run.forecast.cancel()
            self.engine.cancel(run.workflow_id)
            raise
        return self._handle(run)

    def resume(self, workflow_id: str, sweep: "Sweep | None") -> Workflow:
        """Go on with a workflow whose client ended before it did."""
        known = self.engine.run(workflow_id)
        if known is not None and not known.is_over:
            return self._handle(known)
        prepared = None if sweep is None else sweep.prepare(recheck=True)
        return self._handle(self.engine.resume(workflow_id, prepared))

    def workflow(self, workflow_id: str) -> Workflow:
        """Return the handle of a workflow of this client, or of another process."""
        return self._handle(self.engine.run(workflow_id) or self.following.run(workflow_id))

    def workflows(self) -> list[Workflow]:
        """Return the workflows of this client and those of other processes, oldest first."""
        here: dict[str, Followed] = {run.workflow_id: run for run in self.engine.runs()}
        for workflow_id in self.following.ids():
            if workflow_id not in here:
                with suppress(FitcastError):
                    here[workflow_id] = self.following.run(workflow_id)
        return [self._handle(here[workflow_id]) for workflow_id in sorted(here)]

    def remove(self, workflow_id: str) -> None:
        """Remove all that is kept of a workflow that nobody runs."""
        self.following.remove(workflow_id)

    def forget(self, workflow_id: str) -> None:
        """Let go of a workflow and its data once it is over."""
        self.engine.forget(workflow_id)

    def learn(self) -> int:
        """Train on all that is known now; return how many records that is."""
        return self.engine.learn()

    def flush(self, timeout_s: float) -> bool:
        """Wait until the history has everything; False if it hasn't after `timeout_s`."""
        return self.engine.flush(timeout_s)

    def close(self) -> None:
        """Interrupt what runs, end every process, send the history what it lacks, clean up."""
        self.engine.close()

    def _handle(self, run: Followed) -> Workflow:
        engine = self.engine
        cancel = (lambda _: run.cancel()) if isinstance(run, DistantRun) else engine.cancel
        return Workflow(run, cancel, engine.url, engine.log_model, self._detach)

    def _detach(self, run: Followed) -> Followed:
        """Leave a workflow to the background process; return it as it is followed from then on."""
        here, workflow_id = self.engine.run(run.workflow_id), run.workflow_id
        if run.is_over and run.view().state != "interrupted":
            return run
        if here is None and not run.is_over:  # another process runs it
            if isinstance(run, DistantRun) and run.is_told:
                return run
            raise WorkflowHeldError(
                f"workflow {workflow_id} is run by another client: detach there"
            )
        self._check_detachable()
        started(self._settings)  # before it ends here
        if here is not None and self.engine.interrupt(workflow_id).state != "interrupted":
            return here  # it had ended by then
        hand_over(workflow_id, self._settings)
        return self.following.run(workflow_id)

    def _check_detachable(self) -> None:
        """Check that the background process can do the same as this client."""
        if self._has_own_history:
            raise InvalidInputError(
                "this client has a history of its own, which no other process can have: give "
                "tracking_uri in its place to detach"
            )
        if type(self._backend) is not type(backend_of_settings()):
            raise InvalidInputError(
                "the background process has workers where the settings say "
                "(FITCAST_KUBERNETES_IMAGE and others), and this client has others: set these"
            )

    def _probed(self, sweep: "Sweep") -> SizingModel:
        """Return the model with what probes of a sweep told."""
        model = self.engine.model()
        prepared = sweep.prepare()
        cast = forecast_sweep(model, prepared.submission, self.engine.workers())
        probes = [
            self.submit(small, probe=False, detach=False)
            for small in probe_sweeps(prepared, cast.estimates)
        ]
        return model.train([record for probe in probes for record in probe.wait().records])
