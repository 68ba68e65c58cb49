"""What teams exchange: fits' costs, and nothing that says whose they were or what was in them."""

import re
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitcast.errors import HistoryError
from fitcast.history.codec import write_parquet
from fitcast.history.records import SHARED_POOL, Outcome
from fitcast.history.shared_prior import anonymous, export, import_shared, read_shared
from fitcast.history.store import MemoryHistory
from fitcast.sizing.learning.model import SizingModel
from tests.history.examples import failed, record

CANARY = "canary"


def telling(**changes):
    """Return a record with a canary in every text that a user may have chosen."""
    made = record(
        workflow_id="canary-w",
        workflow_name="canary name",
        record_id="canary-r",
        dataset="canary-d",
        pool="canary-pool",
        worker="canary-worker",
        host="canary-host",
        scores={"canary": 0.123456},
        versions={"canary": "1"},
        error_message="canary",
        error_type="canary",
        **changes,
    )
    request = replace(
        made.request,
        steps=("canary.Scaler", "sklearn.preprocessing.StandardScaler", made.request.algorithm),
        bases=("canary.Base",),
        library_version="canary",
        dtype="canary",
        target="canary",
        rows_train=4321,
        params={
            "canary": "StandardScaler",
            "canary__with_mean": True,
            "canary_step__alpha": 1.0,
            "canary_param": 7,
            "max_depth": 6,
            "objective": "canary",
            "booster": "gbtree",
            "hidden_layer_sizes": "(100, 50)",
            "monotone_constraints": "{'canary': 1}",
        },
    )
    told = replace(made.estimate, why="canary")
    return replace(made, request=request, estimate=told, candidate="canary c")


def test_no_name_and_no_value_is_in_the_file(tmp_path):
    path = tmp_path / "prior.parquet"
    assert export([telling()], path) == 1
    assert b"canary" not in path.read_bytes()
    (row,) = pq.read_table(path).to_pylist()
    assert CANARY not in str(row)
    assert "123456" not in str(row)
    assert row["request_rows_train"] == 4320  # which data it was may be known by its exact rows
    assert row["ended_at"].year == 2000


def test_what_a_cost_depends_on_stays():
    (told,) = anonymous([telling()])
    assert told.request.params == {
        "step0": "StandardScaler",
        "step0__with_mean": True,
        "max_depth": 6,
        "booster": "gbtree",
        "hidden_layer_sizes": "(100, 50)",
    }
    assert told.request.algorithm == "xgboost.sklearn.XGBClassifier"
    assert told.request.steps[1] == "sklearn.preprocessing.StandardScaler"
    assert (told.runtime_s, told.peak_memory_bytes) == (1.5, 150_000_000)


@given(st.text(max_size=30), st.text(max_size=30))
def test_texts_that_nobody_wrote_down_are_not_told(name, value):
    made = telling()
    params = {f"{name}é": f"{value}é", "kernel": f"{value}é", f"{name}é__alpha": 1.0}
    (told,) = anonymous([replace(made, request=replace(made.request, params=params))])
    assert told.request.params == {}


@given(st.from_regex(re.compile(r"[a-z]{3,8}(\.[A-Za-z]{3,8}){1,3}"), fullmatch=True))
def test_classes_of_ones_own_are_not_told(path):
    made = telling()
    told = anonymous([replace(made, request=replace(made.request, algorithm=path))])
    assert not told or path.partition(".")[0] in ("sklearn", "xgboost", "lightgbm", "catboost")


def test_two_files_of_a_history_have_no_name_in_common():
    first, second = anonymous([telling()])[0], anonymous([telling()])[0]
    for name in ("record_id", "workflow_id", "dataset", "candidate"):
        assert getattr(first, name) != getattr(second, name)


def test_fits_of_one_dataset_stay_fits_of_one_dataset():
    told = anonymous([record(candidate=0), record(candidate=1), record("w2", 2, dataset="other")])
    assert told[0].dataset == told[1].dataset != told[2].dataset


def test_failures_and_imported_runs_are_not_told():
    assert anonymous([failed(), record(fold=1, imported=True)]) == []
    with pytest.raises(HistoryError, match="nothing was written"):
        export([failed()], "never.parquet")


def test_another_team_learns_from_the_file(tmp_path):
    path = tmp_path / "prior.parquet"
    records = [
        record("w1", c, f, dataset=f"d{c}", machine_speed=1.0) for c in range(4) for f in range(2)
    ]
    before = SizingModel.prior().estimate([r.request for r in records])
    records = [
        replace(r, runtime_s=3.0 * e.runtime_s_p50) for r, e in zip(records, before, strict=True)
    ]
    export(records, path)
    store = MemoryHistory()
    assert import_shared(path, store) == 8
    assert import_shared(path, store) == 8  # again: nothing new
    known, _ = store.read(None)
    assert len({one.record_id for one in known}) == 8
    assert {one.pool for one in known} == {SHARED_POOL}
    after = SizingModel.prior().train(known).estimate([records[0].request])[0]
    assert after.like_records == 8
    assert 1.4 < after.runtime_s_p50 / before[0].runtime_s_p50 < 3.5


def test_a_strangers_file_brings_nothing_but_what_may_be_told(tmp_path):
    path = tmp_path / "stranger.parquet"
    write_parquet([telling(outcome=Outcome.SUCCEEDED)], path)
    assert CANARY not in repr(read_shared(path))


def test_what_is_no_such_file_is_refused(tmp_path):
    path = tmp_path / "text.parquet"
    path.write_text("no")
    with pytest.raises(HistoryError, match="can't be read"):
        read_shared(path)
    with pytest.raises(HistoryError, match="can't be read"):
        read_shared(tmp_path / "absent.parquet")
