"""The runs of one workflow in MLflow: its own, and below it one per candidate.

In: making, finding and filling them. Not in: what they show (:mod:`fitcast.history.presentation`),
opening MLflow and the errors it may raise (:mod:`fitcast.history.mlflow_store`).
"""

import io
import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fitcast.history import presentation as shown
from fitcast.history.codec import write_parquet
from fitcast.history.mlflow_edges import quoted
from fitcast.history.mlflow_reading import RECORDS_FILE, RECORDS_FOLDER, pages, records_of
from fitcast.history.records import Record
from fitcast.history.review.description import candidate_note, workflow_note
from fitcast.history.review.files import review_files
from fitcast.history.review.summary import summarise
from fitcast.history.store import WorkflowEnd, WorkflowHistory, unique_records
from fitcast.history.temporary_files import temporary_folder

_PARAMS_PER_BATCH: Final = 100  # MLflow's own limit
_METRICS_PER_BATCH: Final = 800  # MLflow takes 1,000 things of all kinds together


@dataclass(slots=True)
class _Child:
    run_id: str
    params: set[str] = field(default_factory=set)  # names that are already there


@dataclass(slots=True)
class WorkflowRuns:
    """What MLflow already holds of one workflow."""

    parent: str
    children: dict[int, _Child] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)  # record ids
    earlier: tuple[Record, ...] = ()  # of a workflow that had ended before and was resumed


class RunWriter:
    """Writes workflows' runs into an experiment.

    Parameters
    ----------
    client
        MLflow's client of the store.
    experiment_id
        The experiment in which runs are made.
    """

    def __init__(self, client: Any, experiment_id: str) -> None:
        self._client = client
        self._experiment_id = experiment_id

    def open(self, workflow: WorkflowHistory) -> WorkflowRuns:
        """Find the runs of a workflow that an earlier process or save made, or make the first."""
        run = workflow.run
        tag = f"tags.`{shown.WORKFLOW_TAG}` = '{quoted(run.workflow_id)}'"
        found = [r for page in pages(self._client, self._experiment_id, tag) for r in page]
        parents = [r for r in found if r.data.tags.get(shown.KIND_TAG) == "workflow"]
        if not parents:
            created = self._client.create_run(
                self._experiment_id,
                start_time=shown.epoch_ms(run.started_at),
                tags=shown.workflow_tags(run),
                run_name=shown.shortened(run.name or run.workflow_id, shown.MAX_NAME),
            )
            self._log(_Child(created.info.run_id), [], shown.shown_params(run.params))
            return WorkflowRuns(created.info.run_id)
        parent = min(parents, key=lambda r: (r.info.start_time, r.info.run_id))
        runs = WorkflowRuns(parent.info.run_id)
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

    def save(self, runs: WorkflowRuns, workflow: WorkflowHistory) -> None:
        """Write what is new of a workflow into its runs; they know then that it is there."""
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
        runs: WorkflowRuns,
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

    def _open_child(
        self, runs: WorkflowRuns, records: Sequence[Record], workflow: WorkflowHistory
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
