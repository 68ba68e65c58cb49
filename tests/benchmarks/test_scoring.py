import math

import pytest

from benchmarks.scoring import judge, mean_runtime_s
from fitcast.history.records import Outcome
from fitcast.sizing.learning.model import SizingModel
from tests.sizing.sizing_making import record, request


def test_a_right_forecast_is_judged_right():
    (estimate,) = SizingModel.prior().estimate([request()])
    right = record(
        request(), mean_runtime_s(estimate), peak_memory_bytes=estimate.peak_memory_bytes_p50
    )
    accuracy = judge([(estimate, right)] * 3)
    assert accuracy.fits == 3
    assert accuracy.total_ratio == pytest.approx(1.0)
    assert accuracy.runtime_within_p10_p90 == 1.0
    assert accuracy.memory_above_p95 == 0.0
    assert accuracy.memory_median_error == pytest.approx(0.0, abs=1e-6)
    assert "3 fits" in str(accuracy)


def test_half_the_runtime_forecast_is_off_by_as_much():
    (estimate,) = SizingModel.prior().estimate([request()])
    accuracy = judge([(estimate, record(request(), 2 * mean_runtime_s(estimate)))])
    assert accuracy.total_ratio == pytest.approx(0.5)


def test_only_fits_that_succeeded_count():
    (estimate,) = SizingModel.prior().estimate([request()])
    accuracy = judge([(estimate, record(request(), 1.0, outcome=Outcome.FAILED))])
    assert accuracy.fits == 0
    assert math.isnan(accuracy.total_ratio)
    assert all(math.isfinite(value) for value in accuracy.as_metrics().values())
