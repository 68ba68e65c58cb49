import numpy as np
import pytest
from benchmark_making import BASE_BYTES, record, request

from benchmarks import failing
from benchmarks.judge_risk import Events, brier_rows, events_of, plot, reliability_rows
from benchmarks.judging import Forecasts
from fitcast.sizing.learning.model import SizingModel


def test_brier_scores_know_a_forecaster_from_a_coin():
    happened = [True, False, False, False]
    sure = Events.of("sure", [(float(h), h) for h in happened])
    rate = Events.of("rate", [(0.25, h) for h in happened])
    wrong = Events.of("wrong", [(float(not h), h) for h in happened])

    scores = [row["Brier score"] for row in brier_rows([sure, rate, wrong])]

    assert scores == [0.0, pytest.approx(0.1875), 1.0]
    assert brier_rows([rate])[0]["of the rate"] == pytest.approx(0.1875)


def test_reliable_forecasts_happen_as_often_as_said(tmp_path):
    rng = np.random.default_rng(0)
    said = rng.random(20_000)
    events = Events.of("e", list(zip(said, rng.random(20_000) < said, strict=True)))

    for row in reliability_rows([events]):
        assert row["e: forecast"] == pytest.approx(row["e: happened"], abs=0.05)
    plot([events, events], tmp_path / "risk.svg")
    assert (tmp_path / "risk.svg").read_text().count("<svg") == 1


@pytest.mark.slow
def test_events_come_from_forecasts_and_from_fits_that_fail():
    asked = [request(), request(rows=2_000)]
    forecasts = Forecasts()
    forecasts.add([record(one) for one in asked], SizingModel.prior().estimate(asked), BASE_BYTES)

    memory, time, errors = events_of(forecasts)

    assert len(memory.happened) == 18
    assert len(time.happened) == 12
    assert len(errors.happened) == 600


@pytest.mark.slow
def test_settings_that_fail_are_learned_from_the_stream():
    stream = failing.stream(300)
    risks, happened = failing.forecast_online(stream)

    assert [r.record_id for r in stream] == [r.record_id for r in failing.stream(300)]
    assert 0.2 < np.mean(happened) < 0.6
    late = np.array(risks[150:]) - np.array(happened[150:], dtype=float)
    assert np.mean(late**2) < 0.12  # the rate alone: 0.24
