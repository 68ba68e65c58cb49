"""The table of results where fits are absent, failed, or were never asked for."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, ShuffleSplit

from fitcast.errors import InvalidSweepError
from fitcast.history.records import Outcome
from fitcast.trainer.attempt.spec import Measured
from fitcast.trainer.sweep.prepared import Sweep
from fitcast.trainer.sweep.results import best_candidate, tabulate
from tests.trainer.sweep.predicted import out_of_fold

X = np.arange(24.0).reshape(12, 2)
Y = np.arange(12) % 2
NOW = datetime.now(UTC)


def sweep(**options):
    grid = {"C": [0.1, 1.0, 10.0]}
    options = {"cv": KFold(3), **options}
    return Sweep({"lr": (LogisticRegression(), grid)}, X, Y, **options).prepare()


def attempt(scores=None, outcome=Outcome.SUCCEEDED, **options):
    return Measured(
        outcome=outcome,
        runtime_s=1.0,
        cpu_s=1.0,
        peak_memory_bytes=2,
        base_memory_bytes=1,
        started_at=NOW,
        ended_at=NOW,
        fit_time_s=0.5,
        scores=scores or {},
        **options,
    )


def test_what_never_ran_or_failed_gets_the_error_score():
    prepared = sweep(error_score=-3.0)
    measured = {fit.fit_id: attempt({"score": 0.5 + fit.fold}) for fit in prepared.fits}
    measured["c0001-f1"] = attempt({"score": 9.0}, outcome=Outcome.OUT_OF_MEMORY)
    del measured["c0002-f2"]
    table = tabulate(prepared.submission, measured, prepared.params)
    assert table["split1_test_score"].tolist() == [1.5, -3.0, 1.5]
    assert table["split2_test_score"].tolist() == [2.5, 2.5, -3.0]
    assert table["rank_test_score"].tolist() == [1, 3, 2] or table["mean_test_score"][0] == 1.5
    assert np.isnan(table["mean_fit_time"][2])
    assert best_candidate(prepared.refit, table) == 0


def test_nothing_succeeded():
    prepared = sweep()
    table = tabulate(prepared.submission, {}, prepared.params)
    assert np.isnan(table["mean_test_score"]).all()
    assert table["rank_test_score"].tolist() == [1, 1, 1]
    assert best_candidate(prepared.refit, table) == 0
    assert not out_of_fold(prepared, {})


def test_candidates_without_a_mean_come_last():
    prepared = sweep()
    scores = {0: 0.2, 1: np.nan, 2: 0.9}
    measured = {f.fit_id: attempt({"score": scores[f.candidate.index]}) for f in prepared.fits}
    table = tabulate(prepared.submission, measured, prepared.params)
    assert table["rank_test_score"].tolist() == [2, 3, 1]
    assert best_candidate(prepared.refit, table) == 2


@given(st.lists(st.floats(-1e6, 1e6), min_size=9, max_size=9))
def test_ranks_and_means(values):
    prepared = PREPARED
    measured = {f.fit_id: attempt({"score": v}) for f, v in zip(prepared.fits, values, strict=True)}
    table = tabulate(prepared.submission, measured, prepared.params)
    array = np.array(values).reshape(3, 3)
    np.testing.assert_array_equal(table["mean_test_score"], array.mean(axis=1))
    expected = rankdata(-array.mean(axis=1), method="min")
    np.testing.assert_array_equal(table["rank_test_score"], expected)
    assert table["rank_test_score"][best_candidate(prepared.refit, table)] == 1


PREPARED = sweep()


def test_parameters_that_a_candidate_does_not_have_are_masked():
    grids = [{"C": [1.0]}, {"solver": ["lbfgs"], "C": [2]}, {"class_weight": [{0: 1}, None]}]
    prepared = Sweep((LogisticRegression(), grids), X, Y, cv=KFold(3)).prepare()
    table = tabulate(prepared.submission, {}, prepared.params)
    assert table["param_C"].mask.tolist() == [False, False, True, True]
    assert table["param_solver"].mask.tolist() == [True, False, True, True]
    assert table["param_class_weight"].tolist() == [None, None, {0: 1}, None]


def test_which_score_decides():
    scoring = ["accuracy", "roc_auc"]
    scores = {0: (0.1, 0.9), 1: (0.5, 0.1), 2: (0.3, 0.2)}

    def measured(prepared):
        return {
            f.fit_id: attempt(dict(zip(scoring, scores[f.candidate.index], strict=True)))
            for f in prepared.fits
        }

    for refit, best in (("roc_auc", 0), ("accuracy", 1), (False, 1), (lambda results: 2, 2)):
        prepared = sweep(scoring=scoring, refit=refit)
        assert (
            best_candidate(
                prepared.refit, tabulate(prepared.submission, measured(prepared), prepared.params)
            )
            == best
        )
    prepared = sweep(scoring=scoring, refit=lambda results: 7)
    with pytest.raises(InvalidSweepError, match="from 0 to 2"):
        best_candidate(
            prepared.refit, tabulate(prepared.submission, measured(prepared), prepared.params)
        )


def test_predictions_of_rows_that_were_not_tested_are_missing():
    prepared = sweep(cv=ShuffleSplit(1, test_size=4, random_state=0))
    (_, test), untested = prepared.content.splits[0], np.ones(12, dtype=bool)
    untested[test] = False
    numbers = {"c0000-f0": attempt(predictions=np.arange(4))}
    got = out_of_fold(prepared, numbers)["lr C=0.1"]
    assert np.isnan(got[untested]).all()
    np.testing.assert_array_equal(got[test], np.arange(4))
    words = {"c0000-f0": attempt(predictions=np.array(list("abcd")))}
    got = out_of_fold(prepared, words)["lr C=0.1"]
    assert set(got[untested]) == {None}
    assert got[test].tolist() == list("abcd")


def test_predictions_keep_their_columns_and_types():
    prepared = sweep()
    tables = {
        fit.fit_id: attempt(predictions=np.full((4, 2), fit.fold)) for fit in prepared.fits[:3]
    }
    got = out_of_fold(prepared, tables)
    assert list(got) == ["lr C=0.1"]
    assert got["lr C=0.1"].dtype == int
    assert got["lr C=0.1"][:, 0].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    longer = {f"c0000-f{i}": attempt(predictions=np.array(["ab" * (i + 1)] * 4)) for i in range(3)}
    assert out_of_fold(prepared, longer)["lr C=0.1"][-1] == "ababab"
