import math
from dataclasses import replace

import numpy as np
import pytest
from benchmark_making import BASE_BYTES, record, request

from benchmarks.baselines import BASELINES, like_autogluon, log_costs
from benchmarks.bench_sizing import DATA, all_tables, forecast
from benchmarks.fit_prior import as_json, fit_constants
from benchmarks.judging import Forecasts, as_table, judged
from benchmarks.splits import (
    fold_of,
    group_of,
    larger_than_seen,
    leave_algorithm_out,
    leave_dataset_out,
    other_threads,
    pairs_of_folds,
)
from fitcast.history.codec import read_parquet
from fitcast.history.records import Outcome
from fitcast.sizing.laws.features import describe
from fitcast.sizing.laws.prior import constants, cost_of
from fitcast.sizing.learning.model import SizingModel

FOREST = "sklearn.ensemble.RandomForestClassifier"
LGBM = "lightgbm.LGBMClassifier"


def some_records():
    made = []
    rng = np.random.default_rng(0)
    for dataset in range(30):
        rows, columns = int(10 ** rng.uniform(2, 5.5)), int(10 ** rng.uniform(0.5, 1.5))
        for number, algorithm in enumerate((FOREST, LGBM)):
            trees = int(rng.integers(20, 200))
            of = request(algorithm, rows=rows, columns=columns, params={"n_estimators": trees})
            of = replace(of, threads=1 + dataset % 2)
            runtime_s = 0.03 + 1e-7 * trees * rows
            for fold in (0, 1):
                made.append(
                    record(
                        of,
                        runtime_s * math.exp(rng.normal(0, 0.05)),
                        dataset=f"noise-{dataset}:{dataset}",
                        workflow_id=f"w{dataset}",
                        candidate=f"model {number}",
                        peak_memory_bytes=BASE_BYTES + 10_000_000 + 100 * rows,
                        fold=fold,
                    )
                )
    return made


RECORDS = some_records()


def test_no_dataset_is_on_both_sides():
    seen = 0
    for split in leave_dataset_out(RECORDS):
        assert not {group_of(r) for r in split.train} & {group_of(r) for r in split.test}
        seen += len(split.test)
    assert seen == len(RECORDS)


def test_samples_of_one_real_dataset_stay_together():
    ones = [record(request(), dataset=f"flights:{n}") for n in range(5)]
    assert len({group_of(r) for r in ones}) == 1
    assert len({fold_of(group_of(r)) for r in ones}) == 1


def test_no_algorithm_is_on_both_sides():
    for split in leave_algorithm_out(RECORDS):
        train = {r.request.algorithm for r in split.train}
        assert not train & {r.request.algorithm for r in split.test}


def test_larger_means_ten_times_the_largest_seen():
    (split,) = larger_than_seen(RECORDS)
    assert split.test
    largest = max(r.request.rows_train * r.request.columns for r in split.train)
    least = min(r.request.rows_train * r.request.columns for r in split.test)
    assert least >= 5 * largest  # of each algorithm its own


def test_other_threads_are_forecast_from_one():
    for split in other_threads(RECORDS):
        assert {r.request.threads for r in split.train} == {1}
        assert {r.request.threads for r in split.test} <= {2}


def test_pairs_are_two_folds_of_one_candidate():
    pairs = pairs_of_folds(RECORDS)
    assert len(pairs) == len(RECORDS) // 2
    assert all(a.candidate == b.candidate and (a.fold, b.fold) == (0, 1) for a, b in pairs)


def test_metrics_of_a_perfect_forecast():
    asked, estimates, base = forecast(SizingModel.prior(), RECORDS)
    perfect = [
        replace(
            e,
            runtime_s_p10=r.runtime_s * 0.9,
            runtime_s_p50=r.runtime_s,
            runtime_s_p90=r.runtime_s * 1.1,
            peak_memory_bytes_p50=r.peak_memory_bytes,
            peak_memory_bytes_p95=r.peak_memory_bytes,
        )
        for e, r in zip(estimates, asked, strict=True)
    ]
    forecasts = Forecasts()
    forecasts.add(asked, perfect, BASE_BYTES)
    row = judged("perfect", forecasts)
    assert row["runtime median"] == row["memory median"] == pytest.approx(0)
    assert row["in P10–P90"] == 1
    assert row["above P95"] == row["wasted GB·s"] == 0
    assert "perfect" in as_table([row])
    assert as_table([row], markdown=True).count("\n") == 2
    assert base > 0


def test_nothing_to_judge():
    assert judged("none", Forecasts())["fits"] == 0


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_forecast_seen_and_unseen_algorithms(name):
    train = [r for r in RECORDS if r.request.algorithm == FOREST]
    runtime, memory = BASELINES[name](train, RECORDS)
    assert np.isfinite(runtime).all() and np.isfinite(memory).all()
    known = [r.request.algorithm == FOREST for r in RECORDS]
    error = np.abs(runtime - log_costs(RECORDS)[0])[known]
    assert np.median(error) < 3


def test_autogluons_formulas_know_their_models_only():
    tree = request("sklearn.tree.DecisionTreeClassifier")
    formula = like_autogluon([record(request(LGBM)), record(request(FOREST)), record(tree)])
    assert min(formula[0], formula[1]) > math.log(1e6)
    assert math.isnan(formula[2])


def test_constants_are_found_again():
    true = {**constants(), "forest": {**constants()["forest"]}}
    true["forest"]["random_cell_s"] *= 1.0
    true["forest"]["sort_s"] *= 3.0
    true["forest"]["split_cell_s"] *= 3.0
    true["work_factor"] = 1.0
    told = []
    for r in RECORDS:
        if r.request.algorithm == FOREST:
            cost = cost_of(describe(r.request), true)
            told.append(replace(r, runtime_s=cost.work_s + cost.process_s))
    one = [r for r in told if r.request.threads == 1]
    fitted = fit_constants(one, constants())
    fitted["work_factor"] = 1.0
    errors = [
        abs(math.log((cost.work_s + cost.process_s) / r.runtime_s))
        for r in one
        for cost in [cost_of(describe(r.request), fitted)]
    ]
    assert np.median(errors) < 0.1
    assert as_json(fitted).startswith("{")


@pytest.mark.skipif(not DATA.exists(), reason="the campaign isn't here")
def test_the_kept_campaign_is_small_whole_and_names_no_machine():
    assert DATA.stat().st_size < 1_500_000
    records = read_parquet(DATA)
    assert len({r.record_id for r in records}) == len(records) > 500
    assert {r.host for r in records} == {r.worker for r in records} == {"benchmark"}
    assert not [r for r in records if "/" in r.error_message]
    assert sum(r.outcome is Outcome.SUCCEEDED for r in records) > 0.9 * len(records)


@pytest.mark.slow
def test_all_tables_are_made():
    tables = all_tables(RECORDS)
    assert [row[""] for row in tables["Unseen dataset, side by side"]] == ["fitcast", *BASELINES]
    assert all(table for table in tables.values())
