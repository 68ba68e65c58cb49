"""What a reviewer sees in MLflow: what wasn't measured is left out, never shown as 0."""

import pytest

from fitcast.history import presentation as shown
from fitcast.history.records import Outcome
from tests.history import examples

UNMEASURED = {"cpu_s": None, "peak_memory_bytes": None, "base_memory_bytes": None}


def metrics(record):
    return {point.key: point.value for point in shown.fit_points(record)}


def test_what_was_not_measured_of_a_fit_is_no_metric():
    found = metrics(examples.record(**UNMEASURED))
    assert "runtime_s/measured" in found
    assert not {"cpu_s/measured", "peak_memory_bytes/measured"} & set(found)


def test_of_a_lost_worker_only_the_forecast_is_shown():
    found = metrics(examples.failed(outcome=Outcome.WORKER_LOST, **UNMEASURED))
    assert found
    assert all("/forecast" in name for name in found)


def test_a_total_is_shown_only_if_all_of_it_was_measured():
    whole = [examples.record(fold=fold) for fold in range(3)]
    totals = shown.totals(whole)
    assert totals["total_cpu_s/measured"] == pytest.approx(3 * 1.4)
    assert totals["max_peak_memory_bytes/measured"] == 150_000_000
    holed = shown.totals([*whole, examples.record(fold=3, **UNMEASURED)])
    assert holed["fits/succeeded"] == 4
    assert not {"total_cpu_s/measured", "max_peak_memory_bytes/measured"} & set(holed)
    assert not {"total_cpu_s/measured", "max_peak_memory_bytes/measured"} & set(shown.totals([]))


def test_a_failures_text_says_what_was_not_measured():
    lost = examples.failed(outcome=Outcome.WORKER_LOST, **UNMEASURED)
    assert "peak memory not measured (limit 1,000,000,000)" in shown.failure_text(lost, None)
    assert "peak memory 150,000,000 bytes" in shown.failure_text(examples.failed(), None)
