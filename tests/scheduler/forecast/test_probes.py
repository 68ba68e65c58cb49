"""Sweeps that probe another: the same data, models and scoring, on a sample of the rows."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.naive_bayes import GaussianNB

from fitcast.scheduler.forecast.probes import probe_sweeps
from fitcast.sizing.learning.model import SizingModel
from fitcast.trainer.sweep.prepared import Sweep

ROWS = 4_000
rng = np.random.default_rng(0)
X = pd.DataFrame(rng.random((ROWS, 4)), columns=list("abcd"))
LABELS = (rng.random(ROWS) < 0.02).astype(int)


def probed(models, y, *, runtime_s=100.0, **changed):
    sweep = Sweep(models, X, y, cv=4, name="whole", **changed)
    prepared = sweep.prepare()
    estimates = SizingModel.prior().estimate([fit.request for fit in prepared.fits])
    long = [replace(e, runtime_s_p50=runtime_s, runtime_log_sd_algorithm=0.5) for e in estimates]
    return prepared, probe_sweeps(
        prepared, {fit.fit_id: e for fit, e in zip(prepared.fits, long, strict=True)}
    )


FOREST = {"forest": (RandomForestClassifier(), {"n_estimators": [5, 10, 20]})}


def test_a_probe_is_one_fit_on_a_sample_of_the_same_dataset():
    prepared, small = probed(FOREST, LABELS, scoring="roc_auc")

    assert [len(sweep.prepare().fits) for sweep in small] == [1, 1]
    for sweep in small:
        (fit,) = sweep.prepare().fits
        assert sweep.prepare().submission.dataset == prepared.submission.dataset
        assert 200 <= fit.request.rows_train <= ROWS * 3 / 4 / 4
        assert fit.request.rows_test < fit.request.rows_train
        train, test = sweep.prepare().content.splits[0]
        assert not set(train) & set(test)
        assert set(LABELS[train]) == set(LABELS[test]) == {0, 1}  # rare as one of them is
    assert {s.prepare().candidates[0].label for s in small} <= {
        candidate.label for candidate in prepared.candidates
    }


def test_targets_of_numbers_are_sampled_too():
    _, small = probed({"ridge": Ridge()}, X["a"] * 2.0)

    assert small


def test_weights_go_along():
    _, small = probed({"bayes": GaussianNB()}, LABELS, sample_weight=np.ones(ROWS))

    assert small[0].sample_weight is not None


def test_short_sweeps_are_left_alone():
    assert probed(FOREST, LABELS, runtime_s=0.1)[1] == []


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_what_probes_told_counts_for_the_whole_sweep(share):
    from tests.sizing.sizing_making import record

    prepared, small = probed(FOREST, LABELS)
    prior = SizingModel.prior()
    (before,) = prior.estimate([prepared.fits[0].request], dataset=prepared.submission.dataset)
    told = []
    for sweep in small:
        (fit,) = sweep.prepare().fits
        (forecast,) = prior.estimate([fit.request], dataset=prepared.submission.dataset)
        # On this dataset, everything takes five times as long as the law says.
        took_s = 0.03 + 5.0 * forecast.runtime_s_p50 * (1.0 + share)
        told.append(record(fit.request, took_s, dataset=prepared.submission.dataset))
    (after,) = prior.train(told).estimate(
        [prepared.fits[0].request], dataset=prepared.submission.dataset
    )

    assert after.runtime_s_p50 > 2.0 * before.runtime_s_p50
