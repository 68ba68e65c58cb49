from dataclasses import replace

import numpy as np
import pytest
from benchmark_making import record, request

from benchmarks.campaign import is_disturbed
from benchmarks.campaign_data import MAX_CELLS, draw, make
from benchmarks.campaign_models import draw_model

PLANS = [draw(0, index) for index in range(400)]


def test_plans_come_from_the_seed_alone():
    assert [draw(0, index) for index in range(50)] == PLANS[:50]
    assert draw(1, 0) != PLANS[0]


def test_plans_fill_the_space():
    rows = np.log10([plan.rows for plan in PLANS])
    assert rows.min() < 2.3 and rows.max() > 5.5
    columns = np.log10([plan.columns for plan in PLANS])
    assert columns.min() == 0 and columns.max() > 2.7
    dense = [plan for plan in PLANS if plan.kind != "sparse"]
    assert max(plan.rows * plan.columns for plan in dense) <= MAX_CELLS
    assert len({plan.kind for plan in PLANS}) == 11
    assert len({plan.name for plan in PLANS}) == len(PLANS)


KINDS = ("informative", "noise", "correlated", "counts", "categories", "sparse", "digits", "wine")


@pytest.mark.parametrize("kind", KINDS)
def test_data_are_as_planned_and_repeatable(kind):
    plan = next(p for p in PLANS if p.kind == kind)
    plan = replace(plan, rows=min(plan.rows, 160), columns=min(plan.columns, 13))
    X, y = make(plan, 0)
    assert X.shape == (plan.rows, plan.columns)
    assert X.dtype == plan.dtype
    assert len(np.unique(y)) == plan.classes or plan.target == "regression"
    again, y_again = make(plan, 0)
    assert np.array_equal(y, y_again)
    assert (abs(X - again)).max() == 0


def test_models_suit_the_target():
    rng = np.random.default_rng(0)
    for plan in PLANS[:80]:
        name, estimator = draw_model(plan, rng)
        last = type(getattr(estimator, "steps", [("", estimator)])[-1][1]).__name__
        assert name
        if last.endswith("Classifier"):
            assert plan.target != "regression"
        if last.endswith("Regressor"):
            assert plan.target == "regression"


def test_a_fit_that_waited_for_a_core_is_disturbed():
    assert not is_disturbed(record(request(), runtime_s=1.0, cpu_s=0.98))
    assert is_disturbed(record(request(), runtime_s=1.0, cpu_s=0.7))
    two = request(threads=2)
    assert not is_disturbed(record(two, 1.0, cpu_s=0.7, scores={"other_cpu_s": 0.1}))
    assert is_disturbed(record(two, 1.0, cpu_s=1.5, scores={"other_cpu_s": 0.9}))
