"""What was measured on a busy machine teaches what the same teaches on a quiet one."""

import math
from dataclasses import replace

import pytest
from sizing_making import cost_s, record, request

from fitcast.history.records import Outcome
from fitcast.sizing.learning.correction import SweepCorrection
from fitcast.sizing.learning.groups import observation_of
from fitcast.sizing.learning.model import SizingModel

DEPTHS = (2, 3, 4, 6, 8, 12)
SLOWER = 3.0


def fits():
    return [
        request(rows=rows, params={"n_estimators": 100, "max_depth": depth})
        for rows in (5_000, 20_000)
        for depth in DEPTHS
    ]


def quiet_and_busy(of):
    """The same fit alone, and beside others: as much work, and waiting beside it."""
    quiet = record(of, cost_s(of), cpu_wait_s=0.0)
    took_s = SLOWER * quiet.runtime_s
    busy = replace(quiet, runtime_s=took_s, cpu_wait_s=took_s - quiet.runtime_s)
    return quiet, busy


def test_a_busy_machine_teaches_the_cost_of_a_quiet_one():
    pairs = [quiet_and_busy(of) for of in fits()]
    quiet = SizingModel.prior().train([one for one, _ in pairs]).estimate(fits())
    busy = SizingModel.prior().train([one for _, one in pairs]).estimate(fits())
    for one, other in zip(quiet, busy, strict=True):
        assert other.runtime_s_p50 == pytest.approx(one.runtime_s_p50, rel=0.15)
        assert other.peak_memory_bytes_p50 == pytest.approx(one.peak_memory_bytes_p50, rel=0.01)


def test_it_is_less_sure_of_what_was_disturbed():
    quiet, busy = (observation_of(one) for one in quiet_and_busy(fits()[0]))
    assert busy.log_runtime == pytest.approx(quiet.log_runtime)
    assert busy.runtime_sd > quiet.runtime_sd == 0.0


def test_records_without_the_measurement_teach_what_they_took():
    old = replace(quiet_and_busy(fits()[0])[1], cpu_wait_s=None)
    assert observation_of(old).log_runtime == pytest.approx(math.log(old.runtime_s))
    assert observation_of(old).runtime_sd == 0.0


def test_within_a_sweep_too():
    requests = {f"f{number}": of for number, of in enumerate(fits())}
    candidates = {name: number for number, name in enumerate(requests)}
    forecasts = []
    for which in (0, 1):
        sweep = SweepCorrection(SizingModel.prior(), requests, dataset="d", candidates=candidates)
        for name, of in list(requests.items())[::2]:
            sweep.observe(name, quiet_and_busy(of)[which])
        forecasts.append(sweep.estimates())
    for name, one in forecasts[0].items():
        assert forecasts[1][name].runtime_s_p50 == pytest.approx(one.runtime_s_p50, rel=0.15)


def test_a_deadline_reached_beside_others_bounds_the_work_that_was_done():
    _, busy = quiet_and_busy(fits()[0])
    ended = replace(busy, outcome=Outcome.OUT_OF_TIME, deadline_s=busy.runtime_s / SLOWER)
    assert observation_of(ended).log_runtime_least == pytest.approx(
        math.log(busy.runtime_s / SLOWER)
    )
