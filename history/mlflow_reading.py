"""Which ended workflows of an MLflow experiment are new, and the records in their files.

In here: searches by an MLflow client that is given. Not in here: what imports MLflow
(:mod:`fitcast.history.mlflow_store`), what a cursor remembers (:mod:`fitcast.history.cursors`).
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa

from fitcast.history import presentation as shown
from fitcast.history.codec import read_parquet_rows
from fitcast.history.cursors import Cursor
from fitcast.history.mlflow_edges import local_folder
from fitcast.history.records import Record
from fitcast.history.saves import Save, parse_saves
from fitcast.history.temporary_files import temporary_folder

log = logging.getLogger(__name__)

RECORDS_FOLDER: Final = "fitcast"
RECORDS_FILE: Final = "records.parquet"
PAGE: Final = 1000
_FIRST_PAGE: Final = 50  # most readings find a few new workflows
_DOWNLOADS: Final = 8
_OF_WORKFLOWS: Final = f"tags.`{shown.KIND_TAG}` = 'workflow'"


class Saved(NamedTuple):
    """The rows of a workflow's file that came with one of its saves."""

    run: Any
    start: int
    stop: int | None


def saved_since(
    client: Any, experiment_id: str, position: Cursor, limit: int | None
) -> dict[tuple[str, int], Saved]:
    """Return the saves of workflows since a cursor by (run, time), in their order.

    A workflow that was resumed has several, each with the rows that came with it: so whoever reads
    on from anywhere gets each record once.
    """
    found: dict[tuple[str, int], Saved] = {}
    for run in _candidates(client, experiment_id, position.read_from_ms):
        for save in saves_of(run):
            if save.at_ms >= position.read_from_ms:
                found[run.info.run_id, save.at_ms] = Saved(run, save.start, save.stop)
    new = sorted((at, run_id) for run_id, at in found if not position.knows((run_id, at)))
    return {(run_id, at): found[run_id, at] for at, run_id in new[:limit]}


def saves_of(run: Any) -> list[Save]:
    """Return the saves of a workflow's run: none if it never ended."""
    at = shown.saved_at_ms(run.data.tags, run.data.metrics)
    if at is None:
        return []
    return parse_saves(run.data.tags.get(shown.SAVES_TAG, ""), at) or [Save(at, 0, None)]


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


def records_of(
    client: Any, run: Any, parts: Sequence[tuple[int, int | None]] = ((0, None),)
) -> list[list[Record]]:
    """Return the records of parts of a parent run's file; none, and a warning, if it is bad."""
    relative = f"{RECORDS_FOLDER}/{RECORDS_FILE}"
    try:
        if folder := local_folder(run):
            return read_parquet_rows(folder / relative, parts)
        with temporary_folder() as temporary:
            path = client.download_artifacts(run.info.run_id, relative, str(temporary))
            return read_parquet_rows(Path(path), parts)
    except (pa.ArrowException, FileNotFoundError) as error:
        log.warning("Records of MLflow run %s can't be read: %s", run.info.run_id, error)
        return [[] for _ in parts]


def all_records(client: Any, saves: Mapping[tuple[str, int], Saved]) -> list[Record]:
    """Return the records of saves, in their order; each file is read once."""
    runs = {run_id: saved.run for (run_id, _), saved in saves.items()}
    parts: dict[str, dict[tuple[str, int], tuple[int, int | None]]] = {i: {} for i in runs}
    for key, saved in saves.items():
        parts[key[0]][key] = (saved.start, saved.stop)

    def read(run_id: str) -> list[list[Record]]:
        return records_of(client, runs[run_id], list(parts[run_id].values()))

    found: dict[tuple[str, int], list[Record]] = {}
    with ThreadPoolExecutor(_DOWNLOADS, thread_name_prefix="fitcast-history") as pool:
        # Local files are read faster without threads, which would fight for the interpreter
        apply = map if all(local_folder(run) for run in runs.values()) else pool.map
        for run_id, read_now in zip(runs, apply(read, runs), strict=True):
            found |= dict(zip(parts[run_id], read_now, strict=True))
    return [record for key in saves for record in found[key]]
