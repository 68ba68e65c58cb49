"""The collection of wrappers: each is made of others; what is judged is CPU time."""

import numpy as np
import pytest
from benchmark_making import record, request

from benchmarks.campaign_data import draw_wrapped
from benchmarks.splits import by_cpu_time
from benchmarks.wrapper_models import draw_wrapper
from fitcast.history.records import Outcome
from fitcast.sizing.laws.inside import is_composed
from fitcast.trainer.sweep.parts import PartsReader


@pytest.mark.parametrize("index", range(12))
def test_every_drawn_model_is_made_of_others(index):
    plan = draw_wrapped(3, index)
    rng = np.random.default_rng(index)
    for _ in range(15):
        name, estimator = draw_wrapper(plan, rng)
        assert is_composed(PartsReader().made_of(estimator)), name
    assert plan.columns <= 60
    assert plan.collection == 3


def test_fits_are_judged_as_on_a_quiet_reference_machine():
    waited = record(request(), runtime_s=9.0, cpu_s=2.0, machine_speed=0.5)
    unknown = record(request(), runtime_s=9.0, cpu_s=2.0, machine_speed=0.0)
    ended = record(request(), runtime_s=9.0, cpu_s=2.0, outcome=Outcome.OUT_OF_TIME)
    told = by_cpu_time([waited, unknown, ended])
    assert [one.runtime_s for one in told] == pytest.approx([1.002, 2.004])
    assert {one.machine_speed for one in told} == {1.0}
