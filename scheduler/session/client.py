"""The client: forecasts sweeps, submits them, keeps what belongs to them, and cleans up."""

import atexit
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from uuid import uuid4

from fitcast.errors import FitcastError, HistoryError
from fitcast.history.mlflow_models import MlflowModels
from fitcast.history.mlflow_store import MlflowHistory
from fitcast.history.records import Record
from fitcast.history.store import AttemptLog, HistoryStore, WorkflowRun
from fitcast.history.tracking_uri import sqlite_path
from fitcast.history.writer import HistoryWriter
from fitcast.scheduler.backends.chosen import backend_of_settings
from fitcast.scheduler.backends.local import LocalBackend
from fitcast.scheduler.backends.protocol import Backend, Workers
from fitcast.scheduler.forecast.probes import probe_sweeps
from fitcast.scheduler.forecast.sweep_forecast import SweepEstimate, forecast_sweep
from fitcast.scheduler.plan.pools import Pool, check_pools, planned_workers
from fitcast.scheduler.run.dispatcher import Dispatcher
from fitcast.scheduler.run.runs import FitRow, Run
from fitcast.scheduler.session.learning import Learner
from fitcast.scheduler.session.leases import Lease, memory_root
from fitcast.scheduler.session.workflow import Workflow
from fitcast.settings import Settings
from fitcast.sizing.learning.model import SizingModel
from fitcast.trainer.attempt.spec import Measured
from fitcast.trainer.machine_speed import machine_speed
from fitcast.trainer.sealing import new_key, remove, seal

if TYPE_CHECKING:
    from fitcast.trainer.sweep.prepared import Sweep


class Client:
    """Runs sweeps on this machine.

    Use it as a context manager, or `close` it: no process, port or shared memory stays behind.

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

    Raises
    ------
    InvalidPoolError
        The pools don't fit this machine.
    HistoryError
        The tracking URI can't be one.
    """

    def __init__(
        self,
        backend: Backend | None = None,
        *,
        home: str | Path | None = None,
        tracking_uri: str | None = None,
        history: HistoryStore | None = None,
    ) -> None:
        if isinstance(backend, str):
            raise FitcastError(
                "shared platforms can't be reached yet: leave the address out to use this machine"
            )
        settings = Settings() if home is None else Settings(home=Path(home))
        folder = settings.ensure_home()
        self.tracking_uri = tracking_uri or settings.tracking_uri
        store = history or MlflowHistory(self.tracking_uri, settings.experiment)
        self._closed = False
        self._runs: dict[str, Run] = {}
        self._lock = threading.Lock()
        self._troubles: list[str] = []
        self._backend = backend or backend_of_settings()
        self._keys = Lease(memory_root())
        self._sealed = Lease(folder / "datasets")
        self._store = store
        models = MlflowModels(store) if isinstance(store, MlflowHistory) else None
        self._learner = Learner(store, folder / "records", self._tell, models)
        self._trainings: list[threading.Thread] = []
        database = sqlite_path(self.tracking_uri) if history is None else None
        if database is not None and not database.exists():
            self._learner.expect_nothing()
        self._writer = HistoryWriter(store, folder / "outbox", on_trouble=self._tell)
        workers = self._backend.shared()
        self._shared = None if workers is None else self._dispatcher(workers)
        self._own: dict[str, Dispatcher] = {}  # by workflow, where each has its own workers
        self._endings: list[threading.Thread] = []
        self._speed: Future[float] = Future()
        threading.Thread(
            target=self._measure_speed, args=(folder,), name="fitcast-speed", daemon=True
        ).start()
        self._loading = threading.Thread(target=self._load, name="fitcast-history", daemon=True)
        self._loading.start()
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

    @property
    def troubles(self) -> tuple[str, ...]:
        """What the user was told about the history: unreachable, disk full, sent later."""
        return tuple(self._troubles)

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
        there = self._backend.pools if pools is None else check_pools(pools)
        ready_in_s = self._ready_in_s() if pools is None else 0.0
        model = self._probed(sweep) if probe else self._model()
        cast = forecast_sweep(model, sweep, planned_workers(there))
        return cast.estimate(there, ready_in_s)

    def submit(self, sweep: "Sweep", *, probe: bool = False) -> Workflow:
        """Start a sweep and return at once with a handle on it.

        Parameters
        ----------
        sweep : Sweep
            What to run.
        probe : bool
            As in `estimate`; it then returns once the probes are done.

        Raises
        ------
        InvalidInputError
            The sweep can't be run as it is; nothing was started.
        """
        if self._closed:
            raise FitcastError("this client was closed: make a new one")
        workers = self._backend.workers()
        cast = forecast_sweep(self._probed(sweep) if probe else self._model(), sweep, workers)
        now = datetime.now(UTC)
        run = Run(
            workflow_id=f"{now:%Y%m%d-%H%M%S}-{uuid4().hex[:8]}",
            prepared=cast.prepared,
            correction=cast.correction,
            rows={
                fit.fit_id: FitRow(fit, cast.estimates[fit.fit_id]) for fit in cast.prepared.fits
            },
            final_estimate=cast.final,
            submitted_at=now,
        )
        with self._lock:
            self._runs[run.workflow_id] = run
        self._writer.start_workflow(
            WorkflowRun(
                workflow_id=run.workflow_id,
                name=cast.prepared.name,
                started_at=now,
                tags={"fitcast.dataset": cast.prepared.dataset},
                params={
                    "candidates": len(cast.prepared.candidates),
                    "splits": cast.prepared.n_splits,
                    "fits": len(cast.prepared.fits),
                },
            )
        )
        ready_in_s = self._ready_in_s()
        threading.Thread(target=self._seal_and_go, args=(run,), daemon=True).start()
        # The first fits start meanwhile.
        run.forecast_made(cast.plan(workers, ready_in_s)[0])
        return self._handle(run)

    def workflow(self, workflow_id: str) -> Workflow:
        """Return the handle of a workflow submitted by this client."""
        with self._lock:
            run = self._runs.get(workflow_id)
        if run is None:
            raise FitcastError(
                f"this client has no workflow {workflow_id!r}; workflows() lists those it has"
            )
        return self._handle(run)

    def workflows(self) -> list[Workflow]:
        """Return the workflows submitted by this client, oldest first."""
        with self._lock:
            return [self._handle(run) for run in self._runs.values()]

    def learn(self) -> int:
        """Train on all that is known now; return how many records that is."""
        self._learner.train()
        return self._learner.model().record_count

    def flush(self, timeout_s: float = 60.0) -> bool:
        """Wait until the history has everything; False if it hasn't after `timeout_s`."""
        until = time.monotonic() + timeout_s
        with self._lock:
            over = [run for run in self._runs.values() if run.is_over]
        for run in over:  # one that is over a moment ago may not have been handed on yet
            run.noted.wait(max(0.0, until - time.monotonic()))
        return self._writer.flush(max(0.0, until - time.monotonic()))

    def close(self) -> None:
        """Cancel what runs, end every process, send the history what it lacks, clean up."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        with self._lock:
            dispatchers = [*self._own.values(), *filter(None, (self._shared,))]
        for dispatcher in dispatchers:
            dispatcher.close()
        with self._lock:
            endings = list(self._endings)
        for thread in endings:
            thread.join(60)
        self._backend.close()
        for run in self._runs.values():
            if not run.is_over:
                run.end("cancelled", FitcastError("the client was closed"))
        for thread in (self._loading, *self._trainings):
            thread.join(30)
        self._writer.close(30)
        self._keys.close()
        self._sealed.close()

    # -- behind the scenes -----------------------------------------------------------------------

    def _model(self) -> SizingModel:
        here = self._speed.result(60)
        speed = here if self._shared is not None else self._backend.machine_speed
        return self._learner.model().for_machine(speed)

    def _probed(self, sweep: "Sweep") -> SizingModel:
        """Return the model with what probes of a sweep told."""
        model = self._model()
        cast = forecast_sweep(model, sweep, self._backend.workers())
        probes = [self.submit(small) for small in probe_sweeps(cast.prepared, cast.estimates)]
        for probe in probes:
            probe.wait()
        records = [r for probe in probes for r in self._runs[probe.id].records]
        return model.train(records)

    def _measure_speed(self, folder: Path) -> None:
        speed = 0.0  # unknown
        with suppress(Exception):
            speed = machine_speed(folder / "machine_speed.json")
        if isinstance(self._backend, LocalBackend):
            self._backend.machine_speed = speed
        self._speed.set_result(speed)

    def _handle(self, run: Run) -> Workflow:
        return Workflow(run, self._cancel, self._url)

    def _cancel(self, workflow_id: str) -> None:
        run = self._runs[workflow_id]
        if run.sealed is None:
            run.end("cancelled", FitcastError(f"workflow {workflow_id} was cancelled"))
        own = self._own.get(workflow_id)
        if own is not None and run.state == "preparing":  # its workers may take long to come
            run.end("cancelled", FitcastError(f"workflow {workflow_id} was cancelled"))
            own.close()
        dispatcher = self._shared or own
        if dispatcher is not None:
            dispatcher.cancel(workflow_id)

    def _url(self, workflow_id: str) -> str | None:
        self._writer.flush(30)
        return self._writer.url(workflow_id)

    def _tell(self, trouble: str) -> None:
        self._troubles.append(trouble)
        print(f"fitcast: {trouble}", file=sys.stderr)  # noqa: T201

    def _load(self) -> None:
        try:
            self._store.prepare()
        except HistoryError as error:
            self._tell(f"{error} Fits run all the same; their records are kept and sent later.")
        with suppress(HistoryError):
            self._learner.load()

    def _seal_and_go(self, run: Run) -> None:
        try:
            key = new_key()
            root = self._backend.dataset_root or str(self._sealed.path)
            uri = f"{root.rstrip('/')}/{run.workflow_id}.sealed"
            sealed = seal(run.prepared.content, uri, key, workflow_id=run.workflow_id)
            if self._shared is not None:
                for ending, content in ((".key", key), (".uri", uri.encode())):
                    path = self._keys.path / f"{sealed.dataset_id}{ending}"
                    path.touch(mode=0o600)
                    path.write_bytes(content)
            run.sealed = sealed
        except (FitcastError, OSError) as error:
            known = error if isinstance(error, FitcastError) else None
            run.end("failed", known or FitcastError(f"the dataset can't be sealed: {error}"))
        (self._shared or self._dispatcher_of(run, key)).submit(run)

    def _dispatcher(self, workers: Workers, run: Run | None = None) -> Dispatcher:
        def trouble(notes: tuple[str, ...]) -> None:
            if run is not None:
                run.notes = notes

        return Dispatcher(
            workers,
            tuple(self._backend.pools),
            self._keys.path,
            on_attempt=self._note,
            on_close=self._finish,
            on_trouble=trouble,
        )

    def _dispatcher_of(self, run: Run, key: bytes) -> Dispatcher:
        """Return what runs a workflow on workers of its own."""
        assert run.sealed is not None
        workers = self._backend.for_workflow(run.sealed, key)
        with self._lock:
            dispatcher = self._own[run.workflow_id] = self._dispatcher(workers, run)
        return dispatcher

    def _ready_in_s(self) -> float:
        return self._backend.start_s if self._shared is None else self._shared.ready_in_s()

    def _note(self, run: Run, record: Record, measured: Measured) -> None:
        run.correction.observe(f"c{record.candidate_index:04d}-f{record.fold}", record)
        log = AttemptLog(
            record_id=record.record_id,
            stdout=measured.stdout,
            stderr=measured.stderr,
            warnings=measured.warnings,
            traceback=measured.traceback,
        )
        self._writer.add(record, log)
        self._learner.add([record])

    def _finish(self, run: Run) -> None:
        if run.sealed is not None:
            with suppress(FitcastError, OSError):
                remove(run.sealed.uri)
            for ending in (".key", ".uri"):
                (self._keys.path / f"{run.sealed.dataset_id}{ending}").unlink(missing_ok=True)
        ended_at = run.ended_at or datetime.now(UTC)
        took_s = (ended_at - run.submitted_at).total_seconds()
        self._writer.finish_workflow(
            run.workflow_id,
            state=run.state,
            summary_metrics={
                "makespan_s": took_s,
                "forecast_makespan_s_p10": run.forecast_eta.p10_s,
                "forecast_makespan_s": run.forecast_eta.p50_s,
                "forecast_makespan_s_p90": run.forecast_eta.p90_s,
                "fits_runtime_s": sum(record.runtime_s for record in run.records),
                "attempts": float(len(run.records)),
            },
            ended_at=ended_at,
        )
        run.noted.set()
        with self._lock:
            dispatcher = self._own.pop(run.workflow_id, None)
            if dispatcher is not None:  # this is its own thread, which can't end itself
                thread = threading.Thread(target=dispatcher.close, name="fitcast-end", daemon=True)
                thread.start()
                self._endings = [*filter(threading.Thread.is_alive, self._endings), thread]
        training = threading.Thread(
            target=self._learner.train, name="fitcast-training", daemon=True
        )
        self._trainings = [thread for thread in self._trainings if thread.is_alive()]
        self._trainings.append(training)
        training.start()
