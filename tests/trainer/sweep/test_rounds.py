"""Who goes on by the scores: as scikit-learn's successive halving chooses."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import make_classification
from sklearn.metrics import check_scoring
from sklearn.model_selection._search_successive_halving import BaseSuccessiveHalving, _top_k
from sklearn.tree import DecisionTreeClassifier

from fitcast.errors import SubmissionError
from fitcast.trainer.sweep.rounds import (
    best_place,
    candidates_that_ran,
    going_on,
    next_candidates,
)
from fitcast.trainer.sweep.searched import SearchedSweep
from fitcast.trainer.sweep.submission import Round
from fitcast.trainer.sweep.submission_file import from_json, to_json
from tests.trainer.sweep.test_results import attempt

X, Y = make_classification(n_samples=60, random_state=0)
ROWS = (
    Round(0, 4, 4, 0, "n_samples", 20),
    Round(4, 4, 2, 2, "n_samples", 40),
    Round(8, 4, 1, 4, "n_samples", 60),
)


def searching(rounds=ROWS):
    splits = [(np.arange(n), np.arange(n, 60)) for n in (10, 12, 20, 22, 40, 42)]
    if rounds[0].resource != "n_samples":
        splits = splits[:2]
    settings = [{"min_samples_leaf": n} for n in (1, 2, 3, 4)]
    tree = DecisionTreeClassifier()
    scorer = check_scoring(tree)
    return SearchedSweep(
        tree, settings, X, Y, splits=splits, scorer=scorer, refit=True, rounds=rounds
    )


def searched(rounds=ROWS):
    return searching(rounds).prepare()


def by_depth():
    return tuple(
        replace(one, first_split=0, resource="max_depth", amount=2 + n)
        for n, one in enumerate(ROWS)
    )


scores = st.lists(
    st.one_of(st.sampled_from([0.0, 0.5, np.nan]), st.floats(-1, 1)), min_size=1, max_size=40
)


@given(scores, st.data())
def test_those_go_on_that_scikit_learn_keeps(given_, data):
    count = data.draw(st.integers(1, len(given_)))
    names = np.arange(len(given_))
    results = {"iter": [0] * len(given_), "mean_test_score": given_, "params": list(names)}
    assert going_on(np.array(given_), count) == list(_top_k(results, count, 0))


@given(scores)
def test_the_best_is_scikit_learn_s(given_):
    results = {"iter": np.zeros(len(given_)), "mean_test_score": np.array(given_)}
    known = BaseSuccessiveHalving._select_best_index(None, None, results)
    assert best_place(np.array(given_)) == known


@pytest.mark.parametrize("rounds", [ROWS, by_depth()])
def test_all_that_may_run_is_laid_out(rounds):
    prepared = searched(rounds)
    submission = prepared.submission
    assert (len(submission.candidates), len(submission.fits)) == (12, 24)
    assert (submission.fits_to_run, submission.late_rounds) == (2 * (4 + 2 + 1), 3)
    assert [fit.fit_id for fit in submission.first_fits] == [
        f"c000{c}-f{f}" for c in range(4) for f in range(2)
    ]
    for fit in submission.fits:
        assert submission.fit_named(fit.fit_id) is fit
        train, test = prepared.content.splits[fit.fold]
        assert (fit.request.rows_train, fit.request.rows_test) == (len(train), len(test))
    assert [submission.origin(index) for index in (1, 5, 9)] == [1, 1, 1]
    assert submission.fit_named("c0009-refit").request.rows_train == 60
    assert submission.fit_named("c0012-f0") is submission.fit_named("nonsense") is None
    by_rows = rounds[0].resource == "n_samples"
    assert (prepared.jobs[1].job is prepared.jobs[9].job) == by_rows
    depth = None if by_rows else 4
    assert submission.candidates[9].params.get("max_depth") == depth
    suffix = "n_samples=60" if by_rows else "max_depth=4"
    label = f"DecisionTreeClassifier min_samples_leaf=2, rung 2, {suffix}"
    assert submission.candidates[9].label == label


@pytest.mark.parametrize("rounds", [ROWS, by_depth()])
def test_rounds_come_back_from_json(rounds):
    submission = searched(rounds).submission
    told = json.loads(json.dumps(to_json(submission)))
    back = from_json(told)
    assert told["schema"] == 2
    assert back.rounds == submission.rounds
    assert [repr(fit) for fit in back.fits] == [repr(fit) for fit in submission.fits]


DAMAGE = {
    "more than there were": lambda rounds: rounds[1].update(runs=5),
    "none": lambda rounds: rounds[1].update(runs=0),
    "elsewhere": lambda rounds: rounds[1].update(first=3),
    "no folds": lambda rounds: rounds[1].update(first_split=-2),
    "other folds": lambda rounds: rounds[1].update(first_split=3),
    "one too few": lambda rounds: rounds.pop(),
    "a text": lambda rounds: rounds[0].update(potential="4"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_rounds_are_refused(name):
    told = json.loads(json.dumps(to_json(searched().submission)))
    DAMAGE[name](told["rounds"])
    with pytest.raises(SubmissionError, match="damaged"):
        from_json(told)


def gave(submission, **of_candidates):
    return {
        fit.fit_id: attempt({"score": score})
        for name, score in of_candidates.items()
        for fit in submission.fits_of(int(name[1:]))
    }


def test_candidates_are_listed_as_the_search_lists_them():
    submission = searched().submission
    seen = gave(submission, c0=0.4, c1=0.9, c2=0.8, c3=0.1)
    assert next_candidates(submission, seen, [0, 1, 2, 3]) == [6, 5]
    seen |= gave(submission, c5=0.2, c6=0.7)
    assert next_candidates(submission, seen, [6, 5]) == [10]
    assert candidates_that_ran(submission, seen, seen) == [0, 1, 2, 3, 6, 5]


def test_what_was_begun_goes_on_whatever_the_scores_say_now():
    submission = searched().submission
    seen = gave(submission, c0=0.4, c1=0.9, c2=0.8, c3=0.1)
    assert next_candidates(submission, seen, [0, 1, 2, 3], begun=[7]) == [7, 5]
    assert next_candidates(submission, seen, [0, 1, 2, 3], begun=[7, 4]) == [7, 4]
