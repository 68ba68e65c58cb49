"""Runs the fits of a sweep as a worker would, one or two at a time, and gives their records.

In: what benchmarks of sizing share. Not in: Dask, plans, forecasts.
"""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.records import attempt_record
from fitcast.history.records import Record
from fitcast.trainer.attempt.runner import AttemptRunner
from fitcast.trainer.attempt.spec import AttemptSpec
from fitcast.trainer.sealing import new_key, seal
from fitcast.trainer.sweep.prepared import Fit, PreparedSweep, Sweep

LIMIT_BYTES = 6 * 2**30


@contextmanager
def running() -> Iterator[AttemptRunner]:
    """Start a runner and close it."""
    runner = AttemptRunner()
    runner.wait_ready()
    try:
        yield runner
    finally:
        runner.close()


def measure(
    runner: AttemptRunner,
    sweep: Sweep,
    *,
    at_once: int = 2,
    folds: int | None = None,
    deadline_s: float = 300.0,
) -> list[Record]:
    """Run a sweep's fits and return a record of each."""
    prepared = sweep.prepare()
    key = new_key()
    with tempfile.TemporaryDirectory() as folder:
        key_file = Path(folder) / "key"
        key_file.write_bytes(key)
        uri = str(Path(folder) / "data.sealed")
        sealed = seal(
            prepared.content,
            uri,
            key,
            workflow_id=prepared.submission.name,
            attachments=prepared.attachments,
        )
        runner.open_dataset(sealed.dataset_id, uri, key_file)

        def run(fit: Fit) -> Record:
            return _run(runner, prepared, fit, sealed.dataset_id, deadline_s)

        chosen = [fit for fit in prepared.fits if folds is None or fit.fold < folds]
        try:
            with ThreadPoolExecutor(at_once) as pool:
                return list(pool.map(run, chosen))
        finally:
            runner.close_dataset(sealed.dataset_id)


def _run(
    runner: AttemptRunner, prepared: PreparedSweep, fit: Fit, dataset_id: str, deadline_s: float
) -> Record:
    measured = runner.run_one(
        AttemptSpec(
            workflow_id=prepared.submission.name,
            fit_id=fit.fit_id,
            attempt=1,
            dataset_id=dataset_id,
            job=prepared.job(fit.candidate.index),
            fold=fit.fold,
            threads=1,
            memory_limit_bytes=LIMIT_BYTES,
            deadline_s=deadline_s,
        )
    )
    return attempt_record(
        f"{prepared.submission.name}-{fit.fit_id}",
        fit.request,
        measured,
        workflow=prepared.submission.name,
        dataset=prepared.submission.dataset,
        candidate=fit.candidate.label,
        candidate_index=fit.candidate.index,
        fold=fit.fold,
        memory_limit_bytes=LIMIT_BYTES,
        deadline_s=deadline_s,
    )
