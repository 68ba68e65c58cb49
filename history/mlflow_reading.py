"""Which ended workflows of an MLflow experiment are new, and the records in their files.

In here: searches by an MLflow client that is given. Not in here: what imports MLflow
(:mod:`fitcast.history.mlflow_store`), what a cursor remembers (:mod:`fitcast.history.cursors`).
"""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from fitcast.history import presentation as shown
from fitcast.history.codec import read_parquet
from fitcast.history.cursors import Cursor
from fitcast.history.mlflow_edges import local_folder
from fitcast.history.records import Record
from fitcast.history.temporary_files import temporary_folder

log = logging.getLogger(__name__)

RECORDS_FOLDER: Final = "fitcast"
RECORDS_FILE: Final = "records.parquet"
PAGE: Final = 1000
_FIRST_PAGE: Final = 50  # most readings find a few new workflows
_DOWNLOADS: Final = 8
_OF_WORKFLOWS: Final = f"tags.`{shown.KIND_TAG}` = 'workflow'"


def saved_since(
    client: Any, experiment_id: str, position: Cursor, limit: int | None
) -> dict[tuple[str, int], Any]:
    """Return the workflows' runs saved since a cursor by (run, time), in the order of saving."""
    found: dict[tuple[str, int], Any] = {}
    for run in _candidates(client, experiment_id, position.read_from_ms):
        at = shown.saved_at_ms(run.data.tags, run.data.metrics)
        if at is not None and at >= position.read_from_ms:
            found[run.info.run_id, at] = run
    new = sorted((at, run_id) for run_id, at in found if not position.knows((run_id, at)))
    return {(run_id, at): found[run_id, at] for at, run_id in new[:limit]}


def _candidates(client: Any, experiment_id: str, from_ms: int) -> Iterator[Any]:
    """Give the runs of workflows that may have been saved since then, and some before.

    MLflow compares texts for equality only, but sorts by them: newest first, until older ones
    come. A workflow saved while this reads moves to the front, where the next reading finds it.
    """
    saved = f"{_OF_WORKFLOWS} and tags.`{shown.SAVED_AT_TAG}` LIKE '2%'"
    newest_first = [f"tags.`{shown.SAVED_AT_TAG}` DESC"]
    for page in pages(client, experiment_id, saved, newest_first, _FIRST_PAGE):
        yield from page
        if page and (shown.saved_at_ms(page[-1].data.tags, {}) or 0) < from_ms:
            break
    # Saved by a version that kept the time as a metric
    before = f"{_OF_WORKFLOWS} and metrics.`{shown.SAVED_AT_METRIC}` >= {from_ms}"
    for page in pages(client, experiment_id, before):
        yield from page


def pages(
    client: Any,
    experiment_id: str,
    condition: str,
    order_by: list[str] | None = None,
    first: int = PAGE,
) -> Iterator[Any]:
    """Give the runs that a search finds, page by page."""
    token, size = None, first
    while True:
        page = client.search_runs(
            [experiment_id], condition, max_results=size, page_token=token, order_by=order_by
        )
        yield page
        token, size = page.token, PAGE
        if not token:
            return


def records_of(client: Any, run: Any) -> list[Record]:
    """Return the records in the file of a parent run; none, and a warning, if it is bad."""
    relative = f"{RECORDS_FOLDER}/{RECORDS_FILE}"
    try:
        if folder := local_folder(run):
            return read_parquet(folder / relative)
        with temporary_folder() as temporary:
            path = client.download_artifacts(run.info.run_id, relative, str(temporary))
            return read_parquet(Path(path))
    except (pa.ArrowException, FileNotFoundError) as error:
        log.warning("Records of MLflow run %s can't be read: %s", run.info.run_id, error)
        return []


def all_records(client: Any, runs: list[Any]) -> list[Record]:
    """Return the records of parent runs, in their order."""
    with ThreadPoolExecutor(_DOWNLOADS, thread_name_prefix="fitcast-history") as pool:
        # Local files are read faster without threads, which would fight for the interpreter
        apply = map if all(local_folder(r) for r in runs) else pool.map
        return [r for found in apply(lambda run: records_of(client, run), runs) for r in found]
