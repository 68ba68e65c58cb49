import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sizing_making import request

from fitcast.errors import InvalidInputError
from fitcast.sizing.learning.model import SizingModel
from fitcast.sizing.risk import out_of_memory_probability, out_of_time_probability, risk_of

(ESTIMATE,) = SizingModel.prior().estimate([request()])


def test_quantiles_are_exceeded_as_often_as_they_say():
    assert out_of_memory_probability(ESTIMATE, ESTIMATE.peak_memory_bytes_p50) == 0.5
    of_p95 = out_of_memory_probability(ESTIMATE, ESTIMATE.peak_memory_bytes_p95)
    assert of_p95 == pytest.approx(0.05, abs=1e-6)
    assert out_of_time_probability(ESTIMATE, ESTIMATE.runtime_s_p50) == pytest.approx(0.5)
    assert out_of_time_probability(ESTIMATE, ESTIMATE.runtime_s_p90) == pytest.approx(0.1)


def test_without_limits_only_errors_are_left():
    risk = risk_of(ESTIMATE)

    assert (risk.out_of_memory, risk.out_of_time) == (0.0, 0.0)
    assert risk.any == pytest.approx(risk.error) == pytest.approx(ESTIMATE.failure_probability)


def test_nothing_fits_into_nothing():
    assert risk_of(ESTIMATE, memory_bytes=0.0).any == 1.0
    assert risk_of(ESTIMATE, deadline_s=0.0).any == 1.0


@given(st.floats(0.0, 1e15), st.floats(0.0, 1e15))
def test_more_is_never_riskier(one, other):
    less, more = sorted((one, other))
    for probability in (out_of_memory_probability, out_of_time_probability):
        assert 0.0 <= probability(ESTIMATE, more) <= probability(ESTIMATE, less) <= 1.0


@pytest.mark.parametrize("limit", [math.nan, -1.0, -math.inf])
def test_a_limit_must_be_a_number(limit):
    with pytest.raises(InvalidInputError, match="memory_bytes"):
        risk_of(ESTIMATE, memory_bytes=limit)
    with pytest.raises(InvalidInputError, match="deadline_s"):
        risk_of(ESTIMATE, deadline_s=limit)
