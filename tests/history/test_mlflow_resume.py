"""A workflow that several processes went on with looks in MLflow like one that ran undisturbed."""

import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from mlflow.tracking import MlflowClient

from fitcast.history.mlflow_store import MlflowHistory
from fitcast.history.records import REFIT_FOLD, Outcome
from fitcast.history.writer import HistoryWriter
from tests.history import examples

OF_SAVING = {"fitcast.sent", "fitcast.saves", "fitcast.saved_at"}


@pytest.fixture
def new_store(empty_database, tmp_path):
    """Give a store in a database of its own, or another process's of the same."""

    def new_store(name="resumed"):
        folder = tmp_path / name
        if not folder.exists():
            folder.mkdir()
            shutil.copy(empty_database, folder / "mlflow.db")
        return MlflowHistory(f"sqlite:///{folder}/mlflow.db", artifact_dir=folder / "files")

    return new_store


def whole_workflow():
    lost = examples.record(
        candidate=1, fold=1, outcome=Outcome.OUT_OF_MEMORY, scores={}, record_id="lost"
    )
    again = examples.record(candidate=1, fold=1, attempt=2)
    bad = [examples.failed(candidate=2, fold=f) for f in range(3)]
    at = examples.START + timedelta(minutes=1)
    refit = examples.record(fold=REFIT_FOLD, scores={}, started_at=at, ended_at=at)
    records = (*examples.sweep()[:4], lost, again, examples.sweep()[5], *bad, refit)
    logs = [examples.failure_log(r) for r in (lost, *bad, records[0])]
    return examples.workflow(records=records, logs=logs)


def part_of(whole, stop, state=None):
    end = None if state is None else examples.end(state)
    return replace(whole, records=whole.records[:stop], end=end)


def looks(store, *, points=True):
    """Return all that MLflow shows, without ids and what only fitcast reads."""
    client = MlflowClient(store.tracking_uri)
    experiment = client.get_experiment_by_name("fitcast").experiment_id
    runs = client.search_runs([experiment])
    parents = {r.info.run_id for r in runs if r.data.tags["fitcast.kind"] == "workflow"}
    assert len(parents) == 1
    found = {}
    for run in runs:
        name = run.data.tags.get("fitcast.candidate_index", "workflow")
        assert name not in found
        tags = {k: v for k, v in run.data.tags.items() if k not in OF_SAVING}
        if name != "workflow":
            assert tags.pop("mlflow.parentRunId") in parents
        told = {}
        for key in run.data.metrics:
            history = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, key)]
            steps = Counter(step for step, _ in history)
            attempts = len(history) == len(set(history)) and name == "1"  # one of two failed
            assert attempts or max(steps.values()) == 1, (name, key, history)
            told[key] = sorted(history) if key.startswith(("runtime_s", "score")) else None
        folder = Path(run.info.artifact_uri.removeprefix("file://"))
        files = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
        texts = {n: p.read_text("utf-8") for n, p in files.items() if n.endswith((".txt", ".csv"))}
        found[name] = {
            "info": (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time),
            "data": (run.data.params, tags, run.data.metrics),
            "inputs": [i.dataset.digest for i in run.inputs.dataset_inputs],
            "points": told,
            "files": sorted(files),
            "texts": texts,
        }
        if name == "workflow":
            ids = pq.read_table(files["fitcast/records.parquet"])["record_id"].to_pylist()
            assert len(ids) == len(set(ids))
            found[name]["ids"] = sorted(ids)
    return found


STAGES = {
    "killed": [4],
    "killed twice": [1, 5],
    "interrupted": [(4, "interrupted")],
    "interrupted before anything": [(0, "interrupted")],
    "interrupted after everything": [(99, "interrupted")],
    "interrupted, killed, interrupted twice": [
        (2, "interrupted"),
        6,
        (6, "interrupted"),
        (6, "interrupted"),
    ],
}


@pytest.mark.parametrize("stages", STAGES.values(), ids=STAGES)
def test_it_looks_as_if_it_had_run_undisturbed(new_store, stages):
    whole = whole_workflow()
    undisturbed = new_store("undisturbed")
    undisturbed.save(whole)
    for stage in stages:
        stop, state = stage if isinstance(stage, tuple) else (stage, None)
        new_store().save(part_of(whole, stop, state))
    last = new_store()
    last.save(replace(whole, end=None))
    last.save(whole)
    assert looks(last) == looks(undisturbed)


class KilledError(BaseException):
    """The process ends here."""


class Killing:
    """An MLflow client whose process is killed after one of its calls that change something."""

    def __init__(self, client, at=None, kill=None):
        self._client, self._at, self._kill, self.calls = client, at, kill, 0

    def __getattr__(self, name):
        call = getattr(self._client, name)
        if not name.startswith(("log_", "set_", "create_", "update_", "delete_")):
            return call

        def counted(*args, **kwargs):
            self.calls += 1
            made = call(*args, **kwargs)
            if self.calls == self._at:
                if self._kill is not None:
                    self._kill()
                raise KilledError
            return made

        return counted


def with_client(store, made):
    store.prepare()
    store._client = made(store._client)
    return store._client


@pytest.mark.slow
def test_killed_after_any_call(new_store):
    whole = whole_workflow()
    undisturbed = new_store("undisturbed")
    undisturbed.save(part_of(whole, 4, "interrupted"))
    undisturbed = new_store("undisturbed")
    counted = with_client(undisturbed, Killing)
    undisturbed.save(whole)
    expected = looks(undisturbed)
    for at in range(1, counted.calls + 1):
        name = f"killed at {at}"
        new_store(name).save(part_of(whole, 4, "interrupted"))
        _, cursor = new_store(name).read()
        killed = new_store(name)
        with_client(killed, lambda c, at=at: Killing(c, at))
        with pytest.raises(KilledError):
            killed.save(whole)
        read, cursor = new_store(name).read(cursor)
        last = new_store(name)
        last.save(whole)
        more, _ = last.read(cursor)
        assert Counter(r.record_id for r in (*read, *more)) == Counter(
            r.record_id for r in whole.records[4:]
        )
        assert looks(last) == expected, at


def test_while_it_goes_on_it_runs_and_before_that_it_can_be_resumed(new_store):
    whole = whole_workflow()

    def parent():
        runs = MlflowClient(new_store().tracking_uri).search_runs(
            ["1"], "tags.`fitcast.kind` = 'workflow'"
        )
        assert len(runs) == 1
        return runs[0]

    new_store().save(part_of(whole, 4, "interrupted"))
    before = parent()
    assert before.info.status == "KILLED"
    assert before.data.tags["fitcast.outcome"] == "interrupted"
    note = before.data.tags["mlflow.note.content"]
    assert "The workflow was interrupted" in note
    assert "`fitcast resume w1`" in note
    resumed = new_store()
    resumed.save(part_of(whole, 4))
    during = parent()
    assert during.info.status == "RUNNING"
    assert during.info.start_time == before.info.start_time
    assert during.data.tags["fitcast.outcome"] == "running"
    assert "fitcast resume" not in during.data.tags["mlflow.note.content"]
    resumed.save(whole)
    after = parent()
    assert after.info.status == "FINISHED"
    assert after.info.start_time == before.info.start_time
    assert after.data.tags["fitcast.outcome"] == "succeeded"
    assert "fitcast resume" not in after.data.tags["mlflow.note.content"]


def test_what_is_there_already_costs_no_calls(new_store):
    records = examples.sweep(candidates=30, folds=3)
    whole = examples.workflow(records=records)
    new_store().save(part_of(whole, 60))  # 20 candidates, and then it is killed
    resumed = new_store()
    counted = with_client(resumed, Killing)
    resumed.save(part_of(whole, 60))
    assert counted.calls <= 2


def test_what_a_clock_that_went_back_says_is_shown_all_the_same(new_store):
    whole = whole_workflow()
    later = replace(
        examples.end("interrupted"), ended_at=examples.end().ended_at.replace(year=2030)
    )
    new_store().save(replace(part_of(whole, 4), end=later))
    last = new_store()
    last.save(replace(whole, end=None))
    last.save(whole)
    assert looks(last)["workflow"]["data"][2]["fits/attempts"] == len(whole.records)
    client = MlflowClient(last.tracking_uri)
    (parent,) = client.search_runs(["1"], "tags.`fitcast.kind` = 'workflow'")
    assert parent.data.tags["fitcast.outcome"] == "succeeded"
    assert parent.data.metrics["best_score"] == pytest.approx(0.91)


PROCESS = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from fitcast.history.mlflow_store import MlflowHistory
from fitcast.history.writer import HistoryWriter
from tests.history.test_mlflow_resume import Killing, whole_workflow, with_client
folder, at, upto = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
store = MlflowHistory(f"sqlite:///{{folder}}/mlflow.db", artifact_dir=folder / "files")
with_client(store, lambda c: Killing(c, at, lambda: os.kill(os.getpid(), signal.SIGKILL)))
writer = HistoryWriter(store, folder / "outbox", on_trouble=print, save_every_s=0.0)
whole = whole_workflow()
writer.start_workflow(whole.run)
for record in whole.records[:upto]:
    writer.add(record, whole.logs.get(record.record_id))
writer.flush(120)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.parametrize("plain_client", [False, True], ids=["", "a plain client in between"])
def test_processes_that_are_killed(new_store, tmp_path, plain_client):
    """Each is killed in the middle of its saves; then one comes to the end."""
    whole = whole_workflow()
    undisturbed = new_store("undisturbed")
    undisturbed.save(whole)
    new_store()
    folder = tmp_path / "resumed"
    code = PROCESS.format(root=str(Path(__file__).parents[2]))

    def opened():
        return HistoryWriter(new_store(), folder / "outbox", on_trouble=print, save_every_s=0.0)

    for at, upto in ((1, 2), (3, 5), (99, 7)):
        command = [sys.executable, "-c", code, str(folder), str(at), str(upto)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        if plain_client:
            writer = opened()
            assert writer.flush(120)
            writer.close(120)
    writer = opened()
    writer.start_workflow(whole.run)
    for record in whole.records:
        writer.add(record, whole.logs.get(record.record_id))
    end = whole.end
    writer.finish_workflow(
        "w1", state=end.state, summary_metrics=end.summary_metrics, ended_at=end.ended_at
    )
    assert writer.flush(120)
    writer.close(120)
    assert list((folder / "outbox").iterdir()) == []
    assert looks(new_store()) == looks(undisturbed)
    assert Counter(r.record_id for r in new_store().read()[0]) == Counter(
        r.record_id for r in whole.records
    )
