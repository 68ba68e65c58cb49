import json
import logging
import math
from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitcast.history import codec
from fitcast.history.records import SCHEMA_VERSION, Estimate, Record, Request
from tests.history import examples


@given(examples.records)
@settings(deadline=None)
def test_json_and_back_is_the_same_record(record):
    assert codec.row_to_record(json.loads(json.dumps(codec.record_to_json(record)))) == record


@given(st.lists(examples.records, max_size=4))
@settings(max_examples=60, deadline=None)
def test_parquet_and_back_is_the_same_records(records):
    sink = pa.BufferOutputStream()
    pq.write_table(codec.records_to_table(records), sink, compression="zstd")
    assert codec.table_to_records(pq.read_table(sink.getvalue())) == records


def test_every_field_has_a_column():
    nested = {"request", "estimate"}
    wanted = {f.name for f in fields(Record)} - nested
    wanted |= {f"request_{f.name}" for f in fields(Request)}
    wanted |= {f"estimate_{f.name}" for f in fields(Estimate)}
    assert set(codec.SCHEMA.names) == wanted


def test_a_file_on_disk(tmp_path):
    path = tmp_path / "odd=folder" / "records.parquet"
    path.parent.mkdir()
    codec.write_parquet(examples.sweep(), path)
    assert tuple(codec.read_parquet(path)) == examples.sweep()
    codec.write_parquet([], path)
    assert codec.read_parquet(path) == []


def test_newer_rows_are_left_out_with_one_warning(caplog):
    table = codec.records_to_table(examples.sweep())
    newer = [SCHEMA_VERSION + 1 if i % 2 else SCHEMA_VERSION for i in range(table.num_rows)]
    table = table.set_column(0, "schema_version", pa.array(newer))
    with caplog.at_level(logging.WARNING):
        found = codec.table_to_records(table)
    assert found == list(examples.sweep())[::2]
    assert len(caplog.records) == 1
    assert "upgrade fitcast" in caplog.text


def test_unknown_columns_are_ignored_and_missing_ones_get_their_default():
    table = codec.records_to_table(examples.sweep())
    table = table.append_column("colour", pa.array(["red"] * table.num_rows))
    table = table.drop_columns(["error_type", "estimate_why", "request_threads", "versions"])
    first = codec.table_to_records(table)[0]
    expected = examples.sweep()[0]
    assert first.error_type == ""
    assert first.request.threads == 1
    assert first == replace(expected, versions={}, estimate=replace(expected.estimate, why=""))


@pytest.mark.parametrize(
    "change", [{"outcome": "exploded"}, {"started_at": "yesterday"}, {"request_params": "{"}]
)
def test_rows_that_make_no_sense_are_left_out(change, caplog):
    assert codec.row_to_record(codec.record_to_json(examples.record()) | change) is None
    assert "left out" in caplog.text


def test_values_that_no_column_holds_are_brought_into_range():
    odd = examples.record(
        memory_limit_bytes=math.inf,
        peak_memory_bytes=2**80,
        error_message="half a pair \ud800",
        runtime_s=np.float32(1.5),
        scores={"auc": np.float64(0.5), "n": np.int64(3)},
        started_at=datetime(2026, 1, 1, 14, tzinfo=timezone(timedelta(hours=2))),
        ended_at=datetime(2026, 1, 1, 12),
    )
    found = codec.table_to_records(codec.records_to_table([odd]))[0]
    assert found.memory_limit_bytes == found.peak_memory_bytes == 2**63 - 1
    assert found.error_message == "half a pair \\ud800"
    assert found.scores == {"auc": 0.5, "n": 3}
    assert found.started_at == found.ended_at


def test_nan_stays_nan_and_does_not_lose_the_forecast():
    odd = examples.record(
        runtime_s=math.nan,
        scores={"score": math.nan},
        estimate=examples.estimate(runtime_s_p50=math.nan),
    )
    for found in (
        codec.table_to_records(codec.records_to_table([odd]))[0],
        codec.row_to_record(json.loads(json.dumps(codec.record_to_json(odd)))),
    ):
        assert math.isnan(found.runtime_s)
        assert math.isnan(found.scores["score"])
        assert math.isnan(found.estimate.runtime_s_p50)


def test_what_was_not_measured_is_missing_and_zeros_of_older_versions_are_too():
    unmeasured = {"cpu_s": None, "peak_memory_bytes": None, "base_memory_bytes": None}
    row = codec.record_to_json(examples.record(**unmeasured))
    assert {name: row[name] for name in unmeasured} == unmeasured
    assert codec.row_to_record(row) == examples.record(**unmeasured)
    older = row | {"cpu_s": 0.0, "peak_memory_bytes": 0, "base_memory_bytes": 0}
    assert codec.row_to_record(older) == examples.record(**unmeasured)
