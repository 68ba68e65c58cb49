"""What runs workflows: dispatchers, the history, what is learned from it, datasets and their keys.

In: which dispatcher gets a workflow, and the steps of its life that are not fits. Not in: what
users see (:mod:`fitcast.scheduler.session.client`), the order of these steps
(:mod:`fitcast.scheduler.plan.lifecycle`).
"""

import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from fitcast.errors import HistoryError
from fitcast.history.locked_folders import memory_root
from fitcast.history.records import REFIT_FOLD, Record
from fitcast.history.store import HistoryStore
from fitcast.scheduler.backends.host_load import HostLoad
from fitcast.scheduler.backends.protocol import Backend, Workers
from fitcast.scheduler.forecast.availability import NO_LOAD, OthersLoad
from fitcast.scheduler.forecast.eta import Eta
from fitcast.scheduler.forecast.sweep_forecast import SweepForecast, forecast_sweep
from fitcast.scheduler.kept.freed_memory import large_blocks_apart, large_blocks_together
from fitcast.scheduler.kept.results import Ended
from fitcast.scheduler.plan.pool_sizes import Allotment
from fitcast.scheduler.plan.pools import Pool, WorkerSize
from fitcast.scheduler.run.dispatcher import Dispatcher
from fitcast.scheduler.run.executor import Executor
from fitcast.scheduler.run.runs import Run
from fitcast.scheduler.run.steps import Kept
from fitcast.scheduler.session.keeping import Keeper, eta_at_submission, run_of
from fitcast.scheduler.session.learning import Learner
from fitcast.scheduler.session.leases import Lease
from fitcast.scheduler.session.recording import Recorder
from fitcast.sizing.learning.model import SizingModel
from fitcast.trainer.attempt.spec import RESULT_BYTES, Measured
from fitcast.trainer.machine_speed import machine_speed
from fitcast.trainer.sweep.prepared_sweep import PreparedSweep

END_WITHIN_S = 30.0
"""So long `close` waits for what goes on beside workflows: reading, learning, writing."""


class Engine:
    """Runs workflows; implements :class:`fitcast.scheduler.run.steps.Steps`.

    Parameters
    ----------
    backend : Backend
        Where fits run.
    home : Path
        Folder for what is kept.
    store : HistoryStore
        The history.
    is_new : bool
        Whether the history is only being made: nobody waits for what it knows.
    checked : bool
        Whether plans are checked after every event, for tests.
    keep_messages : bool
        Whether messages and output of fits go into the history.
    result_bytes : int
        What the result of a fit may take.
    keep_days : float
        For how long what is kept of workflows stays that nobody runs.
    start_workers : bool
        Whether workers that workflows share are started now, and not with the first that runs here.
    """

    def __init__(
        self,
        backend: Backend,
        home: Path,
        store: HistoryStore,
        *,
        is_new: bool,
        checked: bool,
        keep_messages: bool = True,
        result_bytes: int = RESULT_BYTES,
        keep_days: float = 30.0,
        start_workers: bool = True,
    ) -> None:
        self.troubles: list[str] = []
        self._backend = backend
        self._home = home
        self._store = store
        self._checked = checked
        self.result_bytes = result_bytes
        self._lock = threading.Lock()
        self._runs: dict[str, Run] = {}
        self._prepared: dict[str, PreparedSweep] = {}  # until they are sealed
        self._weights: dict[str, float] = {}  # by user, where they share workers
        self._forgotten: set[str] = set()  # workflows that nobody will ask for once they are closed
        self._keys = Lease(memory_root())
        self._keep_days = keep_days
        self._keeper = Keeper(home / "workflows", self._not_kept)
        self._learner = Learner(store, home / "records", self._tell, store.models)
        if is_new:
            self._learner.expect_nothing()
        self._recorder = Recorder(
            store, home / "outbox", keep_messages=keep_messages, on_trouble=self._tell
        )
        self._own: dict[str, Dispatcher] = {}  # by workflow, where each has its own workers
        workers = backend.shared()
        self._shared_workers = workers
        self._host_load = None if workers is None else HostLoad()
        self._shared: Dispatcher | None = None  # once they are started
        if workers is not None and start_workers:
            self._shared = self._dispatcher(workers)
        self._speed: Future[float] = Future()
        self._background = Executor("fitcast-background", threads=3)
        self._background.submit(self._measure_speed)
        self._background.submit(self._load)

    # -- workflows -------------------------------------------------------------------------------

    def submit(
        self,
        cast: SweepForecast,
        prepared: PreparedSweep,
        around: bytes = b"",
        around_elsewhere: bytes = b"",
    ) -> Run:
        """Take a forecast sweep in, with what its fits' code has around it; return at once."""
        run = self._new_run(cast, prepared, around, around_elsewhere)
        self._prepared[run.workflow_id] = prepared
        self._run(run, cast)
        return run

    def accept(
        self, cast: SweepForecast, prepared: PreparedSweep, around: bytes, around_elsewhere: bytes
    ) -> str:
        """Take a forecast sweep in for another process to run; return its id once it is sealed.

        Raises
        ------
        StoreError, SealError
            It can't be kept. Nothing of it is left then.
        """
        run = self._new_run(cast, prepared, around, around_elsewhere)
        self._keeper.take_in(run, prepared, self._dataset_uri(run))
        self.note_forecast(run, self.eta(cast))
        self._keeper.let_go(run)
        return run.workflow_id

    def _new_run(
        self, cast: SweepForecast, prepared: PreparedSweep, around: bytes, around_elsewhere: bytes
    ) -> Run:
        now = datetime.now(UTC)
        run = Run(
            workflow_id=f"{now:%Y%m%d-%H%M%S}-{uuid4().hex[:8]}",
            submission=prepared.submission,
            objects=prepared,
            jobs=prepared.jobs,
            surroundings=around,
            correction=cast.correction,
            estimates=cast.estimates,
            final_estimate=cast.final,
            submitted_at=now,
        )
        run.surroundings_elsewhere = around_elsewhere
        run.result_bytes = self.result_bytes
        return run

    def resume(
        self,
        workflow_id: str,
        prepared: PreparedSweep | None = None,
        key: bytes | None = None,
        *,
        share_of: str = "",
        priority: int = 0,
    ) -> Run:
        """Go on with a workflow of an earlier process: with the fits that have no result yet.

        Parameters
        ----------
        workflow_id
            Which.
        prepared
            What it was made of, in case its dataset is gone.
        key
            Its key, where that isn't kept in its folder.
        share_of
            The user whose share of the workers it has; see `share_by`.
        priority
            Within that user's own work: larger goes first.

        Raises
        ------
        SubmissionError, SealError
            It can't be gone on with.
        """
        opened = self._keeper.opened(workflow_id, prepared, key)
        try:
            accepted = opened.accepted
            cast = forecast_sweep(
                self.model(),
                accepted.submission,
                self.workers(),
                seen=[(one.fit_id, one.record) for one in opened.attempts],
                done=opened.done,
            )
            if any(one.record.fold == REFIT_FOLD for one in opened.attempts):
                cast = replace(cast, final=None, refits={})
            run = run_of(opened, cast.correction)
            run.opened = opened.folder.note_opened()
            opened.folder.go_on()
            self._let_workers_open(run)
            run.forecast.set_result(eta_at_submission(opened))
            run.note_eta(self.eta(cast))
        except BaseException:
            opened.folder.release()
            raise
        for trouble in opened.damaged:
            self._tell(trouble)
        self._run(run, cast, sealed=True, share_of=share_of, priority=priority)
        for one in opened.attempts:
            self._recorder.attempt(one.record, one.measured)
        return run

    def _run(self, run: Run, cast: SweepForecast, **how: Any) -> None:
        """Let a workflow's fits run; `how` is what the plan is told of it beside its forecasts."""
        self._recorder.begin(run)
        run.expected_now = cast.estimates
        run.refits = cast.refits
        with self._lock:
            self._runs[run.workflow_id] = run
            own = self._shared_workers is None
            if own:
                dispatcher = self._own[run.workflow_id] = self._dispatcher(None)
            else:
                dispatcher = self._shared = self._shared or self._dispatcher(self._shared_workers)
        told = cast.submitted(run.workflow_id, own_workers=own)
        large_blocks_apart(run)
        dispatcher.submit(run, replace(told, **how))

    def share_by(self, weights: Mapping[str, float]) -> None:
        """Let users share the workers that workflows share by these weights, from now on."""
        if self._shared is not None and weights != self._weights:
            self._weights = dict(weights)
            self._shared.share_by(weights)

    @property
    def own_workers(self) -> bool:
        """Whether each workflow has workers of its own."""
        return self._shared_workers is None

    def allot(self, allotments: Mapping[str, Allotment]) -> None:
        """Let workflows that have workers of their own have no more than that, from now on."""
        with self._lock:
            own = dict(self._own)
        for workflow_id, allotment in allotments.items():
            if workflow_id in own:
                own[workflow_id].allot(allotment)

    def note_forecast(self, run: Run, eta: Eta) -> None:
        """Note when it is to be done, as forecast at submission."""
        run.forecast.set_result(eta)
        if run.folder is not None:
            run.folder.note_forecast((eta.p10_s, eta.p50_s, eta.p90_s))

    def cancel(self, workflow_id: str) -> None:
        """Give a workflow up."""
        dispatcher = self._shared or self._own.get(workflow_id)
        if dispatcher is not None:
            dispatcher.cancel(workflow_id)

    def interrupt(self, workflow_id: str) -> Run:
        """End a workflow here so that another process may go on with it; return it once it ended.

        Fits that run at this moment begin anew there. One that ended before stays as it ended.
        """
        run = self._runs[workflow_id]
        run.captured.wait()
        run.is_interrupted = True
        self.cancel(workflow_id)
        run.closed.wait()
        with self._lock:
            # once it has ended here, it may be gone on with here, under the same name
            if run.state == "interrupted" and self._runs.get(workflow_id) is run:
                del self._runs[workflow_id]
        return run

    def runs(self) -> list[Run]:
        """Return all that was submitted, oldest first."""
        with self._lock:
            return list(self._runs.values())

    def run(self, workflow_id: str) -> Run | None:
        """Return what was submitted under this name."""
        with self._lock:
            return self._runs.get(workflow_id)

    def forget(self, workflow_id: str) -> None:
        """Let go of a workflow, and so of its data, once it is closed."""
        with self._lock:
            run = self._runs.get(workflow_id)
            if run is not None:
                self._keeper.let_pass(run)
            if run is not None and run.closed.is_set():
                del self._runs[workflow_id]
            elif run is not None:
                self._forgotten.add(workflow_id)

    def let_go(self, workflow_id: str) -> None:
        """Know nothing more of a workflow that is closed; what is kept of it stays."""
        with self._lock:
            run = self._runs.get(workflow_id)
            if run is not None and run.closed.is_set():
                del self._runs[workflow_id]

    # -- what forecasts need -----------------------------------------------------------------------

    @property
    def pools(self) -> Sequence[Pool]:
        """Kinds of workers."""
        return self._backend.pools

    def workers(self) -> list[WorkerSize]:
        """Return the workers that a workflow may have, under made-up names."""
        return self._backend.workers()

    def ready_in_s(self) -> float:
        """Return in about how many seconds a first worker is there."""
        return self._backend.start_s if self._shared is None else self._shared.ready_in_s()

    def model(self) -> SizingModel:
        """Return the sizing model in use, for the machines that fits run on."""
        here = self._speed.result(60)
        speed = here if self._shared_workers is not None else self._backend.machine_speed
        return self._learner.model().for_machine(speed)

    def eta(self, cast: SweepForecast) -> Eta:
        """Return when a sweep would be done if it were submitted now, beside nothing else."""
        return self.beside_others(cast).plan(self.workers(), self.ready_in_s())[0]

    def beside_others(self, cast: SweepForecast) -> SweepForecast:
        """Return a sweep's forecast with what others want of the workers' machine now.

        Looked at before its fits run: while they start, they'd be in the way.
        """
        if self._host_load is None or cast.load is not NO_LOAD:
            return cast
        others = self._host_load.before(sum(worker.cpus for worker in self.workers()))
        return cast if others is None else replace(cast, load=OthersLoad(others))

    def learn(self) -> int:
        """Train on all that is known now; return how many records that is."""
        self._learner.train()
        return self._learner.model().record_count

    # -- the history -------------------------------------------------------------------------------

    def flush(self, timeout_s: float) -> bool:
        """Wait until the history has everything; False if it hasn't after `timeout_s`."""
        return self._recorder.flush(self.runs(), timeout_s)

    def url(self, workflow_id: str) -> str | None:
        """Return where a workflow is seen in the MLflow UI."""
        return self._recorder.url(workflow_id, END_WITHIN_S)

    def log_model(self, workflow_id: str, model: Any, **how: Any) -> str:
        """Keep a workflow's best model in the history; see :meth:`KeepsModels.log_model`."""
        return self._recorder.log_model(workflow_id, model, END_WITHIN_S, **how)

    def close(self) -> None:
        """Interrupt what runs, end every process, send the history what it lacks, clean up."""
        with self._lock:
            dispatchers = [*self._own.values(), *filter(None, (self._shared,))]
        for dispatcher in dispatchers:
            dispatcher.stop()
        for dispatcher in dispatchers:
            dispatcher.join()
        self._backend.close()
        for run in self.runs():
            run.interrupt()
            large_blocks_together(run)
        self._background.close(END_WITHIN_S)
        self._recorder.close(END_WITHIN_S)
        self._keys.close()
        self._keeper.close(END_WITHIN_S)

    # -- steps of a workflow's life ----------------------------------------------------------------

    def seal(self, run: Run) -> None:
        """Encrypt what it was made of, with a key of its own, and write its submission down."""
        prepared = self._prepared.pop(run.workflow_id)
        self._keeper.take_in(run, prepared, self._dataset_uri(run))
        self._let_workers_open(run)

    def _dataset_uri(self, run: Run) -> str | None:
        root = self._backend.dataset_root
        return None if root is None else f"{root.rstrip('/')}/{run.workflow_id}.sealed"

    def _let_workers_open(self, run: Run) -> None:
        """Let this machine's workers find its dataset and its key."""
        if self._shared_workers is None or run.sealed is None:
            return
        for ending, content in ((".key", run.key), (".uri", run.sealed.uri.encode())):
            path = self._keys.path / f"{run.sealed.dataset_id}{ending}"
            path.touch(mode=0o600)
            path.write_bytes(content)

    def workers_for(self, run: Run) -> Workers:
        """Return workers for it alone."""
        assert run.sealed is not None
        return self._backend.for_workflow(run.sealed, run.key)

    def keep(self, run: Run, ended: Sequence[Ended], then: Kept) -> None:
        """Keep attempts' results, then call `then`; returns at once."""
        self._keeper.keep(run, ended, then)

    def give_up_keeping(self, run: Run) -> None:
        """Let go of what of it is still to be kept."""
        self._keeper.give_up(run)

    def note_attempt(self, run: Run, record: Record, measured: Measured) -> None:
        """Hand an attempt to the history and to what learns from it."""
        self._learner.add([self._recorder.attempt(record, measured)])

    def record(self, run: Run) -> None:
        """Hand its end to the history."""
        self._recorder.end(run)

    def remove_dataset(self, run: Run) -> None:
        """Take its key from workers; write down how it ended, and remove what isn't needed then."""
        if run.sealed is not None:
            for ending in (".key", ".uri"):
                (self._keys.path / f"{run.sealed.dataset_id}{ending}").unlink(missing_ok=True)
        self._prepared.pop(run.workflow_id, None)
        self._keeper.end(run)

    def closed(self, run: Run) -> None:
        """Let forecasts learn from a workflow of which nothing is left to do."""
        run.recorded.set()
        large_blocks_together(run)
        with self._lock:
            self._own.pop(run.workflow_id, None)
            if run.workflow_id in self._forgotten:
                self._forgotten.discard(run.workflow_id)
                self._runs.pop(run.workflow_id, None)
        self._background.submit(self._learner.train)

    # -- behind the scenes -------------------------------------------------------------------------

    def _dispatcher(self, workers: Workers | None) -> Dispatcher:
        return Dispatcher(
            self,
            tuple(self._backend.pools),
            self._keys.path,
            self._home / "faults",
            workers=workers,
            host_load=self._host_load,
            checked=self._checked,
        )

    def _measure_speed(self) -> None:
        speed = 0.0  # unknown
        try:
            speed = machine_speed(self._home / "machine_speed.json")
            self._backend.note_machine_speed(speed)
        finally:
            self._speed.set_result(speed)

    def _load(self) -> None:
        try:
            self._store.prepare()
        except HistoryError as error:
            self._tell(f"{error} Fits run all the same; their records are kept and sent later.")
        with suppress(HistoryError):
            self._learner.load()
        self._keeper.tidy(self._keep_days)

    def _not_kept(self, workflow_id: str, trouble: str) -> None:
        """Tell that results can't be kept for now; with an empty text, that they can again."""
        run = self.run(workflow_id)
        if run is not None:
            run.note_waits("results", (trouble,) if trouble else ())
        if trouble:
            self._tell(trouble)

    def _tell(self, trouble: str) -> None:
        self.troubles.append(trouble)
        print(f"fitcast: {trouble}", file=sys.stderr)  # noqa: T201
