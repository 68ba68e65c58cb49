"""The history in MLflow: one run per workflow, one child run per candidate, one Parquet file.

In here: every call of MLflow that fitcast makes; its errors become :class:`HistoryError` here.
Not in here: what the runs show (:mod:`fitcast.history.presentation`), when things are sent
(:mod:`fitcast.history.writer`), checks of the address (:mod:`fitcast.history.tracking_uri`).
"""

import io
import json
import logging
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fitcast.errors import HistoryError
from fitcast.history import presentation as shown
from fitcast.history.codec import write_parquet
from fitcast.history.cursors import LOCAL_OVERLAP_MS, OVERLAP_MS, Cursor
from fitcast.history.mlflow_best_model import log_best_model
from fitcast.history.mlflow_edges import await_store, our_errors, quiet, quoted
from fitcast.history.mlflow_experiments import AS_TRAINING, open_experiment
from fitcast.history.mlflow_reading import (
    RECORDS_FILE,
    RECORDS_FOLDER,
    all_records,
    pages,
    records_of,
    saved_since,
)
from fitcast.history.models import ModelRegistry
from fitcast.history.records import Record
from fitcast.history.review.description import candidate_note, workflow_note
from fitcast.history.review.files import review_files
from fitcast.history.review.summary import summarise
from fitcast.history.sqlite_files import build_database, one_at_a_time, remove_unfinished
from fitcast.history.store import WorkflowEnd, WorkflowHistory, unique_records
from fitcast.history.temporary_files import remove_left_folders, temporary_folder
from fitcast.history.tracking_uri import WAIT_S, checked_uri, masked, sqlite_path

log = logging.getLogger(__name__)

_PARAMS_PER_BATCH: Final = 100  # MLflow's own limit
_METRICS_PER_BATCH: Final = 800  # MLflow takes 1,000 things of all kinds together


def opened_client(tracking_uri: str, wait_s: float = WAIT_S) -> Any:
    """Return a client of an existing MLflow store in which nothing is made or changed."""
    uri = checked_uri(tracking_uri)
    database = sqlite_path(uri)
    if database is not None and not database.exists():
        raise HistoryError(f"There is no MLflow database {database}; check the tracking URI.")
    await_store(uri, wait_s, writing=False)
    from mlflow.tracking import MlflowClient

    with quiet():
        return MlflowClient(tracking_uri=uri)


@dataclass(slots=True)
class _Child:
    run_id: str
    params: set[str] = field(default_factory=set)  # names that are already there


@dataclass(slots=True)
class _Runs:
    """What MLflow already holds of one workflow."""

    parent: str
    children: dict[int, _Child] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)  # record ids
    earlier: tuple[Record, ...] = ()  # of a workflow that had ended before and was resumed


class MlflowHistory:
    """A history store on an MLflow tracking server or database.

    Parameters
    ----------
    tracking_uri
        ``sqlite:///…``, ``http(s)://…`` or another database that MLflow takes.
    experiment
        Name of the experiment; made when it isn't there.
    artifact_dir
        Folder or URI for the artifacts of a new experiment. Default: ``mlartifacts`` beside the
        file of a SQLite store; what the server says for a server.
    wait_s
        Seconds that a slow server, or a file that another process has locked, is waited for.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment: str = "fitcast",
        artifact_dir: Path | str | None = None,
        *,
        wait_s: float = WAIT_S,
    ) -> None:
        self.wait_s = wait_s
        self.tracking_uri = tracking_uri
        self.experiment = experiment
        self._artifact_dir = artifact_dir
        self._lock = threading.RLock()
        self._client: Any = None
        self._engine: Any = None
        self._experiment_id = ""
        self._runs: dict[str, _Runs] = {}  # of running workflows
        self._parents: dict[str, str] = {}  # workflow_id → run id, for addresses

    @property
    def source(self) -> str | None:
        """The tracking URI and the experiment; see :attr:`HistoryStore.source`."""
        with suppress(HistoryError):  # `prepare` says what is wrong with a URI
            return f"{checked_uri(self.tracking_uri)} {self.experiment}"
        return f"{self.tracking_uri} {self.experiment}"

    @property
    def models(self) -> ModelRegistry:
        """Where sizing models that learned from it are kept: beside it, in the same MLflow."""
        from fitcast.history.mlflow_models import MlflowModels  # which stands on this module

        return MlflowModels(self)

    # -- getting ready ---------------------------------------------------------------------

    @our_errors
    def prepare(self) -> None:
        """Make the store usable; see :meth:`HistoryStore.prepare`.

        The first call on a fresh SQLite store takes some seconds: MLflow builds its schema.
        """
        with self._lock:
            self.tracking_uri = checked_uri(self.tracking_uri)
            database = sqlite_path(self.tracking_uri)
            await_store(self.tracking_uri, self.wait_s, writing=True)
            if database is not None and self._client is not None and not database.exists():
                self._forget()  # deleted under our feet: begin anew
            if self._client is None:
                with quiet():
                    self._connect(database)

    def client(self) -> Any:
        """Return the MLflow client of this store, made ready; for the model registry."""
        with self._lock:
            self.prepare()
            return self._client

    def _connect(self, database: Path | None) -> None:
        remove_left_folders(Path(tempfile.gettempdir()))
        from mlflow.tracking import MlflowClient

        location = None if self._artifact_dir is None else str(self._artifact_dir)
        if database is not None:
            from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

            location = location or str(database.parent / "mlartifacts")
            # Two processes that build the schema at once break it: one after the other. And
            # without a location the default experiment would point into the current folder.
            with one_at_a_time(database, self.wait_s):
                remove_unfinished(database)
                if not database.exists():
                    build_database(
                        database, lambda uri: SqlAlchemyStore(uri, location).engine.dispose()
                    )
                self._engine = SqlAlchemyStore(self.tracking_uri, location).engine
        client = MlflowClient(tracking_uri=self.tracking_uri)
        self._experiment_id = open_experiment(client, self.experiment, location, self.tracking_uri)
        self._client = client

    def _forget(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
        self._client, self._runs, self._parents = None, {}, {}

    # -- writing ---------------------------------------------------------------------------

    @our_errors
    def save(self, workflow: WorkflowHistory) -> str | None:
        """Save a workflow; see :meth:`HistoryStore.save`."""
        with self._lock:
            self.prepare()
            workflow_id = workflow.run.workflow_id
            # Taken out until all went well: after an error MLflow is asked what it really has
            runs = self._runs.pop(workflow_id, None) or self._open_runs(workflow)
            self._save(runs, workflow)
            self._parents[workflow_id] = runs.parent
            if workflow.end is None:
                self._runs[workflow_id] = runs
            return self._run_url(runs.parent)

    def _save(self, runs: _Runs, workflow: WorkflowHistory) -> None:
        end = workflow.end
        records = unique_records(runs.earlier + workflow.records)
        by_candidate: dict[int, list[Record]] = defaultdict(list)
        for record in records:
            by_candidate[record.candidate_index].append(record)
        for index, of_candidate in sorted(by_candidate.items()):
            new = [r for r in of_candidate if r.record_id not in runs.sent]
            if not new and end is None:
                continue
            child = runs.children.get(index) or self._open_child(
                runs, new or of_candidate, workflow
            )
            points = [p for r in new for p in shown.fit_points(r)]
            tags: dict[str, str] = {}
            if end is not None:
                last = max(r.ended_at for r in of_candidate)
                summary = shown.totals(of_candidate) | shown.mean_scores(of_candidate)
                points += shown.points(summary, last)
                status = shown.candidate_status(of_candidate)
                tags = {shown.OUTCOME_TAG: shown.OUTCOMES[status]}
                tags[shown.NOTE_TAG] = candidate_note(of_candidate)
            self._log(child, points, shown.candidate_params(of_candidate[0]), tags)
            self._log_texts(child.run_id, new, workflow)
            if end is not None:
                self._close(child.run_id, status, last)
            runs.sent.update(r.record_id for r in new)
        if records:
            self._log(
                _Child(runs.parent), shown.points(shown.totals(records), records[-1].ended_at), {}
            )
        if end is not None:
            self._save_end(runs, records, workflow, end)

    def _save_end(
        self,
        runs: _Runs,
        records: Sequence[Record],
        workflow: WorkflowHistory,
        end: WorkflowEnd,
    ) -> None:
        contents = io.BytesIO()
        write_parquet(records, contents)
        self._log_files(runs.parent, {RECORDS_FILE: contents.getvalue()}, RECORDS_FOLDER)
        run = workflow.run
        points = shown.points(end.summary_metrics, end.ended_at)
        best = summarise(records, str(run.params.get("refit", ""))).best_score
        points += shown.points({"best_score": best}, end.ended_at)
        tags = shown.end_tags(records, end.state)
        tags[shown.NOTE_TAG] = workflow_note(run, records, end)
        self._log(_Child(runs.parent), points, {}, tags)
        self._close(runs.parent, shown.workflow_status(end), end.ended_at)
        saved_at = shown.saved_at_text(int(time.time() * 1000))
        self._client.set_tag(runs.parent, shown.SAVED_AT_TAG, saved_at)
        if records:
            self._log_data(runs.parent, records[0])
        self._log_files(runs.parent, review_files(run, records, workflow.logs))

    def _open_runs(self, workflow: WorkflowHistory) -> _Runs:
        """Find the runs of a workflow that an earlier process or save made, or make the first."""
        run = workflow.run
        tag = f"tags.`{shown.WORKFLOW_TAG}` = '{quoted(run.workflow_id)}'"
        found = [r for page in self._search(tag) for r in page]
        parents = [r for r in found if r.data.tags.get(shown.KIND_TAG) == "workflow"]
        if not parents:
            created = self._client.create_run(
                self._experiment_id,
                start_time=shown.epoch_ms(run.started_at),
                tags=shown.workflow_tags(run),
                run_name=shown.shortened(run.name or run.workflow_id, shown.MAX_NAME),
            )
            self._log(_Child(created.info.run_id), [], shown.shown_params(run.params))
            return _Runs(created.info.run_id)
        parent = min(parents, key=lambda r: (r.info.start_time, r.info.run_id))
        runs = _Runs(parent.info.run_id)
        for child in found:
            index = child.data.tags.get(shown.CANDIDATE_TAG, "")
            if index.isdecimal() and child.data.tags.get(shown.PARENT_TAG) == runs.parent:
                runs.children[int(index)] = _Child(child.info.run_id, set(child.data.params))
        if workflow.end is None and parent.info.status != "RUNNING":
            self._client.update_run(runs.parent, status="RUNNING")  # resumed
        known = _Child(runs.parent, set(parent.data.params))
        self._log(known, [], shown.shown_params(run.params))
        if shown.saved_at_ms(parent.data.tags, parent.data.metrics) is not None:
            runs.earlier = tuple(records_of(self._client, parent))
            runs.sent = {r.record_id for r in runs.earlier}
        return runs

    def _open_child(
        self, runs: _Runs, records: Sequence[Record], workflow: WorkflowHistory
    ) -> _Child:
        first = min(records, key=lambda r: r.started_at)
        created = self._client.create_run(
            self._experiment_id,
            start_time=shown.epoch_ms(first.started_at),
            tags=shown.candidate_tags(first, runs.parent, workflow.run),
            run_name=shown.shortened(first.candidate, shown.MAX_NAME),
        )
        child = runs.children[first.candidate_index] = _Child(created.info.run_id)
        return child

    def _log_data(self, run_id: str, record: Record) -> None:
        """Say which data a workflow had: its size and fingerprint.

        Candidates have a tag for it: a call each would be a tenth of what a save takes.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        data = shown.data_input(record)
        source = json.dumps({"tags": {"fitcast": "the data isn't kept"}})
        made = Dataset(data.name, data.digest, "code", source, profile=data.profile)
        tags = [InputTag("mlflow.data.context", "training")]
        self._client.log_inputs(run_id, [DatasetInput(made, tags)])

    def _log(
        self,
        child: _Child,
        points: Sequence[shown.Point],
        params: Mapping[str, str],
        tags: Mapping[str, str] | None = None,
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        said = [RunTag(k, v) for k, v in (tags or {}).items()]
        new = [Param(k, v) for k, v in params.items() if k not in child.params]
        metrics = [Metric(*point) for point in points]
        while new or metrics or said:
            self._client.log_batch(
                child.run_id,
                metrics=metrics[:_METRICS_PER_BATCH],
                params=new[:_PARAMS_PER_BATCH],
                tags=said,
            )
            said = []
            new, metrics = new[_PARAMS_PER_BATCH:], metrics[_METRICS_PER_BATCH:]
        child.params.update(params)

    def _log_texts(self, run_id: str, records: Sequence[Record], workflow: WorkflowHistory) -> None:
        logs = workflow.logs
        files = {}
        for record in records:
            if record.outcome not in {"succeeded", "cancelled"}:
                text = shown.failure_text(record, logs.get(record.record_id))
                files[shown.attempt_file(record)] = text.encode()
        self._log_files(run_id, files, "failures")
        candidates = {r.candidate_index for r in records}
        of_candidate = [r for r in workflow.records if r.candidate_index in candidates]
        texts = (logs[r.record_id] for r in of_candidate if r.record_id in logs)
        if warnings := shown.warnings_text(texts):
            self._log_files(run_id, {"warnings.txt": warnings.encode()})

    def _log_files(
        self, run_id: str, files: Mapping[str, bytes], folder: str | None = None
    ) -> None:
        # MLflow's own log_text would write it where nobody finds it again after a kill
        if not files:
            return
        with temporary_folder() as temporary:
            for name, content in files.items():
                (temporary / name).write_bytes(content)
            self._client.log_artifacts(run_id, str(temporary), folder)

    def _close(self, run_id: str, status: str, at: Any) -> None:
        self._client.set_terminated(run_id, status=status, end_time=shown.epoch_ms(at))

    # -- reading ---------------------------------------------------------------------------

    @our_errors
    def read(self, cursor: str | None = None, limit: int | None = None) -> tuple[list[Record], str]:
        """Return what is new since ``cursor``; see :meth:`HistoryStore.read`."""
        self.prepare()
        local = sqlite_path(self.tracking_uri) is not None
        overlap_ms = LOCAL_OVERLAP_MS if local else OVERLAP_MS
        position = Cursor.parse(cursor, self.experiment, overlap_ms)
        new = saved_since(self._client, self._experiment_id, position, limit)
        return all_records(self._client, list(new.values())), position.after(new).text()

    def _search(self, condition: str) -> Iterator[Any]:
        return pages(self._client, self._experiment_id, condition)

    # -- the best model ----------------------------------------------------------------------

    @our_errors
    def log_model(
        self,
        workflow_id: str,
        model: Any,
        *,
        input_example: Any = None,
        registered_name: str | None = None,
    ) -> str:
        """Keep a workflow's best model; see :meth:`KeepsModels.log_model`."""
        self.prepare()
        run = self._parent_run(workflow_id)
        if run is None:
            raise HistoryError(f"The history has no workflow {workflow_id} to log its model with.")
        import mlflow.models
        import mlflow.sklearn

        return log_best_model(
            mlflow,
            self._client,
            run,
            model,
            input_example=input_example,
            registered_name=registered_name,
        )

    # -- addresses -------------------------------------------------------------------------

    @our_errors
    def url(self, workflow_id: str) -> str | None:
        """Return where a workflow can be looked at; see :meth:`HistoryStore.url`.

        For a store without a server it is the tracking URI with the path of the run behind ``#``,
        as the MLflow UI has it.
        """
        if (parent := self._parents.get(workflow_id)) is not None:
            return self._run_url(parent)
        self.prepare()
        run = self._parent_run(workflow_id)
        return None if run is None else self._run_url(run.info.run_id)

    def _parent_run(self, workflow_id: str) -> Any:
        condition = (
            f"tags.`{shown.WORKFLOW_TAG}` = '{quoted(workflow_id)}' and "
            f"tags.`{shown.KIND_TAG}` = 'workflow'"
        )
        return next((run for page in self._search(condition) for run in page), None)

    def _run_url(self, run_id: str) -> str:
        base = masked(self.tracking_uri)
        slash = "/" if base.startswith("http") else ""
        page = f"#/experiments/{self._experiment_id}/runs/{run_id}"
        return f"{base}{slash}{page}?{AS_TRAINING}"
