"""The client: forecasts sweeps, submits them, gives handles on them, and cleans up."""

import atexit
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar

from fitcast.errors import FitcastError, InvalidInputError, WorkflowHeldError
from fitcast.history.store import HistoryStore
from fitcast.scheduler.backends.chosen import backend_of_settings
from fitcast.scheduler.backends.local import LocalBackend
from fitcast.scheduler.backends.protocol import Backend
from fitcast.scheduler.forecast.probes import probe_sweeps
from fitcast.scheduler.forecast.sweep_forecast import SweepEstimate, forecast_sweep
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


class Client:
    """Runs sweeps on this machine, or wherever its backend has workers.

    Use it as a context manager, or `close` it: no process, port or shared memory stays behind.
    It is a handle: a copy is the same client, and a pickle of what holds it holds None instead.

    Parameters
    ----------
    backend : LocalBackend or KubernetesBackend, optional
        Where fits run; by default all that this process may use of this machine, or pods if
        ``FITCAST_KUBERNETES_IMAGE`` is set.
    home : path, optional
        Where state lives; by default ``FITCAST_HOME``, else ``~/.fitcast``.
    tracking_uri : str, optional
        The MLflow store; by default ``MLFLOW_TRACKING_URI``, else SQLite under `home`.
    history : HistoryStore, optional
        Another store in its place, for example ``MemoryHistory()`` to leave nothing behind.
    start_workers : bool
        Whether workers of this machine are started at once, to be there when they are needed; if
        not, with the first workflow that runs here.

    Raises
    ------
    InvalidPoolError
        The pools don't fit this machine.
    HistoryError
        The tracking URI can't be one.
    """

    _first_made_in: ClassVar[int | None] = None  # process, also of those that were forked from it

    def __init__(
        self,
        backend: Backend | None = None,
        *,
        home: str | Path | None = None,
        tracking_uri: str | None = None,
        history: HistoryStore | None = None,
        start_workers: bool = True,
    ) -> None:
        if isinstance(backend, str):
            raise FitcastError(
                "shared platforms can't be reached yet: leave the address out to use this machine"
            )
        Client._first_made_in = Client._first_made_in or os.getpid()
        chosen = {"home": None if home is None else Path(home), "tracking_uri": tracking_uri}
        settings = Settings(**{name: value for name, value in chosen.items() if value})
        settings.ensure_home()
        self.tracking_uri = settings.tracking_uri
        self._settings = settings
        self._closed = False
        backend = backend or backend_of_settings()
        self._began = Began.now() if isinstance(backend, LocalBackend) else None
        self._backend = backend
        self._has_own_history = history is not None
        self._following = Following(settings.home)
        self._engine = engine_of(settings, backend, history=history, start_workers=start_workers)
        atexit.register(self.close)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # It is a handle: cloning or copying what holds it copies neither workers nor threads, and in a
    # pickle it is None, since another process can't use it.

    def __sklearn_clone__(self) -> "Client":
        return self

    def __copy__(self) -> "Client":
        return self

    def __deepcopy__(self, memo: object) -> "Client":
        return self

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()

    @property
    def is_closed(self) -> bool:
        """Whether it takes nothing any more."""
        return self._closed

    @property
    def home(self) -> Path:
        """Where state lies."""
        return self._settings.home

    @property
    def troubles(self) -> tuple[str, ...]:
        """What the user was told about the history: unreachable, disk full, sent later."""
        return tuple(self._engine.troubles)

    def estimate(
        self, sweep: "Sweep", *, pools: Sequence[Pool] | None = None, probe: bool = False
    ) -> SweepEstimate:
        """Forecast a sweep; nothing is run unless it is probed.

        Parameters
        ----------
        sweep : Sweep
            What would be submitted.
        pools : sequence of Pool, optional
            Other workers than this client's, to see what they would change; they need not exist.
        probe : bool
            Whether a few fits may be tried on a sample of the rows first, where the forecast is
            unsure and the sweep long enough: it takes about 3 % of what the sweep does.

        Raises
        ------
        InvalidInputError
            The sweep can't be run as it is; `InvalidPoolError` if the pools contradict themselves,
            `FitTooLargeError` if no worker could hold a fit.
        """
        there = self._engine.pools if pools is None else check_pools(pools)
        ready_in_s = self._engine.ready_in_s() if pools is None else 0.0
        model = self._probed(sweep) if probe else self._engine.model()
        cast = forecast_sweep(model, sweep.prepare().submission, planned_workers(there))
        return cast.estimate(there, ready_in_s)

    def submit(self, sweep: "Sweep", *, probe: bool = False, detach: bool = False) -> Workflow:
        """Start a sweep and return a handle on it.

        It returns once the dataset is encrypted: the data, and whatever else the sweep was made of,
        may be changed from then on. That takes about a second per gigabyte; the first fits start
        meanwhile. scikit-learn's configuration and the filters of warnings that are in force here
        are in force in the fits.

        Parameters
        ----------
        sweep : Sweep
            What to run.
        probe : bool
            As in `estimate`; it then returns once the probes are done.
        detach : bool
            Whether the background process of this home runs it, which outlives this one.

        Raises
        ------
        InvalidInputError
            The sweep can't be run as it is; nothing was started.
        BackgroundError
            The background process can't be started, or was started with other settings.
        """
        if self._closed:
            raise FitcastError("this client was closed: make a new one")
        if detach:
            self._check_detachable()
        around = surroundings(self._began)
        elsewhere = around if self._began is None else surroundings(Began.elsewhere())
        prepared = sweep.prepare(recheck=True)
        model = self._probed(sweep) if probe else self._engine.model()
        cast = forecast_sweep(model, prepared.submission, self._engine.workers())
        if detach:
            started(self._settings)  # before anything is kept: it may not be possible
            workflow_id = self._engine.accept(cast, prepared, around, elsewhere)
            hand_over(workflow_id, self._settings)
            return self._handle(self._following.run(workflow_id))
        run = self._engine.submit(cast, prepared, around, elsewhere)
        try:
            eta = self._engine.eta(cast)
            run.captured.wait()
            self._engine.note_forecast(run, eta)
        except BaseException:  # an interrupt, above all: nothing half submitted goes on
            run.forecast.cancel()
            self._engine.cancel(run.workflow_id)
            raise
        return self._handle(run)

    def resume(self, workflow_id: str, sweep: "Sweep | None" = None) -> Workflow:
        """Go on with a workflow whose client ended before it did, and return a handle on it.

        Only fits without a kept result run again. Its data is what it was at submission.

        Parameters
        ----------
        workflow_id : str
            Its id; `workflows` lists those there are.
        sweep : Sweep, optional
            What it was made of, in case its dataset is gone; it must be the same.

        Raises
        ------
        SubmissionError
            There is none, it has ended, it runs in another process, or what is kept of it is gone,
            damaged or of a newer fitcast. Nothing was started.
        SealError
            What is sealed of it was altered.
        """
        if self._closed:
            raise FitcastError("this client was closed: make a new one")
        known = self._engine.run(workflow_id)
        if known is not None and not known.is_over:
            return self._handle(known)
        prepared = None if sweep is None else sweep.prepare(recheck=True)
        return self._handle(self._engine.resume(workflow_id, prepared))

    def workflow(self, workflow_id: str) -> Workflow:
        """Return the handle of a workflow of this client, or of another process.

        It is live if the background process of this home, or another client, runs it.

        Raises
        ------
        SubmissionError
            There is none, or what is kept of it can't be read.
        """
        return self._handle(self._engine.run(workflow_id) or self._following.run(workflow_id))

    def workflows(self) -> list[Workflow]:
        """Return the workflows of this client and those of other processes, oldest first.

        Those of which what is kept can't be read are left out.
        """
        here: dict[str, Followed] = {run.workflow_id: run for run in self._engine.runs()}
        for workflow_id in self._following.ids():
            if workflow_id not in here:
                with suppress(FitcastError):
                    here[workflow_id] = self._following.run(workflow_id)
        return [self._handle(here[workflow_id]) for workflow_id in sorted(here)]

    def remove(self, workflow_id: str) -> None:
        """Remove all that is kept of a workflow that has ended, or that nobody runs.

        Raises
        ------
        SubmissionError
            There is none, or a process runs it.
        StoreError
            It can't be removed.
        """
        self._following.remove(workflow_id)

    def forget(self, workflow: Workflow) -> None:
        """Let go of a workflow and its data once it is over: handles alone hold it then.

        A client that goes on for long would otherwise keep the data of all that it ran.
        """
        self._engine.forget(workflow.id)

    def learn(self) -> int:
        """Train on all that is known now; return how many records that is."""
        return self._engine.learn()

    def flush(self, timeout_s: float = 60.0) -> bool:
        """Wait until the history has everything; False if it hasn't after `timeout_s`."""
        return self._engine.flush(timeout_s)

    def close(self) -> None:
        """Interrupt what runs, end every process, send the history what it lacks, clean up.

        `resume` goes on with what was interrupted, unless `forget` has let go of it; what the
        background process runs goes on meanwhile.
        """
        if not self._closed:
            self._closed = True
            atexit.unregister(self.close)
            self._engine.close()

    def _handle(self, run: Followed) -> Workflow:
        engine = self._engine
        cancel = (lambda _: run.cancel()) if isinstance(run, DistantRun) else engine.cancel
        return Workflow(run, cancel, engine.url, engine.log_model, self._detach)

    def _detach(self, run: Followed) -> Followed:
        """Leave a workflow to the background process; return it as it is followed from then on."""
        here, workflow_id = self._engine.run(run.workflow_id), run.workflow_id
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
        if here is not None and self._engine.interrupt(workflow_id).state != "interrupted":
            return here  # it had ended by then
        hand_over(workflow_id, self._settings)
        return self._following.run(workflow_id)

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
        model = self._engine.model()
        prepared = sweep.prepare()
        cast = forecast_sweep(model, prepared.submission, self._engine.workers())
        probes = [self.submit(small) for small in probe_sweeps(prepared, cast.estimates)]
        return model.train([record for probe in probes for record in probe.wait().records])


def is_forked_from_clients() -> bool:
    """Tell whether this process was forked from one that had made a client."""
    return Client._first_made_in not in (None, os.getpid())
