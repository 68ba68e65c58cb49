import itertools
import math
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sizing_making import BASE_BYTES, FOREST, LOGISTIC, XGB, cost_s, record, request

from fitcast.history.records import Estimate, Outcome
from fitcast.sizing.laws.families import FAMILIES
from fitcast.sizing.laws.features import describe
from fitcast.sizing.laws.law import numbers_in
from fitcast.sizing.laws.prior import cost_of
from fitcast.sizing.learning.model import SizingModel

PARAMS = {"n_estimators": 100, "max_depth": 6}

ALGORITHMS = [
    XGB,
    FOREST,
    LOGISTIC,
    "sklearn.svm.SVC",
    "my.own.Thing",
    "",
    "lightgbm.LGBMClassifier",
]


def sane(estimate: Estimate) -> None:
    assert 0 < estimate.runtime_s_p10 <= estimate.runtime_s_p50 <= estimate.runtime_s_p90
    assert math.isfinite(estimate.runtime_s_p90)
    assert 0 < estimate.peak_memory_bytes_p50 <= estimate.peak_memory_bytes_p95
    assert 0 <= estimate.failure_probability <= 1
    assert estimate.why


def sweep(depths, *, workflow="w", dataset="d", rows=20_000):
    chance = random.Random(7)
    made = []
    for depth in depths:
        asked = request(rows=rows, params={"n_estimators": 100, "max_depth": depth})
        for fold in range(5):
            runtime = cost_s(asked) * math.exp(chance.gauss(0, 0.05))
            made.append(record(asked, runtime, fold=fold, workflow_id=workflow, dataset=dataset))
    return made


@pytest.fixture(scope="module")
def trained():
    return SizingModel.prior().train(sweep([2, 4, 6, 8, 10]))


def test_cold_forecasts_are_wide_and_say_so():
    (known,) = SizingModel.prior().estimate([request(XGB)])
    (unknown,) = SizingModel.prior().estimate([request("my.own.Thing", params={})])
    for estimate in (known, unknown):
        sane(estimate)
        assert estimate.like_records == 0
        assert "no like fit" in estimate.why
    assert known.runtime_s_p90 / known.runtime_s_p10 > 2
    assert unknown.runtime_s_p90 / unknown.runtime_s_p10 > 10
    assert known.failure_probability == pytest.approx(0.01, abs=0.005)


def test_training_gives_a_new_model(trained):
    assert SizingModel.prior().record_count == 0
    assert trained.record_count == 25


def test_other_hyperparameters_are_forecast_well_after_one_sweep(trained):
    asked = [request(params={"n_estimators": 100, "max_depth": d}) for d in (3, 5, 7, 9)]
    for of, estimate in zip(asked, trained.estimate(asked, dataset="d"), strict=True):
        sane(estimate)
        assert estimate.runtime_s_p50 == pytest.approx(cost_s(of), rel=0.15)
        assert estimate.runtime_s_p90 / estimate.runtime_s_p10 < 2
        assert estimate.like_records == 25


def test_larger_data_gives_larger_forecasts_also_after_training(trained):
    rows = [20_000, 60_000, 200_000, 2_000_000]
    made = trained.estimate([request(rows=n) for n in rows])
    times = [e.runtime_s_p50 for e in made]
    spreads = [e.runtime_s_p90 / e.runtime_s_p10 for e in made]
    memories = [e.peak_memory_bytes_p50 for e in made]
    assert made[2].runtime_s_p10 < cost_s(request(rows=200_000)) < made[2].runtime_s_p90
    assert all(b > 1.4 * a for a, b in itertools.pairwise(times))
    assert times[3] > 5 * times[2]
    assert all(b > a for a, b in itertools.pairwise(memories))
    assert all(b >= a * (1 - 1e-9) for a, b in itertools.pairwise(spreads))
    assert spreads[-1] < 1000


def test_what_was_seen_once_counts_once():
    records = sweep([3, 6])
    once = SizingModel.prior().train(records)
    twice = once.train(records)
    assert twice.record_count == once.record_count == 10
    assert twice.estimate([request()]) == once.estimate([request()])


def test_training_in_parts_is_training_at_once():
    first, second = sweep([2, 4], workflow="a"), sweep([6, 8], workflow="b")
    parts = SizingModel.prior().train(first).train(second)
    whole = SizingModel.prior().train(first + second)
    asked = [request(params={"n_estimators": 100, "max_depth": 5})]
    assert parts.estimate(asked)[0].runtime_s_p50 == pytest.approx(
        whole.estimate(asked)[0].runtime_s_p50
    )


def test_base_memory_is_learned():
    (estimate,) = SizingModel.prior().train(sweep([4, 6])).estimate([request()], dataset="d")
    assert estimate.peak_memory_bytes_p50 == pytest.approx(BASE_BYTES + 50 * 2**20, rel=0.05)


def test_out_of_memory_raises_the_forecast_above_what_was_reached():
    asked = request()
    killed = record(
        asked,
        0.5,
        outcome=Outcome.OUT_OF_MEMORY,
        peak_memory_bytes=2**30,
        memory_limit_bytes=2**30,
    )
    (before,) = SizingModel.prior().estimate([asked], dataset="d")
    model = SizingModel.prior().train([killed])
    (after,) = model.estimate([asked], dataset="d")
    sane(after)
    assert before.peak_memory_bytes_p95 < 2**30 < after.peak_memory_bytes_p95
    assert after.runtime_s_p50 == pytest.approx(before.runtime_s_p50, rel=0.01)
    assert after.failure_probability == before.failure_probability


def test_out_of_time_raises_the_forecast_and_a_loose_bound_hardly_does():
    asked = request()
    (before,) = SizingModel.prior().estimate([asked])
    tight = record(asked, 50.0, outcome=Outcome.OUT_OF_TIME, deadline_s=50.0)
    loose = record(asked, 0.01, outcome=Outcome.OUT_OF_TIME, deadline_s=0.01)
    (after,) = SizingModel.prior().train([tight]).estimate([asked], dataset="d")
    (hardly,) = SizingModel.prior().train([loose]).estimate([asked], dataset="d")
    assert after.runtime_s_p90 > 50
    assert hardly.runtime_s_p50 == pytest.approx(before.runtime_s_p50, rel=0.02)


def test_a_bound_doesnt_pull_down_what_was_measured():
    records = sweep([6])
    loose = record(records[0].request, 0.01, outcome=Outcome.OUT_OF_TIME, deadline_s=0.01)
    plain = SizingModel.prior().train(records).estimate([request()], dataset="d")[0]
    bounded = SizingModel.prior().train([*records, loose]).estimate([request()], dataset="d")[0]
    assert bounded.runtime_s_p50 == pytest.approx(plain.runtime_s_p50, rel=0.01)


@pytest.mark.parametrize("outcome", [Outcome.WORKER_LOST, Outcome.CANCELLED])
def test_what_tells_nothing_changes_nothing(outcome):
    model = SizingModel.prior().train([record(request(), 900.0, outcome=outcome)])
    plain = SizingModel.prior().estimate([request()])[0]
    told = model.estimate([request()])[0]
    assert told.runtime_s_p50 == plain.runtime_s_p50
    assert told.failure_probability == plain.failure_probability


def test_failures_raise_the_chance_of_failing_and_nothing_else():
    bad = request(params={"max_depth": -7})
    good = request(params={"max_depth": 3})
    records = [record(bad, 0.01, outcome=Outcome.FAILED) for _ in range(5)]
    records += [record(good, 0.5) for _ in range(5)]
    model = SizingModel.prior().train(records)
    of_bad, of_good = model.estimate([bad, good])
    assert of_bad.failure_probability > 0.7
    assert of_good.failure_probability < 0.1
    assert of_good.like_records == 5


def test_uncertainty_is_split_and_whole():
    (estimate,) = SizingModel.prior().train(sweep([4, 8])).estimate([request()])
    whole = math.hypot(
        estimate.runtime_log_sd_algorithm,
        estimate.runtime_log_sd_candidate,
        estimate.runtime_log_sd_fit,
    )
    assert math.log(estimate.runtime_s_p90 / estimate.runtime_s_p50) == pytest.approx(
        1.2816 * whole, rel=1e-3
    )


def test_a_slow_machine_slows_algorithms_not_seen_on_it():
    slow = [
        record(request(name, params={"max_depth": d}), 40.0)
        for name in (XGB, FOREST, "lightgbm.LGBMClassifier")
        for d in (3, 5)
    ]
    asked = [request(LOGISTIC, rows=200_000)]
    (before,) = SizingModel.prior().estimate(asked)
    (after,) = SizingModel.prior().train(slow).estimate(asked)
    assert after.runtime_s_p50 > 1.2 * before.runtime_s_p50


def test_every_family_forecasts():
    from fitcast.sizing.laws.families import _CLASSES

    names = [f"a.{name}" for names in _CLASSES.values() for name in names.split()]
    assert {*_CLASSES, "generic"} == set(FAMILIES)
    for target, classes in (("binary", 2), ("multiclass", 7), ("regression", 0)):
        asked = [request(name, params={}, target=target, classes=classes) for name in names]
        for estimate in SizingModel.prior().estimate(asked):
            sane(estimate)


def test_no_requests_give_no_estimates():
    assert SizingModel.prior().estimate([]) == []
    assert SizingModel.prior().train([]).record_count == 0


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just(10**400)
)
NAMES = st.sampled_from(
    [
        "n_estimators",
        "max_depth",
        "C",
        "max_iter",
        "max_features",
        "min_samples_leaf",
        "num_leaves",
        "subsample",
        "solver",
        "hidden_layer_sizes",
        "cache_size",
        "n_restarts_optimizer",
        "rf",
        "rf__max_depth",
        "own",
    ]
)
SIZES = st.one_of(st.integers(-5, 10**7), st.sampled_from([0, 1, 2**63 - 1, 10**30]))


@st.composite
def exotic(draw):
    return request(
        draw(st.sampled_from(ALGORITHMS)),
        params=draw(st.dictionaries(NAMES, VALUES, max_size=6)),
        rows_train=draw(SIZES),
        rows_test=draw(SIZES),
        columns=draw(SIZES),
        nonzeros=draw(SIZES),
        data_bytes=draw(SIZES),
        classes=draw(SIZES),
        threads=draw(SIZES),
        target=draw(st.sampled_from(["binary", "multiclass", "regression", "none", "?"])),
        steps=draw(st.sampled_from([(), ("a.B", "c.D")])),
    )


def test_digits_that_are_no_numbers_are_passed_over():
    assert numbers_in("(100, 5¹0)") == [100.0, 5.0, 0.0]


@settings(max_examples=60, deadline=None)
@given(st.lists(exotic(), max_size=6), st.lists(st.tuples(exotic(), st.floats()), max_size=6))
def test_exotic_values_never_crash(asked, seen):
    model = SizingModel.prior().train([record(of, runtime) for of, runtime in seen])
    made = model.estimate(asked, dataset="d")
    assert len(made) == len(asked)
    for estimate in made:
        sane(estimate)


def test_records_at_four_threads_tell_of_one():
    asked = request(FOREST)
    one = SizingModel.prior().train([record(asked, 8.0, fold=f) for f in range(5)])
    four = SizingModel.prior().train(
        [record(request(FOREST, threads=4), 8.0, fold=f) for f in range(5)]
    )
    (of_one,) = one.estimate([asked], dataset="d")
    (of_four,) = four.estimate([asked], dataset="d")
    assert of_one.runtime_s_p50 == pytest.approx(8.0, rel=0.1)
    assert of_four.runtime_s_p50 > 1.3 * of_one.runtime_s_p50


def test_larger_data_is_forecast_well_by_a_machine_that_small_data_told_of():
    def truth_s(of):  # another machine's constants; as steep in rows as the law
        return 3.0 * cost_of(describe(of)).work_s + 0.03

    seen = [request(rows=rows, params=PARAMS) for rows in (5_000, 20_000, 80_000)]
    records = [record(one, truth_s(one), fold=f) for one in seen for f in range(3)]
    asked = request(rows=800_000, params=PARAMS)
    (estimate,) = SizingModel.prior().train(records).estimate([asked], dataset="d")
    assert estimate.runtime_s_p10 < truth_s(asked) < estimate.runtime_s_p90
    assert estimate.runtime_s_p50 == pytest.approx(truth_s(asked), rel=0.3)


def test_thousands_of_records_are_learned_in_seconds():
    chance = random.Random(1)
    records = []
    for number in range(4_000):
        params = {"n_estimators": 50 + number % 400, "max_depth": 2 + number % 11}
        asked = request(params=params, rows=1000 * (1 + number % 97))
        records.append(
            record(
                asked, cost_s(asked) * math.exp(chance.gauss(0, 0.1)), workflow_id=f"w{number % 80}"
            )
        )
    start = time.process_time()
    model = SizingModel.prior().train(records)
    assert time.process_time() - start < 20
    asked = [r.request for r in records[::40]]
    errors = [
        abs(math.log(e.runtime_s_p50 / cost_s(of)))
        for e, of in zip(model.estimate(asked, dataset="d"), asked, strict=True)
    ]
    assert sorted(errors)[len(errors) // 2] < 0.1


def test_solvers_with_other_laws_learn_apart():
    def of(solver):
        return request(LOGISTIC, params={"solver": solver, "C": 1.0})

    slow = [record(of("liblinear"), 90.0, fold=fold) for fold in range(5)]
    slow += [record(of("lbfgs"), 0.1, fold=fold) for fold in range(5)]
    made = SizingModel.prior().train(slow).estimate([of("liblinear"), of("lbfgs")], dataset="d")
    assert [e.runtime_s_p50 for e in made] == pytest.approx([90.0, 0.1], rel=0.15)


def test_the_same_records_serve_a_machine_twice_as_fast():
    asked = [request(params={"n_estimators": n}) for n in (50, 100, 200)]
    slow = [record(one, 8.0 * cost_s(one), machine_speed=0.5) for one in asked]
    model = SizingModel.prior().train(slow)
    (on_slow,) = model.for_machine(0.5).estimate(asked[:1], dataset="d")
    (on_fast,) = model.for_machine(2.0).estimate(asked[:1], dataset="d")

    assert on_slow.runtime_s_p50 / on_fast.runtime_s_p50 == pytest.approx(4.0)
    assert on_slow.runtime_s_p50 == pytest.approx(slow[0].runtime_s, rel=0.2)
    assert on_slow.peak_memory_bytes_p50 == on_fast.peak_memory_bytes_p50
    assert model.for_machine(2.0).train([]).log_speed == pytest.approx(math.log(2.0))


def test_a_machine_whose_speed_is_known_is_forecast_more_surely():
    prior = SizingModel.prior()
    (unknown,), (known,) = (m.estimate([request()]) for m in (prior, prior.for_machine(1.0)))

    assert known.runtime_s_p90 < unknown.runtime_s_p90
    assert known.runtime_s_p50 == unknown.runtime_s_p50


@pytest.mark.parametrize("speed", [0.0, -1.0, math.nan, math.inf])
def test_a_speed_that_makes_no_sense_counts_as_unknown(speed):
    prior = SizingModel.prior()

    assert prior.for_machine(speed).estimate([request()]) == prior.estimate([request()])


def test_a_new_version_of_a_library_is_told_apart_once_seen():
    old = [request(params={"n_estimators": n}, library_version="1.0") for n in range(20, 40)]
    new = [request(params={"n_estimators": n}, library_version="2.0") for n in range(20, 40)]
    told = [record(one, cost_s(one)) for one in old] + [record(one, 3 * cost_s(one)) for one in new]
    before, after = SizingModel.prior().train(told).estimate([old[3], new[3]], dataset="d")

    assert after.runtime_s_p50 / before.runtime_s_p50 == pytest.approx(3.0, rel=0.25)
