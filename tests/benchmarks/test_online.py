import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.experts import TaskHistory, forecasts
from benchmarks.online import OnlineForecaster, Task
from fitcast.errors import InvalidInputError

GB = 1e9


def taught(pairs, *, kind="align", requested_bytes=64 * GB):
    forecaster = OnlineForecaster()
    for input_bytes, peak in pairs:
        task = Task(kind, input_bytes, requested_bytes)
        forecaster.observe(task, peak_memory_bytes=peak, runtime_s=60.0)
    return forecaster


def seen_of(inputs, peaks):
    n = len(inputs)
    return TaskHistory(np.array(inputs), np.full(n, 64 * GB), np.array(peaks), np.ones(n))


def test_leaving_out_needs_no_second_fit_and_is_the_same():
    random = np.random.default_rng(0)
    inputs = random.uniform(1e9, 5e9, 20)
    peaks = inputs * 2 * random.lognormal(0.0, 0.1, 20)
    said = forecasts(seen_of(inputs, peaks), 3e9, 64 * GB)
    left = 7
    rest = np.arange(20) != left
    without = forecasts(seen_of(inputs[rest], peaks[rest]), float(inputs[left]), 64 * GB)
    # The parabola has a ridge, and stops at the edges of what was seen.
    assert said.left_out[:, left] == pytest.approx(without.forecast, abs=2e-2)
    exact = [0, 1, 3, 4, 5, 6]
    assert said.left_out[exact, left] == pytest.approx(without.forecast[exact], abs=1e-6)


def test_a_line_is_followed_beyond_what_was_seen():
    forecaster = taught([(x * GB, 2 * x * GB + 1e6 * x) for x in np.linspace(1.0, 4.0, 30)])
    (first, *_) = forecaster.attempts(Task("align", 6 * GB, 64 * GB)).memory_bytes
    assert first == pytest.approx(12 * GB, rel=0.1)


def test_like_tasks_get_little_more_than_they_need():
    random = np.random.default_rng(1)
    peaks = 38 * GB * random.lognormal(0.0, 3e-4, 30)
    forecaster = taught([(x, p) for x, p in zip(random.uniform(1e9, 9e9, 30), peaks, strict=True)])
    (first, *_) = forecaster.attempts(Task("align", 5e9, 64 * GB)).memory_bytes
    assert peaks.max() < first < 1.02 * 38 * GB


def test_a_program_that_takes_what_it_is_given_is_recognised():
    forecaster = OnlineForecaster()
    for i in range(40):
        requested = (8 if i % 2 else 16) * GB
        task = Task("java", 1e9, requested)
        forecaster.observe(task, peak_memory_bytes=0.9 * requested, runtime_s=1.0)
    steps = forecaster.attempts(Task("java", 1e9, 32 * GB)).memory_bytes
    # Like tasks so far took half of that, or it takes nine tenths again.
    assert len(steps) < 6
    assert any(0.9 * 32 * GB <= step < 0.91 * 32 * GB for step in steps)


def test_drift_is_followed():
    random = np.random.default_rng(2)
    before = [(1e9, 2 * GB * random.lognormal(0, 0.02)) for _ in range(60)]
    after = [(1e9, 1 * GB * random.lognormal(0, 0.02)) for _ in range(60)]
    (first, *_) = taught(before + after).attempts(Task("align", 1e9, 64 * GB)).memory_bytes
    assert first < 1.2 * GB


def test_no_attempt_exceeds_the_request_until_one_task_did():
    pairs = [(1e9, 7 * GB), (2e9, 7.5 * GB), (1.5e9, 5 * GB)] * 4
    forecaster = taught(pairs, requested_bytes=8 * GB)
    task = Task("align", 9e9, 8 * GB)
    assert forecaster.attempts(task).memory_bytes[-1] <= 8 * GB
    beyond = forecaster.attempts(task, least_bytes=8 * GB).memory_bytes
    assert beyond[0] > 8 * GB
    forecaster.observe(task, peak_memory_bytes=12 * GB, runtime_s=60.0)
    assert forecaster.attempts(task).memory_bytes[-1] > 8 * GB


def test_a_type_never_seen_borrows_from_the_others():
    forecaster = taught([(1e9, 16 * GB)] * 10)
    borrowed = forecaster.attempts(Task("other", 1e9, 4 * GB))
    assert borrowed.memory_bytes == pytest.approx((1 * GB, 4 * GB))


def test_with_nothing_seen_the_request_is_what_is_known():
    assert OnlineForecaster().attempts(Task("first", 1e9, 3 * GB)).memory_bytes == (3 * GB,)
    with pytest.raises(InvalidInputError, match="nothing is known"):
        OnlineForecaster().attempts(Task("first", 1e9))


def test_tasks_without_requests_are_forecast_too():
    forecaster = taught([(1e9, 2 * GB)] * 10, requested_bytes=None)
    assert forecaster.attempts(Task("align", 1e9)).memory_bytes[0] == pytest.approx(
        2 * GB, rel=0.05
    )
    assert forecaster.attempts(Task("other", 1e9)).memory_bytes[0] >= 2 * GB


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 1e13), st.floats(1e3, 1e12), st.floats(0.0, 1e6)),
        min_size=1,
        max_size=25,
    ),
    st.floats(0, 1e14),
)
@example(
    history=[
        (1225199341967.0, 1000.0, 0.0),
        (1256934726020.0, 1000.0, 0.0),
        (1241836146892.0, 304506379985.0, 0.0),
    ],
    input_bytes=0.0,
)
def test_any_history_gives_attempts_that_ascend(history, input_bytes):
    forecaster = OnlineForecaster()
    for of_input, peak, runtime_s in history:
        task = Task("any", of_input, 1e12)
        forecaster.observe(task, peak_memory_bytes=peak, runtime_s=runtime_s)
    steps = forecaster.attempts(Task("any", input_bytes, 1e12)).memory_bytes
    assert steps
    assert all(math.isfinite(step) for step in steps)
    assert list(steps) == sorted(set(steps))
    assert steps[0] > 0.0 and steps[-1] <= 1e12


def test_many_tasks_are_forgotten_and_fast():
    random = np.random.default_rng(3)
    forecaster = taught([(x, 2 * x) for x in random.uniform(1e9, 2e9, 410)])
    assert forecaster.attempts(Task("align", 1.5e9, 64 * GB)).memory_bytes[0] < 3.3 * GB


@pytest.mark.parametrize(
    ("task", "peak", "runtime_s"),
    [
        (Task("a", math.nan, GB), GB, 1.0),
        (Task("a", 1.0, -1.0), GB, 1.0),
        (Task("a", 1.0, GB), math.nan, 1.0),
        (Task("a", 1.0, GB), 0.0, 1.0),
        (Task("a", 1.0, GB), GB, math.inf),
    ],
)
def test_what_is_no_measurement_is_refused(task, peak, runtime_s):
    with pytest.raises(InvalidInputError):
        OnlineForecaster().observe(task, peak_memory_bytes=peak, runtime_s=runtime_s)
