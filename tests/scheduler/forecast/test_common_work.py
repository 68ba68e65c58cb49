"""Which fits of a sweep have work in common, and how much of them it is."""

import numpy as np
import pytest
from lightgbm import LGBMClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import KNNImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from xgboost import XGBClassifier

from fitcast.scheduler.forecast.common_work import common_work
from fitcast.trainer.sweep.prepared import Sweep
from tests.scheduler.making import estimate

rng = np.random.default_rng(0)
X = rng.random((500, 4))
Y = (X[:, 0] > 0.5).astype(int)
CELLS_TRAIN = 250 * 4


def found(models, *, runtime_s=0.001, **more):
    prepared = Sweep(models, X, Y, cv=2, **more).prepare()
    estimates = {fit.fit_id: estimate(runtime_s) for fit in prepared.fits}
    shared = common_work(prepared.submission, estimates)
    return [
        (prepared.candidates[fit.candidate.index].params, fit.fold, shared[fit.fit_id])
        for fit in prepared.fits
        if fit.fit_id in shared
    ]


def test_boostings_that_bin_equally_share_the_bins_of_a_fold():
    grid = {"max_depth": [2, 3], "max_bin": [64, 128]}
    shared = found({"xgb": (XGBClassifier(), grid)})
    assert len(shared) == 8
    names = {(params["max_bin"], fold): work.name for params, fold, work in shared}
    assert len(set(names.values())) == 4
    assert all(work.name == names[params["max_bin"], fold] for params, fold, work in shared)
    assert all(work.share == pytest.approx(CELLS_TRAIN * 4e-8 / 0.001) for *_, work in shared)


def test_steps_and_bins_both_count():
    pipeline = make_pipeline(KNNImputer(), LGBMClassifier())
    steps_only = {"lgbmclassifier__min_child_samples": [10, 20]}
    (_, _, work), *_ = found((pipeline, steps_only))
    both = {"lgbmclassifier__num_leaves": [10, 20]}
    (_, _, more), *_ = found((pipeline, both))
    assert more.share == pytest.approx(work.share + CELLS_TRAIN * 4e-8 / 0.001)


@pytest.mark.parametrize(
    "models",
    [
        (XGBClassifier(), {"max_bin": [64, 128]}),
        (XGBClassifier(tree_method="exact"), {"max_depth": [2, 3]}),
        (RandomForestClassifier(), {"max_depth": [2, 3]}),
        (make_pipeline(KNNImputer(), LogisticRegression()), {"knnimputer__n_neighbors": [2, 3]}),
    ],
    ids=["other bins", "no bins", "nothing made before", "other steps"],
)
def test_others_have_nothing_in_common(models):
    assert found(models) == []


def test_weights_of_rows_change_bins_and_steps():
    grid = {"max_depth": [2, 3]}
    assert found((XGBClassifier(), grid), sample_weight=np.ones(len(X))) == []
