from dataclasses import replace

import pytest
from sizing_making import request

from fitcast.sizing.learning.model import SizingModel
from fitcast.sizing.probing import BUDGET, choose_probes

FOREST = "sklearn.ensemble.RandomForestClassifier"
BAYES = "sklearn.naive_bayes.GaussianNB"


def sweep(rows=400_000):
    requests = {}
    for number, trees in enumerate((50, 100, 200, 400)):
        one = request(FOREST, rows=rows, params={"n_estimators": trees})
        for fold in range(5):
            requests[f"c{number}-f{fold}"] = one
    requests["c4-f0"] = request(BAYES, rows=rows, params={})
    estimates = SizingModel.prior().estimate(list(requests.values()))
    return requests, dict(zip(requests, estimates, strict=True))


def test_a_long_and_unsure_sweep_is_probed_for_little():
    requests, estimates = sweep()

    probes = choose_probes(requests, estimates)

    trees = [requests[probe.fit_id].params.get("n_estimators") for probe in probes]
    assert trees[:2] == [50, 400]
    cost_s = sum(
        estimates[p.fit_id].runtime_s_p50 * p.rows_train / requests[p.fit_id].rows_train
        for p in probes
    )
    assert 0 < cost_s <= BUDGET * sum(e.runtime_s_p50 for e in estimates.values())


def test_a_short_sweep_is_not_probed():
    assert choose_probes(*sweep(rows=2_000)) == []


def test_what_is_forecast_surely_is_not_probed():
    requests, estimates = sweep()
    sure = {key: replace(e, runtime_log_sd_algorithm=0.1) for key, e in estimates.items()}

    assert choose_probes(requests, sure) == []


@pytest.mark.parametrize("rows", [10, 100])
def test_a_few_rows_are_never_split_further(rows):
    requests, estimates = sweep(rows=rows)
    long = {key: replace(e, runtime_s_p50=1000.0) for key, e in estimates.items()}

    assert choose_probes(requests, long) == []


def test_nothing_is_probed_of_nothing():
    assert choose_probes({}, {}) == []
