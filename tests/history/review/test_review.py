"""What reviewers find with an ended workflow, and that nothing users named does anything there."""

import csv
import io
import json
import re
from dataclasses import replace
from datetime import timedelta

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitcast.history.presentation import MAX_TAG
from fitcast.history.records import Outcome
from fitcast.history.review import accuracy
from fitcast.history.review.charts import MOST_SHOWN, forecast_charts, shown_of, timeline
from fitcast.history.review.description import candidate_note, workflow_note
from fitcast.history.review.files import review_files
from fitcast.history.review.summary import summarise, wasted_gb_hours
from fitcast.history.review.words import marked
from tests.history import examples

EVIL = "<script>alert(1)</script> | [x](javascript:y) `*`"


def ran_out(**changes):
    lost = {"outcome": Outcome.OUT_OF_MEMORY, "scores": {}, "peak_memory_bytes": 10**9}
    return examples.record(**lost | changes)


def test_the_description_tells_what_was_asked_forecast_and_happened():
    records = [*examples.sweep(), ran_out(candidate=1, fold=2), examples.failed(candidate=1)]
    note = workflow_note(examples.run(), records, examples.end(**{"makespan_s/measured": 20.0}))
    for said in ("xgb max\\_depth=0", "best of 2", "20 s", "XGBClassifier", "5,000 rows", "P10"):
        assert said in note
    assert "out_of_memory" in note
    assert "needed more than 954 MiB" in note
    assert "no good" in note


@given(st.lists(examples.records, max_size=12))
def test_whatever_records_hold_there_is_a_description_within_limits(records):
    assert len(workflow_note(examples.run(), records, examples.end())) <= MAX_TAG
    if records:
        assert len(candidate_note(records)) <= MAX_TAG


@given(st.text(max_size=80))
def test_what_users_named_is_shown_and_does_nothing(text):
    shown = marked(text, 1000)
    assert not re.search(r"<|(?<!\\)[|`*\[\]]", shown)
    assert "\n" not in shown


def test_names_and_messages_are_escaped_everywhere():
    evil = replace(examples.failed(error_message=EVIL), candidate=EVIL)
    note = workflow_note(examples.run(name=EVIL), [evil], examples.end())
    assert "<script" not in note
    files = review_files(examples.run(name=EVIL), [evil], {})
    assert b"<script>alert" not in files["timeline.html"]
    assert "<script>alert" in files["failures.txt"].decode()  # plain text


def test_messages_that_records_do_not_hold_are_nowhere():
    kept = examples.failed(error_message="")
    files = review_files(examples.run(), [kept], {})
    assert b"no good" not in b"".join(files.values())
    assert "ValueError" in workflow_note(examples.run(), [kept], examples.end())


def test_pages_need_no_network_and_are_small():
    records = [examples.record(candidate=n % 50, fold=n // 50) for n in range(3 * MOST_SHOWN)]
    files = review_files(examples.run(), records, {})
    for name in ("timeline.html", "forecast.html"):
        assert len(files[name]) < 1_000_000
        assert b"default-src 'none'" in files[name]
        assert not re.search(rb"(src|href)=\"?https?:", files[name])


def test_the_timeline_marks_what_ran_out_of_memory_and_came_again():
    chart = timeline([ran_out(), examples.record(attempt=2)])
    assert [mark["name"] for mark in chart["marks"]] == ["out of memory", "tried again"]
    assert len(chart["lanes"]) == 1 + 1  # both at once on one worker
    assert chart["bars"]["what"][1].endswith("tried again")


def test_a_fit_that_moved_before_it_began_was_not_tried_again():
    chart = timeline([examples.record(attempt=2), ran_out(fold=1)])
    assert [mark["name"] for mark in chart["marks"]] == ["out of memory"]


def test_attempts_that_overlap_have_lanes_of_their_own():
    one = examples.record()
    later = replace(one, started_at=one.ended_at, ended_at=one.ended_at + timedelta(seconds=1))
    assert len(timeline([one, later])["lanes"]) == 1
    assert len(timeline([one, one])["lanes"]) == 2


def test_of_very_many_attempts_all_that_failed_are_shown():
    records = [examples.record(fold=n) for n in range(3 * MOST_SHOWN)] + [examples.failed()]
    few = shown_of(records)
    assert len(few) <= MOST_SHOWN
    assert examples.failed() in few


def test_forecast_and_measured_are_drawn_in_units_people_read():
    runtime, memory = forecast_charts(examples.sweep())
    assert runtime["points"]["measured"][0] == 1.5
    assert memory["points"]["forecast"][0] == pytest.approx(10**8 / 2**20, rel=1e-3)


def test_the_leaderboard_has_the_best_first_and_no_formulas():
    records = [
        examples.record(candidate=0, scores={"score": 0.5}),
        replace(examples.record(candidate=1), candidate="=1+1"),
    ]
    rows = list(csv.DictReader(io.StringIO(
        review_files(examples.run(), records, {})["leaderboard.csv"].decode()
    )))  # fmt: skip
    assert [row["candidate"] for row in rows] == ["'=1+1", "xgb max_depth=0"]
    assert summarise(records).best == 1


def test_all_attempts_are_in_a_table_and_what_was_not_measured_is_missing():
    records = [examples.record(), examples.failed(fold=1, peak_memory_bytes=None, cpu_s=None)]
    table = pq.read_table(io.BytesIO(review_files(examples.run(), records, {})["fits.parquet"]))
    assert table.column("peak_memory_bytes").to_pylist() == [150_000_000, None]
    assert table.column("forecast_runtime_s_p50").to_pylist() == [2.0, 2.0]


@given(st.lists(examples.records, max_size=8))
def test_any_records_make_files_or_leave_them_out(records):
    review_files(examples.run(), records, {})
    json.dumps(accuracy.report_of(records).as_json(), allow_nan=False)


def test_a_forecast_beyond_all_numbers_is_not_told_as_one():
    off = replace(examples.record().estimate, runtime_s_p50=1e270)
    report = accuracy.report_of([examples.record(estimate=off, runtime_s=1e-39)])
    assert report.as_json()["all_fits"]["bias"] is None
    assert "inf" not in accuracy.markdown(report)


def test_the_report_tells_accuracy_memory_and_drift():
    fits = [
        examples.record(fold=n, ended_at=examples.START + timedelta(days=n), runtime_s=took)
        for n, took in enumerate([2.0] * 6 + [4.0] * 3)
    ]
    report = accuracy.report_of([*fits, ran_out(ended_at=examples.START)])
    assert report.all_fits.typical_error == 1.0
    assert report.all_fits.out_of_memory_share == pytest.approx(0.1)
    assert report.drift["XGBClassifier"] == pytest.approx(0.5)
    assert len(report.periods) == 5
    said = accuracy.markdown(report)
    assert "| XGBClassifier | 10 |" in said
    assert "10 % ran out of memory" in said


def test_memory_that_was_held_and_not_used_is_wasted_all_of_it_if_it_did_not_do():
    hour = {"runtime_s": 3600.0, "memory_limit_bytes": 3 * 10**9}
    fit = examples.record(peak_memory_bytes=10**9, **hour)
    assert wasted_gb_hours([fit]) == pytest.approx(2.0)
    assert wasted_gb_hours([ran_out(**hour)]) == pytest.approx(3.0)


def test_a_forecast_beyond_all_measure_is_told_all_the_same():
    """The ratio of forecast to measured is below the least number that there is."""
    record = examples.record()
    tiny = replace(record.estimate, runtime_s_p50=5e-324)
    odd = replace(record, estimate=tiny, runtime_s=1e300)
    told = accuracy.report_of([odd, record]).as_json()
    json.dumps(told, allow_nan=False)
    assert "best of 1" in workflow_note(examples.run(), [odd, record], examples.end())
