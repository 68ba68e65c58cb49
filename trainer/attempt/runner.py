"""The attempt runner of a worker: opens datasets, runs attempts, cancels them.

In: what the worker's threads call. Not in: the fork server's process
(:mod:`fitcast.trainer.attempt.server_process`), the supervisor, what an ending means.

The worker process itself maps no dataset and opens no job; it only holds the descriptors of shared
blocks, so a fork server that died is replaced without loading anything again.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from fitcast.errors import BackendError, FitcastError, WorkerBrokenError
from fitcast.history.records import Outcome
from fitcast.trainer.attempt.branches import Branches
from fitcast.trainer.attempt.memory_ledger import MemoryLedger
from fitcast.trainer.attempt.messages import (
    ATTEMPT,
    CUT,
    LOAD,
    MOST_DESCRIPTORS,
    STARTED,
    ConnectionLostError,
    Cut,
    Ending,
    Load,
    Loaded,
    Report,
    StartRequest,
    receive_exactly,
    receive_message,
    send_message,
)
from fitcast.trainer.attempt.open_datasets import Connect, OpenDatasets
from fitcast.trainer.attempt.outcomes import judge
from fitcast.trainer.attempt.output_files import new_output, read_text, size
from fitcast.trainer.attempt.process_tree import children, descendants
from fitcast.trainer.attempt.result_block import UnreadableReport, read_reports
from fitcast.trainer.attempt.running_batch import RunningBatch, Tombstones
from fitcast.trainer.attempt.server_process import SILENT_AFTER_S, ServerProcess
from fitcast.trainer.attempt.spec import AttemptSpec, Measured
from fitcast.trainer.attempt.split_blocks import SplitBlocks
from fitcast.trainer.shared_memory import freeze, new_block

_SEEN_WITHIN_S = 0.5  # a dead server's connections end a moment before it is seen to be dead
_TRIES = 3  # with a new fork server each, if the last one died before anything began
_FAILED_STARTS = 2  # after so many without being ready once, the server is not started again


Source = Callable[[], tuple[str, Path]]
"""Returns where a sealed dataset lies, and the file with its key."""


class AttemptRunner:
    """Runs attempts in child processes, from any number of threads.

    Starts its fork server at once and doesn't wait for it; call early, it takes seconds.

    Parameters
    ----------
    memory_bytes : int, optional
        What all fits and blocks of rows may hold together. If they are about to hold more, the fit
        that is furthest above its share is ended, out of memory.
    silent_after_s : float
        A process of ours that gives no sign of life for so long is ended with its fits.
    """

    def __init__(
        self, memory_bytes: int | None = None, *, silent_after_s: float = SILENT_AFTER_S
    ) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._failed_starts = 0
        self._silent_after_s = silent_after_s
        self._server = ServerProcess(silent_after_s)
        self._datasets = OpenDatasets(self._loaded)
        self._batches: list[RunningBatch] = []
        self._tombstones = Tombstones()
        self._ledger = MemoryLedger(memory_bytes)
        self._splits = SplitBlocks(self._cut)
        self._branches = Branches()

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until attempts start without delay.

        Raises
        ------
        BackendError
            The fork server can't be started, or not in this time.
        """
        self._live_server().wait_ready(timeout_s)

    @property
    def server_pid(self) -> int:
        """Process number of the fork server."""
        return self._server.pid

    def pids(self) -> dict[str, list[int]]:
        """Return the processes below this runner: server, supervisors (and loaders), fits."""
        branches = self._server.branch_pids()
        parents = [self.server_pid, *branches]
        supervisors = [pid for one in parents for pid in children(one) if pid not in branches]
        fits = [pid for supervisor in supervisors for pid in descendants(supervisor)]
        return {"server": [self.server_pid], "supervisors": supervisors, "fits": fits}

    def open_dataset(self, dataset_id: str, uri: str, key_file: Path) -> int:
        """Unseal a dataset into shared memory, verified to its end; return the bytes held.

        Opening it again does nothing. The key is read by a child process that ends afterwards.

        Raises
        ------
        SealError
            The dataset is not what was sealed.
        BackendError
            It can't be loaded here, or was closed meanwhile.
        """
        self._splits.reopen(dataset_id)
        held_bytes = self._datasets.open(_load(dataset_id, uri, key_file))
        if held_bytes is None:
            raise BackendError(f"dataset {dataset_id!r} was closed while it was opened")
        with self._lock:
            self._count_blocks()
        return held_bytes

    def close_dataset(self, dataset_id: str) -> None:
        """Let go of a dataset; its memory goes with the last fit that still uses it.

        One that is being opened isn't opened any further, and attempts that wait for it end as
        cancelled. It may be opened again.
        """
        self._datasets.close(dataset_id)
        self._splits.close_dataset(dataset_id)
        self._branches.close_dataset(dataset_id)
        with self._lock:
            self._count_blocks()

    def run(
        self, specs: Sequence[AttemptSpec], source: Source | None = None
    ) -> list[Measured | None]:
        """Run attempts one after another in one process, and wait for their end.

        Whatever the fits do comes back as data.

        Parameters
        ----------
        specs
            Attempts of one workflow with equal dataset, threads and memory limit.
        source
            Where their dataset is, to be opened if it isn't yet.

        Returns
        -------
        list of Measured or None
            In their order. None for one whose turn never came, because the process had ended
            before: by another's fault, or cancelled.

        Raises
        ------
        SealError
            Their dataset is not what was sealed.
        BackendError
            Their dataset isn't open and can't be opened, or the runner is closed.
        WorkerBrokenError
            The fork server can't be started: it will run nothing any more.
        """
        batch = RunningBatch(tuple(specs))
        with self._lock:
            self._check_open()
            if self._tombstones.any_of(batch.specs):
                return batch.without_process(Outcome.CANCELLED)
            self._batches.append(batch)
        try:
            if not self._has_dataset(batch, source):
                return batch.without_process(Outcome.CANCELLED)
            for _ in range(_TRIES):
                measured = self._run_once(batch)
                if measured is not None:
                    return measured
        finally:
            with self._lock:
                self._batches.remove(batch)
        return batch.without_process(
            Outcome.WORKER_LOST, "ForkServerDied", "the fork server died again and again"
        )

    def run_one(self, spec: AttemptSpec) -> Measured:
        """Run one attempt in a process of its own, as :meth:`run` does."""
        (measured,) = self.run((spec,))
        assert measured is not None
        return measured

    def cancel(self, fit_id: str, attempt: int, workflow_id: str) -> bool:
        """End the process of an attempt; False if there is none: then it never begins.

        Its ``run`` returns the fit whose turn it was as cancelled, and None for later ones.

        Parameters
        ----------
        fit_id, attempt
            Which attempt.
        workflow_id
            Whose.
        """
        with self._lock:
            found = [one for one in self._batches if one.holds(workflow_id, fit_id, attempt)]
            if not found:
                self._tombstones.add(workflow_id, fit_id, attempt)
        for batch in found:
            batch.cancel()
        self._datasets.wake()
        return bool(found)

    def close(self) -> None:
        """End all attempts, the fork server and everything below it; let go of all datasets."""
        with self._lock:
            self._closed = True
            running = list(self._batches)
        for batch in running:
            batch.cancel()
        datasets = self._datasets.ids()
        self._datasets.close_all()
        end = time.monotonic() + 2.0
        while self._batches and time.monotonic() < end:
            time.sleep(0.005)
        self._server.close()
        for dataset_id in datasets:
            self._splits.close_dataset(dataset_id)
        if not self._batches:  # else a thread still clears its slot: it goes with the process
            self._ledger.close()

    def _has_dataset(self, batch: RunningBatch, source: Source | None) -> bool:
        """Open the dataset of attempts if it isn't; False if they were cancelled meanwhile."""
        dataset_id = batch.specs[0].dataset_id
        if source is None:
            if dataset_id not in self._datasets:
                raise BackendError(
                    f"dataset {dataset_id!r} isn't open on this worker: call open_dataset"
                )
            return True
        self._splits.reopen(dataset_id)
        try:
            asked = _load(dataset_id, *source())
            return self._datasets.open(asked, batch.cancelled) is not None
        except FitcastError:
            if batch.cancelled.is_set():
                return False
            raise

    def _run_once(self, batch: RunningBatch) -> list[Measured | None] | None:
        """Try to run attempts; None if they didn't begin: server or supervisor had died."""
        first = batch.specs[0]
        with ExitStack() as stack:
            # with a descriptor of our own: the dataset may be closed while we still send it
            dataset = self._datasets.borrow(first.dataset_id)
            if dataset is None:  # closed meanwhile: nobody wants the result
                return batch.without_process(Outcome.CANCELLED)
            stack.callback(os.close, dataset.fd)
            folds: dict[int, int] = {}
            if dataset.shareable:
                for fold in _folds(batch.specs):
                    borrow = self._splits.borrowed(first.dataset_id, fold, batch.cancelled)
                    split_fd = stack.enter_context(borrow)
                    if split_fd is not None:
                        folds[fold] = split_fd
            if batch.cancelled.is_set():
                return batch.without_process(Outcome.CANCELLED)
            with self._lock:
                self._count_blocks()
            try:
                server = self._live_server()
            except WorkerBrokenError:
                raise
            except BackendError as error:
                return batch.without_process(Outcome.WORKER_LOST, "ForkServerDied", str(error))
            result_fd = new_block("fitcast-result")
            stack.callback(os.close, result_fd)
            outputs = [new_output("fitcast-stdout"), new_output("fitcast-stderr")]
            for fd in outputs:
                stack.callback(os.close, fd)
            slot = self._ledger.take(first.share_bytes or first.memory_limit_bytes)
            stack.callback(self._ledger.clear, slot)
            given = (result_fd, self._ledger.fd, *outputs, dataset.fd, *folds.values())
            taken = stack.enter_context(self._branches.taken(server, first, batch.cancelled))
            if batch.cancelled.is_set():
                return batch.without_process(Outcome.CANCELLED)
            connection = server.request(
                ATTEMPT, *given, unwanted=batch.cancelled, branch=taken.branch
            )
            stack.callback(server.finished, connection)
            batch.connect(connection)
            stack.callback(batch.connect, None)
            began = False
            try:
                start = StartRequest(
                    batch.specs, tuple(sys.path), tuple(folds), slot, taken.imports_s
                )
                send_message(connection, start)
                began = receive_exactly(connection, len(STARTED)) == STARTED
                batch.started()
                ending: Ending = receive_message(connection)
            except ConnectionLostError:
                if batch.cancelled.is_set():
                    return batch.without_process(Outcome.CANCELLED)
                if not began:  # so none of them can be to blame
                    server.ends_within(_SEEN_WITHIN_S)
                    return None
                why = server.why_ended(connection)
                return batch.without_process(
                    Outcome.WORKER_LOST,
                    "SupervisorSilent" if why else "SupervisorDied",
                    why or "the processes that run fits on this worker were ended from outside",
                )
            reports = read_reports(result_fd, batch.specs)
            for spec, report in zip(batch.specs, reports, strict=False):
                if isinstance(report, Report) and report.imported:
                    self._branches.learn(spec, report.imported)
            return judge(ending, reports, len(batch.specs), _texts(reports, *outputs))

    def _count_blocks(self) -> None:
        if not self._closed:
            self._ledger.blocks(self._datasets.held_bytes() + self._splits.held_bytes())

    def _live_server(self) -> ServerProcess:
        with self._lock:
            self._check_open()
            if self._server.dead:
                self._failed_starts = 0 if self._server.was_ready else self._failed_starts + 1
                words = self._server.last_words()
                if self._failed_starts >= _FAILED_STARTS:
                    raise WorkerBrokenError(
                        f"the fork server can't be started; its last words: {words or '(none)'}"
                    )
                self._server.close()
                self._server = ServerProcess(self._silent_after_s)
            return self._server

    def _check_open(self) -> None:
        if self._closed:
            raise BackendError("this runner was closed: make a new one")

    def _cut(self, dataset_id: str, fold: int) -> int | None:
        dataset = self._datasets.borrow(dataset_id)
        if dataset is None:
            return None
        try:
            asked = Cut(fold, tuple(sys.path))
            fd, _ = self._filled(f"fitcast-fold-{fold}", CUT, asked, dataset.fd)
        except BackendError:
            return None
        finally:
            os.close(dataset.fd)
        return fd

    def _loaded(self, asked: Load, connect: Connect) -> tuple[int | None, Loaded]:
        return self._filled("fitcast-dataset", LOAD, asked, connect=connect)

    def _filled(
        self,
        name: str,
        kind: bytes,
        asked: Load | Cut,
        *fds: int,
        connect: Connect = lambda connection: None,
    ) -> tuple[int | None, Loaded]:
        """Have a block filled by a loader; return it frozen, or None and what went wrong.

        A loader that went with its server says nothing about the data: the next server's is asked.
        """
        for _ in range(_TRIES):
            server = self._live_server()
            block = new_block(name)
            connection = server.request(kind, *fds, block)
            try:
                connect(connection)
                send_message(connection, asked)
                loaded: Loaded = receive_message(connection)
            except ConnectionLostError:
                loaded = Loaded(
                    error="the process that loads data ended before it was done; this worker may "
                    f"have too little memory for the dataset. {server.last_words()}".strip()
                )
                server_died = server.ends_within(_SEEN_WITHIN_S)
            else:
                server_died = False
            finally:
                connect(None)
                server.finished(connection)
            if not loaded.error:
                freeze(block)
                return block, loaded
            os.close(block)
            if not server_died:
                break
        return None, loaded


def _load(dataset_id: str, uri: str, key_file: Path) -> Load:
    return Load(uri, str(Path(key_file).absolute()), dataset_id, tuple(sys.path))


def _folds(specs: Sequence[AttemptSpec]) -> list[int]:
    """Return the folds whose rows are wanted in blocks, as many as can be sent."""
    folds = dict.fromkeys(spec.fold for spec in specs if spec.fold >= 0)
    return list(folds)[: MOST_DESCRIPTORS - 6]


def _texts(
    reports: Sequence[Report | UnreadableReport], stdout_fd: int, stderr_fd: int
) -> list[tuple[str, str]]:
    """Return what the fits of a process wrote, and the one that left no report as the last."""
    texts = []
    out_at = err_at = 0
    ends = [(r.stdout_end, r.stderr_end) for r in reports if isinstance(r, Report)]
    for out_end, err_end in (*ends, (size(stdout_fd), size(stderr_fd))):
        texts.append((read_text(stdout_fd, out_at, out_end), read_text(stderr_fd, err_at, err_end)))
        out_at, err_at = out_end, err_end
    for turn, report in enumerate(reports):
        if not isinstance(report, Report):
            texts.insert(turn, ("", ""))
    return texts
