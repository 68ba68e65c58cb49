"""What a reviewer finds in MLflow, and what is said when a store can't be used."""

import os
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from fitcast.errors import HistoryError
from fitcast.history.mlflow_store import MlflowHistory
from fitcast.history.records import REFIT_FOLD, Outcome
from tests.history import examples


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    """As the other tests have it, but fitcast's experiment is still to be made in it."""
    path = tmp_path_factory.mktemp("schema") / "mlflow.db"
    MlflowHistory(f"sqlite:///{path}", experiment="unused").prepare()
    return path


@pytest.fixture
def store(empty_database, tmp_path):
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return MlflowHistory(f"sqlite:///{tmp_path}/mlflow.db")


def runs_of(store, kind):
    client = MlflowClient(store.tracking_uri)
    experiment = client.get_experiment_by_name("fitcast").experiment_id
    return client, client.search_runs(
        [experiment], f"tags.`fitcast.kind` = '{kind}'", order_by=["attributes.start_time ASC"]
    )


def history_of(client, run, key):
    return {m.step: m.value for m in client.get_metric_history(run.info.run_id, key)}


def test_a_parent_run_with_totals_and_a_child_per_candidate(store):
    store.save(examples.workflow())
    client, (parent,) = runs_of(store, "workflow")
    assert parent.info.run_name == "flights"
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {"cv": "3", "scoring": "roc_auc"}
    assert parent.data.tags["team"] == "delays"
    assert parent.data.tags["fitcast.state"] == "succeeded"
    assert parent.data.metrics["eta_p50_s"] == 12.5
    assert parent.data.metrics["fits/succeeded"] == 7
    assert parent.info.end_time - parent.info.start_time == 300_000
    artifacts = [f.path for f in client.list_artifacts(parent.info.run_id, "fitcast")]
    assert artifacts == ["fitcast/records.parquet"]

    _, children = runs_of(store, "candidate")
    assert [c.info.run_name for c in children] == ["xgb max_depth=0", "xgb max_depth=1"]
    assert {c.data.tags["mlflow.parentRunId"] for c in children} == {parent.info.run_id}
    assert {c.info.status for c in children} == {"FINISHED"}


def test_the_forecast_stands_beside_what_was_measured_fold_by_fold(store):
    store.save(examples.workflow())
    client, (child, _) = runs_of(store, "candidate")
    assert child.data.params["max_depth"] == "0"
    assert child.data.params["gpu"] == "None"
    assert child.data.params["algorithm"] == "xgboost.sklearn.XGBClassifier"
    assert history_of(client, child, "runtime_s/measured") == {0: 1.5, 1: 2.5, 2: 3.5}
    assert history_of(client, child, "runtime_s/forecast_p50") == {0: 2.0, 1: 2.0, 2: 2.0}
    assert history_of(client, child, "runtime_s/forecast_p90") == {0: 4.0, 1: 4.0, 2: 4.0}
    assert history_of(client, child, "score") == pytest.approx({0: 0.9, 1: 0.91, 2: 0.92})
    metrics = child.data.metrics
    assert metrics["mean_score"] == pytest.approx(0.91)
    assert metrics["peak_memory_bytes/forecast_p50"] == 10**8
    assert metrics["failure_probability/forecast"] == 0.01
    assert metrics["refit/runtime_s/measured"] == 1.5 + REFIT_FOLD
    assert {"cpu_s/measured", "peak_memory_bytes/measured"} <= set(metrics)
    assert "refit/runtime_s/forecast_p50" in metrics


def test_failures_are_files_and_a_candidate_without_success_has_failed(store):
    bad = [examples.failed(candidate=1, fold=f) for f in range(3)]
    once = examples.failed(candidate=0, fold=0, outcome=Outcome.OUT_OF_MEMORY)
    again = examples.record(candidate=0, fold=0, attempt=2)
    store.save(
        examples.workflow(
            records=[once, again, *bad], logs=[examples.failure_log(r) for r in (*bad, once)]
        )
    )
    client, (first, second) = runs_of(store, "candidate")
    assert (first.info.status, second.info.status) == ("FINISHED", "FAILED")
    assert first.data.metrics["fits/failed"] == 0
    assert second.data.metrics["fits/failed"] == 3
    names = [f.path for f in client.list_artifacts(second.info.run_id, "failures")]
    assert names == [f"failures/c0001-f{f}.txt" for f in range(3)]
    folder = Path(second.info.artifact_uri.removeprefix("file://"))
    text = (folder / names[0]).read_text(encoding="utf-8")
    assert "ValueError: no good" in text
    assert "Traceback (most recent call last)" in text
    assert "complaint ünïcode" in text
    assert "3 × ConvergenceWarning: not yet" in (folder / "warnings.txt").read_text("utf-8")


@pytest.mark.parametrize(
    ("state", "status"),
    [("succeeded", "FINISHED"), ("failed", "FAILED"), ("cancelled", "KILLED")],
)
def test_the_state_of_the_workflow_is_the_status_of_its_run(store, state, status):
    store.save(replace(examples.workflow(), end=examples.end(state)))
    assert runs_of(store, "workflow")[1][0].info.status == status


def test_a_save_that_broke_off_is_repeated_without_doubles(store):
    whole = examples.workflow()
    store.save(replace(whole, records=whole.records[:4], end=None))
    another_process = MlflowHistory(store.tracking_uri)
    another_process.save(whole)
    client, parents = runs_of(store, "workflow")
    _, children = runs_of(store, "candidate")
    assert len(parents) == 1
    assert len(children) == 2
    history = client.get_metric_history(children[0].info.run_id, "runtime_s/measured")
    assert sorted(m.step for m in history) == [0, 1, 2]


def test_a_resumed_workflow_runs_again_and_keeps_its_records(store):
    whole = examples.workflow()
    interrupted = replace(whole, records=whole.records[:4], end=examples.end("interrupted"))
    store.save(interrupted)
    rest = replace(whole, records=whole.records[4:], end=None)
    MlflowHistory(store.tracking_uri).save(rest)
    assert runs_of(store, "workflow")[1][0].info.status == "RUNNING"
    MlflowHistory(store.tracking_uri).save(replace(rest, end=whole.end))
    assert runs_of(store, "workflow")[1][0].info.status == "FINISHED"
    assert {r.record_id for r in store.read()[0]} == {r.record_id for r in whole.records}


def test_a_damaged_file_is_left_out_with_a_warning(store, caplog):
    store.save(examples.workflow("w1"))
    store.save(examples.workflow("w2"))
    _, (first, _) = runs_of(store, "workflow")
    path = Path(first.info.artifact_uri.removeprefix("file://")) / "fitcast/records.parquet"
    path.write_bytes(b"PAR1 but not really")
    records, _ = store.read()
    assert len({r.workflow_id for r in records}) == 1
    assert "can't be read" in caplog.text


def test_a_database_deleted_meanwhile_is_made_anew(store, tmp_path):
    store.save(examples.workflow("w1"))
    (tmp_path / "mlflow.db").unlink()
    store.save(examples.workflow("w2"))
    assert {r.workflow_id for r in MlflowHistory(store.tracking_uri).read()[0]} == {"w2"}


def test_nothing_is_written_to_the_current_folder_or_the_terminal(tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from fitcast.history.mlflow_store import MlflowHistory
from tests.history import examples
assert "mlflow" not in sys.modules, "imported too early"
store = MlflowHistory("sqlite:///{tmp_path}/store/mlflow.db")
store.save(examples.workflow())
assert len(store.read()[0]) == 7
import threading
assert not [t.name for t in threading.enumerate() if "elemetry" in t.name]
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(here.iterdir()) == []
    assert sorted(p.name for p in (tmp_path / "store").iterdir()) == [
        "mlartifacts",
        "mlflow.db",
        "mlflow.db.lock",
    ]


@pytest.mark.slow
def test_processes_that_start_at_once_on_a_fresh_store(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from fitcast.history.mlflow_store import MlflowHistory
from tests.history import examples
MlflowHistory("sqlite:///{tmp_path}/mlflow.db").save(examples.workflow(sys.argv[1]))
"""
    processes = [subprocess.Popen([sys.executable, "-c", code, f"w{n}"]) for n in range(2)]
    assert [p.wait() for p in processes] == [0, 0]
    records, _ = MlflowHistory(f"sqlite:///{tmp_path}/mlflow.db").read()
    assert {r.workflow_id for r in records} == {"w0", "w1"}


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("file:///tmp/mlruns", "sqlite:///"),
        ("./mlruns", "is a folder"),
        ("sqlite://two/slashes.db", "too few slashes"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///", "names no file"),
        ("ftp://user:secret@host/x", r"unknown kind \(ftp\)"),
        ("http://", "no valid host"),
        ("http://host:seven", "no valid host"),
        ("", "is a folder"),
        ("http://user:secret@127.0.0.1:9", "No MLflow server answers"),
    ],
)
def test_a_wrong_uri_says_what_to_do(uri, says):
    with pytest.raises(HistoryError, match=says) as caught:
        MlflowHistory(uri).prepare()
    assert "secret" not in str(caught.value)


def test_a_relative_path_stays_where_it_was_first(tmp_path, monkeypatch, empty_database):
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    store = MlflowHistory("sqlite:///mlflow.db")
    store.prepare()
    monkeypatch.chdir("/")
    store.save(examples.workflow())
    assert len(MlflowHistory(f"sqlite:///{tmp_path}/mlflow.db").read()[0]) == 7


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "mlflow.db").write_text("shopping list, not a database\n" * 100)
    with pytest.raises(HistoryError, match="not a database"):
        MlflowHistory(f"sqlite:///{tmp_path}/mlflow.db").prepare()


def test_a_folder_in_place_of_the_file(tmp_path):
    with pytest.raises(HistoryError, match="must name a file"):
        MlflowHistory(f"sqlite:///{tmp_path}").prepare()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(HistoryError, match="may"):
        MlflowHistory(f"sqlite:///{tmp_path}/mlflow.db").prepare()
    with pytest.raises(HistoryError, match="can't be made"):
        MlflowHistory(f"sqlite:///{tmp_path}/deeper/mlflow.db").prepare()


def test_a_path_through_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HistoryError, match="can't be made"):
        MlflowHistory(f"sqlite:///{tmp_path}/file/mlflow.db").prepare()


def test_a_deleted_experiment_says_how_to_restore_it(store):
    store.prepare()
    client = MlflowClient(store.tracking_uri)
    client.delete_experiment(client.get_experiment_by_name("fitcast").experiment_id)
    with pytest.raises(HistoryError, match="experiments restore"):
        MlflowHistory(store.tracking_uri).prepare()


def test_the_experiment_opens_as_model_training_one_that_is_there_too(store):
    client = MlflowClient(store.tracking_uri)
    made = client.create_experiment("fitcast", artifact_location=str(store.tracking_uri)[10:-9])
    client.set_experiment_tag(made, "mlflow.note.content", "ours")
    store.prepare()
    tags = client.get_experiment(made).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert tags["mlflow.note.content"] == "ours"  # what people wrote stays
    assert store.save(examples.workflow()).endswith("?workflowType=machine_learning")


def test_a_workflow_has_a_description_tags_data_and_files(store):
    store.save(examples.workflow())
    client, (parent,) = runs_of(store, "workflow")
    assert "best of 2 candidates" in parent.data.tags["mlflow.note.content"]
    assert parent.data.tags["fitcast.algorithm"] == "XGBClassifier"
    assert parent.data.tags["fitcast.outcome"] == "succeeded"
    assert not [name for name in parent.data.metrics if name.startswith("system/")]
    names = {f.path for f in client.list_artifacts(parent.info.run_id)}
    pages = {"timeline.html", "forecast.html", "leaderboard.csv", "fits.parquet"}
    assert names == pages | {"fitcast"}
    (data,) = parent.inputs.dataset_inputs
    assert data.dataset.digest == "0123456789abcdef"
    assert data.dataset.name == "5,000 rows × 20 columns"
    _, children = runs_of(store, "candidate")
    assert {run.data.tags["fitcast.dataset"] for run in children} == {"0123456789abcdef"}


def test_what_was_forecast_is_listed_beside_what_was_measured(store):
    store.save(examples.workflow())
    for kind in ("workflow", "candidate"):
        _, runs = runs_of(store, kind)
        for run in runs:  # as MLflow's pages list them
            heads = [name.rpartition("/")[0] for name in run.data.metrics if "/" in name]
            assert len([a for a, b in pairwise(heads) if a != b]) + 1 == len(set(heads))


def test_what_the_last_version_saved_is_read_once_and_among_what_is_new(store):
    store.save(examples.workflow("old"))
    client, (run,) = runs_of(store, "workflow")
    client.delete_tag(run.info.run_id, "fitcast.saved_at")
    client.log_metric(run.info.run_id, "system/fitcast_saved_at_ms", 1_772_000_000_000)
    store.save(examples.workflow("new"))
    records, cursor = store.read()
    assert list(dict.fromkeys(r.workflow_id for r in records)) == ["old", "new"]
    assert store.read(cursor) == ([], cursor)
    straggler = examples.record("old", attempt=2)
    store.save(examples.workflow("old", [*examples.sweep("old"), straggler]))  # by this version
    assert store.read(cursor)[0] == [straggler]
