"""Fetches the runs of an MLflow experiment that fitcast didn't write, and keeps records of them.

In: the experiment's runs by pages, and saving their records as one workflow of the history. Not
in: what a run shows (:mod:`fitcast.history.foreign_runs`).
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fitcast.errors import HistoryError
from fitcast.history.foreign_runs import STOPPED, ForeignRun, Imported, is_search, read_runs
from fitcast.history.mlflow_edges import our_errors
from fitcast.history.mlflow_store import opened_client
from fitcast.history.store import HistoryStore, WorkflowEnd, WorkflowHistory, WorkflowRun
from fitcast.history.temporary_files import temporary_folder
from fitcast.history.tracking_uri import WAIT_S, masked

_PAGE: Final = 1000
_CV_RESULTS: Final = "cv_results.csv"
_MOST_BYTES: Final = 50_000_000


class ForeignExperiment:
    """An experiment of an MLflow store that is only read, never changed.

    Parameters
    ----------
    tracking_uri
        The store.
    experiment
        Name of the experiment.
    wait_s
        Seconds that a slow or locked store is waited for.
    """

    def __init__(self, tracking_uri: str, experiment: str, *, wait_s: float = WAIT_S) -> None:
        self.tracking_uri = tracking_uri
        self.wait_s = wait_s
        self.experiment = experiment

    @our_errors
    def runs(self) -> list[ForeignRun]:
        """Return its runs, oldest first.

        Raises
        ------
        HistoryError
            The store can't be read, or has no such experiment.
        """
        client = opened_client(self.tracking_uri, self.wait_s)
        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            names = sorted(one.name for one in client.search_experiments(max_results=50))
            raise HistoryError(
                f"{masked(self.tracking_uri)} has no experiment {self.experiment!r}; it has: "
                f"{', '.join(names) or 'none'}"
            )
        return [_foreign(client, run) for run in _pages(client, found.experiment_id)]


def import_runs(source: ForeignExperiment, store: HistoryStore) -> Imported:
    """Save records of an experiment's runs in our own history; importing again adds new ones.

    Raises
    ------
    HistoryError
        Either store can't be used.
    """
    origin = f"{source.tracking_uri} {source.experiment}"
    digest = hashlib.blake2b(origin.encode(), digest_size=6).hexdigest()
    workflow_id, name = f"import-{digest}", f"import of {source.experiment}"
    imported = read_runs(source.runs(), workflow_id, name)
    if imported.records:
        now = datetime.now(UTC)
        store.prepare()
        store.save(
            WorkflowHistory(
                run=WorkflowRun(workflow_id=workflow_id, name=name, started_at=now),
                records=tuple(imported.records),
                end=WorkflowEnd(state="succeeded", ended_at=now),
            )
        )
    return imported


def _pages(client: Any, experiment_id: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs(
            [experiment_id], max_results=_PAGE, page_token=token, order_by=["start_time ASC"]
        )
        yield from page
        token = page.token
        if not token:
            return


def _foreign(client: Any, run: Any) -> ForeignRun:
    inputs = list(getattr(run.inputs, "dataset_inputs", None) or ())
    inputs.sort(key=lambda one: "train" not in {tag.value for tag in one.tags})
    return ForeignRun(
        run_id=run.info.run_id,
        status=run.info.status,
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        started_ms=run.info.start_time,
        ended_ms=run.info.end_time,
        profiles=[one.dataset.profile for one in inputs if one.dataset.profile],
        metrics=_highest(client, run),
        cv_results=_cv_results(client, run.info.run_id) if is_search(run.data.tags) else "",
    )


def _highest(client: Any, run: Any) -> dict[str, float]:
    """Return the highest values of what was measured of the run's own process, and its rounds."""
    wanted = ("system/process_", STOPPED)
    names = [name for name in run.data.metrics if name.startswith(wanted)]
    return {
        name: max(one.value for one in client.get_metric_history(run.info.run_id, name))
        for name in names
    }


def _cv_results(client: Any, run_id: str) -> str:
    """Return the table that MLflow writes for a search; "" if there is none."""
    files = {one.path: one.file_size or 0 for one in client.list_artifacts(run_id)}
    if not 0 < files.get(_CV_RESULTS, 0) <= _MOST_BYTES:
        return ""
    with temporary_folder() as folder:
        path = Path(client.download_artifacts(run_id, _CV_RESULTS, str(folder)))
        return path.read_text(encoding="utf-8", errors="replace")
