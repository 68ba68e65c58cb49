import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sizing_making import FOREST, XGB, cost_s, record, request

from fitcast.history.records import Outcome
from fitcast.sizing.learning.correction import SweepCorrection
from fitcast.sizing.learning.model import SizingModel


def asked(depths=(3, 5, 7, 9), algorithms=(XGB,), folds=5):
    requests, candidates = {}, {}
    for number, (name, depth) in enumerate((a, d) for a in algorithms for d in depths):
        for fold in range(folds):
            fit = f"c{number}-f{fold}"
            requests[fit] = request(name, params={"n_estimators": 100, "max_depth": depth})
            candidates[fit] = number
    return requests, candidates


def correction(model=None, **changed):
    requests, candidates = asked(**changed)
    return (
        SweepCorrection(model or SizingModel.prior(), requests, dataset="d", candidates=candidates),
        requests,
    )


def test_starts_where_the_model_is():
    started, requests = correction()
    plain = SizingModel.prior().estimate(list(requests.values()))
    for estimate, of_model in zip(started.estimates().values(), plain, strict=True):
        assert estimate.runtime_s_p50 == pytest.approx(of_model.runtime_s_p50, rel=1e-6)
        assert estimate.runtime_s_p90 == pytest.approx(of_model.runtime_s_p90, rel=1e-3)
        assert estimate.peak_memory_bytes_p95 == pytest.approx(of_model.peak_memory_bytes_p95)


def test_one_fold_tells_most_of_its_candidate_and_much_of_the_others():
    running, requests = correction()
    before = running.estimates()
    running.observe("c0-f0", record(requests["c0-f0"], 6 * before["c0-f0"].runtime_s_p50))
    after = running.estimates()
    assert "c0-f0" not in after
    gained = {
        fit: after[fit].runtime_s_p50 / before[fit].runtime_s_p50 for fit in ("c0-f1", "c3-f1")
    }
    assert gained["c0-f1"] == pytest.approx(6, rel=0.3)
    assert 2 < gained["c3-f1"] < 8
    for fit in gained:
        width = math.log(after[fit].runtime_s_p90 / after[fit].runtime_s_p50)
        assert width < math.log(before[fit].runtime_s_p90 / before[fit].runtime_s_p50)
    assert after["c0-f1"].like_records == 1


def test_total_gets_right_as_the_sweep_goes_on():
    running, requests = correction(algorithms=(XGB, FOREST))
    order = list(requests)
    random.Random(3).shuffle(order)
    for fit in order[:10]:
        running.observe(fit, record(requests[fit], cost_s(requests[fit])))
    left = running.estimates()
    assert set(left) == set(order[10:])
    said = sum(e.runtime_s_p50 for e in left.values())
    assert said == pytest.approx(sum(cost_s(requests[fit]) for fit in left), rel=0.3)


def test_what_isnt_done_stays():
    running, requests = correction()
    for fit, outcome in zip(requests, (Outcome.OUT_OF_MEMORY, Outcome.WORKER_LOST), strict=False):
        running.observe(fit, record(requests[fit], 0.1, outcome=outcome))
    assert set(running.estimates()) == set(requests)


def test_out_of_memory_raises_the_candidates_others():
    running, requests = correction()
    killed = record(
        requests["c0-f0"],
        0.1,
        outcome=Outcome.OUT_OF_MEMORY,
        peak_memory_bytes=2**30,
        memory_limit_bytes=2**30,
    )
    running.observe("c0-f0", killed)
    assert running.estimates()["c0-f1"].peak_memory_bytes_p95 > 2**30


def test_a_failing_candidate_is_known_to_fail():
    running, requests = correction()
    for fold in range(3):
        running.observe(f"c1-f{fold}", record(requests["c1-f0"], 0.1, outcome=Outcome.FAILED))
    after = running.estimates()
    assert after["c1-f4"].failure_probability > 0.8
    assert after["c0-f4"].failure_probability < 0.7  # a neighbour may share its fate


def test_a_fit_thats_not_in_the_sweep_tells_nothing():
    running, requests = correction()
    before = running.estimates()
    running.observe("c9999-refit", record(requests["c0-f0"], 100.0))
    assert running.estimates() == before


def test_nothing_to_run():
    empty = SweepCorrection(SizingModel.prior(), {}, dataset="d", candidates={})
    assert empty.estimates() == {}


def test_one_disturbed_fit_doesnt_move_all():
    running, requests = correction()
    for fold in range(4):
        running.observe(f"c0-f{fold}", record(requests["c0-f0"], 0.5))
    before = running.estimates()["c1-f0"].runtime_s_p50
    running.observe("c0-f4", record(requests["c0-f0"], 60.0))
    assert running.estimates()["c1-f0"].runtime_s_p50 < 2 * before


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 39),
            st.one_of(st.floats(0, 1e9), st.just(math.nan)),
            st.sampled_from(list(Outcome)),
            st.integers(0, 2**50),
        ),
        max_size=60,
    )
)
def test_whatever_is_observed_forecasts_stay_sane(observed):
    running, requests = correction(algorithms=(XGB, FOREST))
    fits = list(requests)
    for number, runtime, outcome, peak in observed:
        fit = fits[number]
        running.observe(
            fit, record(requests[fit], runtime, outcome=outcome, peak_memory_bytes=peak)
        )
    for estimate in running.estimates().values():
        assert 0 < estimate.runtime_s_p10 <= estimate.runtime_s_p50 <= estimate.runtime_s_p90
        assert math.isfinite(estimate.runtime_s_p90)
        assert 0 < estimate.peak_memory_bytes_p50 <= estimate.peak_memory_bytes_p95
        assert 0 <= estimate.failure_probability <= 1
