"""Ordinary MLflow runs, autologged by MLflow itself, become records and are learned from."""

import subprocess
import sys
from dataclasses import replace

import pytest

from fitcast.errors import HistoryError
from fitcast.history.foreign_runs import STOPPED, ForeignRun, read_runs
from fitcast.history.mlflow_import import ForeignExperiment, import_runs
from fitcast.history.store import MemoryHistory
from fitcast.sizing.learning.model import SizingModel

AUTOLOGGED = """
import sys, mlflow
import mlflow.sklearn
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV

mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("theirs")
mlflow.sklearn.autolog(log_models=False, log_post_training_metrics=False)
X, y = make_classification(3000, 12, random_state=0)
for trees in (40, 80):
    with mlflow.start_run():
        RandomForestClassifier(trees, n_jobs=1).fit(X, y)
with mlflow.start_run():
    GridSearchCV(Ridge(), {"alpha": [0.1, 1.0, 10.0]}, cv=2).fit(X, y)
try:
    with mlflow.start_run():
        Ridge().fit(X[:5], y[:4])
except ValueError:
    pass
"""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("theirs")
    uri = f"sqlite:///{folder}/mlflow.db"
    subprocess.run(
        [sys.executable, "-c", AUTOLOGGED, uri], check=True, cwd=folder, capture_output=True
    )
    return uri


def test_autologged_fits_become_records_and_the_rest_is_counted(theirs):
    store = MemoryHistory()
    imported = import_runs(ForeignExperiment(theirs, "theirs"), store)
    assert len(imported.records) == 2 + 3
    forest = imported.records[1]
    assert forest.request.algorithm == "sklearn.ensemble.RandomForestClassifier"
    assert forest.request.params["n_estimators"] == 80
    assert forest.request.params["max_depth"] is None
    assert (forest.request.rows_train, forest.request.columns) == (3000, 12)
    assert forest.request.threads == 1
    assert forest.peak_memory_bytes is None
    assert 0.05 < forest.runtime_s < 60
    assert forest.imported
    assert sum(imported.skipped.values()) >= 3  # the search's candidates, the failed one
    assert [r.record_id for r in store.read()[0]] == [r.record_id for r in imported.records]


def test_importing_again_adds_nothing(theirs):
    store = MemoryHistory()
    for _ in range(2):
        import_runs(ForeignExperiment(theirs, "theirs"), store)
    assert len(store.read()[0]) == 5


@pytest.mark.slow
def test_a_search_is_learned_from_by_the_table_of_all_its_candidates(theirs):
    imported = import_runs(ForeignExperiment(theirs, "theirs"), MemoryHistory())
    searched = [r for r in imported.records if "Ridge" in r.request.algorithm]
    assert [r.request.params["alpha"] for r in searched] == [0.1, 1.0, 10.0]
    assert len({r.record_id for r in searched}) == len({r.runtime_s for r in searched}) == 3
    for record in searched:
        assert record.request.algorithm == "sklearn.linear_model.Ridge"
        assert (record.request.rows_train, record.request.rows_test) == (1500, 1500)
        assert record.request.params["solver"] == "auto"
        assert record.imported
        assert record.peak_memory_bytes is record.cpu_s is None  # not 0: it wasn't measured


def test_what_is_imported_counts_less_than_what_was_measured(theirs):
    record = import_runs(ForeignExperiment(theirs, "theirs"), MemoryHistory()).records[1]
    slow = replace(record, runtime_s=60.0)
    law, imported, measured = (
        model.estimate([record.request], dataset=record.dataset)[0]
        for model in (
            SizingModel.prior(),
            SizingModel.prior().train([slow]),
            SizingModel.prior().train([replace(slow, imported=False)]),
        )
    )
    assert law.runtime_s_p50 < imported.runtime_s_p50 < measured.runtime_s_p50
    assert imported.peak_memory_bytes_p50 == law.peak_memory_bytes_p50


@pytest.mark.slow
def test_an_experiment_that_is_not_there_is_said_and_not_made(theirs, tmp_path):
    with pytest.raises(HistoryError, match=r"no experiment 'their'; it has: .*theirs"):
        ForeignExperiment(theirs, "their").runs()
    with pytest.raises(HistoryError, match="no MLflow database"):
        ForeignExperiment(f"sqlite:///{tmp_path}/none.db", "theirs").runs()
    assert not list(tmp_path.glob("*.db"))


def run(**changed):
    given = {
        "run_id": "r",
        "status": "FINISHED",
        "params": {"n_jobs": "None"},
        "tags": {"estimator_class": "xgboost.sklearn.XGBClassifier"},
        "started_ms": 1_000_000,
        "ended_ms": 1_005_000,
        "profiles": ['{"num_rows": 100, "num_elements": 500}'],
    }
    return ForeignRun(**(given | changed))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"status": "FAILED"}, "finish"),
        ({"tags": {}}, "no estimator"),
        ({"ended_ms": None}, "no times"),
        ({"ended_ms": 999_000}, "too short"),
        ({"profiles": []}, "size of the data"),
        ({"profiles": ["no json", "[]", '{"num_rows": true, "num_elements": 5}']}, "size"),
        ({"profiles": ['{"features_shape": [-1, 3]}']}, "size of the data"),
    ],
)
def test_a_run_that_tells_nothing_is_left_out_with_the_reason(changed, reason):
    imported = read_runs([run(**changed)], "w", "w")
    assert not imported.records
    assert reason in next(iter(imported.skipped))


def test_wrappers_and_native_training_are_known_by_one_name():
    native = run(
        params={"num_boost_round": "50", "max_depth": "4"}, tags={"mlflow.autologging": "lightgbm"}
    )
    one, other = read_runs([run(), native], "w", "w").records
    assert one.request.algorithm == "xgboost.XGBClassifier"
    assert other.request.algorithm == "lightgbm.LGBMClassifier"
    assert other.request.params["n_estimators"] == 50
    assert other.runtime_s == 5.0


def test_what_nobody_logged_of_threads_and_rounds_is_unknown():
    boosted, told, forest, other = read_runs(
        [
            run(params={"n_jobs": "None", "n_estimators": "1000"}),
            run(params={"n_jobs": "2"}, metrics={STOPPED: 31.0}),
            run(params={"n_jobs": "None"}, tags={"estimator_class": "sklearn.ensemble.Forest"}),
            run(params={}, tags={"estimator_class": "sklearn.ensemble.Forest"}),
        ],
        "w",
        "w",
    ).records
    assert boosted.request.threads == 0
    assert boosted.request.params["early_stopping_rounds"] == "unknown"
    assert told.request.threads == 2
    assert told.request.params["n_estimators"] == 31
    assert "early_stopping_rounds" not in told.request.params
    assert forest.request.threads == 1
    assert other.request.threads == 0
    assert "early_stopping_rounds" not in forest.request.params


SEARCH = {"estimator_class": "sklearn.model_selection._search.GridSearchCV"}
RESULTS = """mean_fit_time,mean_score_time,param_C,split0_test_score,split1_test_score
1.5,0.5,0.1,0.9,0.8
nan,nan,1.0,nan,nan
0.0,0.0,10.0,0.7,0.7
"""


def searched(results=RESULTS, **below):
    tags = {"estimator_class": "sklearn.svm._classes.SVC", "mlflow.parentRunId": "r"} | below
    return read_runs([run(tags=SEARCH, cv_results=results), run(run_id="c", tags=tags)], "w", "w")


def test_candidates_without_times_are_left_out_not_zero():
    (record,) = searched().records
    assert (record.runtime_s, record.request.params["C"]) == (2.0, 0.1)
    assert (record.request.rows_train, record.request.rows_test) == (50, 50)


@pytest.mark.parametrize("results", ["", "no,table", "mean_fit_time\nlong\n", "\0\n\0"])
def test_a_table_that_tells_nothing_is_counted(results):
    imported = searched(results)
    assert not imported.records
    assert any("search" in reason for reason in imported.skipped)


def test_the_memory_of_the_runs_own_process_is_taken_not_that_of_the_machine():
    own, of_machine = (
        read_runs([run(metrics={f"system/{name}_usage_megabytes": 300.0})], "w", "w").records[0]
        for name in ("process_memory", "system_memory")
    )
    assert own.peak_memory_bytes == 300_000_000
    assert of_machine.peak_memory_bytes is None


def test_a_search_over_a_pipeline_is_left_out_with_the_reason():
    # MLflow 3.17 logs its steps as `[('scaler', StandardScaler()), ...]`: no modules
    imported = searched(estimator_class="sklearn.pipeline.Pipeline")
    assert all("pipeline" not in record.request.algorithm for record in imported.records)
    assert any("without the modules" in reason for reason in imported.skipped)
