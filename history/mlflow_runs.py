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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fitcast.history import presentation as shown
from fitcast.history.codec import write_parquet
from fitcast.history.mlflow_edges import local_folder, quoted
from fitcast.history.mlflow_reading import (
    RECORDS_FILE,
    RECORDS_FOLDER,
    pages,
    records_of,
    saves_of,
)
from fitcast.history.records import Record
from fitcast.history.review.description import candidate_note, workflow_note
from fitcast.history.review.files import review_files
from fitcast.history.review.summary import summarise
from fitcast.history.saves import Save, mark, marks_text, parse_marks, saves_text
from fitcast.history.store import (
    WorkflowEnd,
    WorkflowHistory,
    WorkflowRun,
    standing_end,
    unique_records,
)
from fitcast.history.temporary_files import temporary_folder

_PARAMS_PER_BATCH: Final = 100  # MLflow's own limit
_METRICS_PER_BATCH: Final = 800  # MLflow takes 1,000 things of all kinds together


@dataclass(slots=True)
class _Child:
    run_id: str
    params: set[str] = field(default_factory=set)  # names that are already there
    marks: dict[str, None] = field(default_factory=dict)  # of the attempts that it shows
    # If it is closed: the attempts that its totals are of, its status, when it ended
    closed: tuple[int, str, int] | None = None


@dataclass(slots=True)
class WorkflowRuns:
    """What MLflow already holds of one workflow."""

    of: WorkflowRun
    parent: str
    folder: Path | None = None  # of its artifacts, if it is on this machine
    children: dict[int, _Child] = field(default_factory=dict)
    earlier: tuple[Record, ...] = ()  # of a workflow that had ended before and was resumed
    sent: set[str] = field(default_factory=set)  # their ids: what is stored needs no mark
    saves: list[Save] = field(default_factory=list)
    end: WorkflowEnd | None = None  # as it is stored

    def shows(self, record: Record) -> bool:
        """Return whether the run of its candidate has an attempt already."""
        child = self.children.get(record.candidate_index)
        marks: Mapping[str, None] = {} if child is None else child.marks
        return record.record_id in self.sent or mark(record.record_id) in marks


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
            return WorkflowRuns(run, created.info.run_id, local_folder(created))
        parent = min(parents, key=lambda r: (r.info.start_time, r.info.run_id))
        runs = WorkflowRuns(run, parent.info.run_id, local_folder(parent), end=_stored_end(parent))
        for run_found in found:
            index = run_found.data.tags.get(shown.CANDIDATE_TAG, "")
            if index.isdecimal() and run_found.data.tags.get(shown.PARENT_TAG) == runs.parent:
                runs.children[int(index)] = _known_child(run_found)
        if workflow.end is None and (runs.end or parent.info.status != "RUNNING"):
            self._reopen(runs)
        known = _Child(runs.parent, set(parent.data.params))
        self._log(known, [], shown.shown_params(run.params))
        if saves := saves_of(parent):
            # What was put behind the rows of the last save by one that broke off is there, too
            stop = saves[-1].stop
            parts = [(0, stop)] if stop is None else [(0, stop), (stop, None)]
            saved, *broken_off = records_of(self._client, parent, parts)
            runs.earlier = (*saved, *(r for part in broken_off for r in part))
            runs.sent = {r.record_id for r in runs.earlier}
            if stop in {None, len(saved)}:  # else readers get all of it again
                runs.saves = [*saves[:-1], saves[-1]._replace(stop=len(saved))]
        return runs

    def _reopen(self, runs: WorkflowRuns) -> None:
        """Let a workflow that had ended run again."""
        tags = dict.fromkeys((shown.STATE_TAG, shown.OUTCOME_TAG), shown.RUNNING)
        tags[shown.NOTE_TAG] = "The workflow was interrupted and resumed; it runs again."
        self._log(_Child(runs.parent), [], {}, tags)
        self._client.update_run(runs.parent, status="RUNNING")
        runs.end = None

    def save(self, runs: WorkflowRuns, workflow: WorkflowHistory) -> None:
        """Write what is new of a workflow into its runs; they know then that it is there."""
        end = workflow.end and standing_end(runs.end, workflow.end)
        records = unique_records(runs.earlier + workflow.records)
        by_candidate: dict[int, list[Record]] = defaultdict(list)
        for record in records:
            by_candidate[record.candidate_index].append(record)
        for _, of_candidate in sorted(by_candidate.items()):
            self._save_candidate(runs, of_candidate, workflow, ended=end is not None)
        if records:
            latest = max(r.ended_at for r in records)
            totals = shown.points(shown.totals(records), latest, len(records))
            self._log(_Child(runs.parent), totals, {})
        if end is not None:
            self._save_end(runs, records, workflow, end)

    def _save_candidate(
        self,
        runs: WorkflowRuns,
        records: Sequence[Record],
        workflow: WorkflowHistory,
        *,
        ended: bool,
    ) -> None:
        new = [r for r in records if not runs.shows(r)]
        last = max(r.ended_at for r in records)
        status = shown.candidate_status(records)
        closed = (len(records), status, shown.epoch_ms(last))
        child = runs.children.get(records[0].candidate_index)
        if not new and (not ended or (child is not None and child.closed == closed)):
            return
        if child is None:
            child = self._open_child(runs, new or records, workflow)
        elif child.closed is not None and not ended:
            self._client.update_run(child.run_id, status="RUNNING")
        child.closed = None
        # Files first: an attempt with a mark is never looked at again
        self._log_texts(child.run_id, new, workflow)
        points = [p for r in new for p in shown.fit_points(r)]
        marks = child.marks | dict.fromkeys(mark(r.record_id) for r in new)
        tags = {shown.SENT_TAG: marks_text(marks, shown.MAX_TAG)} if new else {}
        if ended:
            summary = shown.totals(records) | shown.mean_scores(records)
            # MLflow shows the value of the highest step: the one of all attempts, whatever the
            # clocks of the processes said that saved some of them
            points += shown.points(summary, last, len(records))
            tags[shown.OUTCOME_TAG] = shown.OUTCOMES[status]
            tags[shown.NOTE_TAG] = candidate_note(records)
        self._log(child, points, shown.candidate_params(records[0]), tags)
        child.marks = marks
        if ended:
            self._close(child.run_id, status, last)

    def _save_end(
        self,
        runs: WorkflowRuns,
        records: Sequence[Record],
        workflow: WorkflowHistory,
        end: WorkflowEnd,
    ) -> None:
        contents = io.BytesIO()
        write_parquet(records, contents)
        self._log_records(runs, contents.getvalue())
        run = workflow.run
        step = len(records)
        points = shown.points(end.summary_metrics, end.ended_at, step)
        best = summarise(records, str(run.params.get("refit", ""))).best_score
        points += shown.points({"best_score": best}, end.ended_at, step)
        tags = shown.end_tags(records, end.state)
        tags[shown.NOTE_TAG] = workflow_note(run, records, end)
        self._log(_Child(runs.parent), points, {}, tags)
        self._close(runs.parent, shown.workflow_status(end), end.ended_at)
        runs.saves.append(self._next_save(runs, len(records)))
        self._log(
            _Child(runs.parent),
            [],
            {},
            {
                shown.SAVES_TAG: saves_text(runs.saves, shown.MAX_TAG),
                shown.SAVED_AT_TAG: shown.saved_at_text(runs.saves[-1].at_ms),
            },
        )
        if records:
            self._log_data(runs.parent, records[0])
        self._log_files(runs.parent, review_files(run, records, workflow.logs))

    @staticmethod
    def _next_save(runs: WorkflowRuns, rows: int) -> Save:
        now = int(time.time() * 1000)
        if not runs.saves:
            return Save(now, 0, rows)
        last = runs.saves[-1]
        # Each has a time of its own, also where a clock went back
        return Save(max(now, last.at_ms + 1), last.stop or 0, rows)

    def _log_records(self, runs: WorkflowRuns, content: bytes) -> None:
        """Put the file that readers read in the place of the last one, whole where that can be."""
        if runs.folder is None:
            self._log_files(runs.parent, {RECORDS_FILE: content}, RECORDS_FOLDER)
            return
        folder = runs.folder / RECORDS_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f".{RECORDS_FILE}.new"
        unfinished.write_bytes(content)
        unfinished.replace(folder / RECORDS_FILE)

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
            now, later = metrics[:_METRICS_PER_BATCH], metrics[_METRICS_PER_BATCH:]
            more = bool(later or new[_PARAMS_PER_BATCH:])
            self._client.log_batch(
                child.run_id,
                metrics=now,
                params=new[:_PARAMS_PER_BATCH],
                tags=[] if more else said,  # last: a mark says that all before it is there
            )
            new, metrics = new[_PARAMS_PER_BATCH:], later
            said = said if more else []
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


def _known_child(run: Any) -> _Child:
    """Return what a candidate's run has, as the search for it says."""
    closed = None
    if run.info.end_time is not None and run.info.status not in {"RUNNING", "SCHEDULED"}:
        counted = int(run.data.metrics.get("fits/attempts", 0))
        closed = (counted, run.info.status, run.info.end_time)
    marks = parse_marks(run.data.tags.get(shown.SENT_TAG, ""))
    return _Child(run.info.run_id, set(run.data.params), marks, closed)


def _stored_end(parent: Any) -> WorkflowEnd | None:
    """Return how a workflow ended, as its run says; None if it runs."""
    state = parent.data.tags.get(shown.STATE_TAG, shown.RUNNING)
    if state == shown.RUNNING or parent.info.end_time is None:
        return None
    told = {k: v for k, v in parent.data.metrics.items() if k.startswith("makespan_s/")}
    ended_at = datetime.fromtimestamp(parent.info.end_time / 1000, UTC)
    return WorkflowEnd(state=state, ended_at=ended_at, summary_metrics=told)
