"""A submission as JSON: all of it comes back, and what can't be read is said clearly."""

import json
import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fitcast.errors import SubmissionError
from fitcast.trainer.sweep.prepared import Sweep
from fitcast.trainer.sweep.submission_file import SCHEMA, from_json, to_json

rng = np.random.default_rng(0)
X = rng.random((60, 3))
Y = (X[:, 0] > 0.5).astype(int)


def first(cv_results):
    return 0


def pipeline():
    return make_pipeline(SimpleImputer(missing_values=math.nan), StandardScaler(), MODEL)


MODEL = LogisticRegression()
SWEEPS = {
    "plain": lambda: Sweep(MODEL, X, Y, cv=3),
    "several": lambda: Sweep(
        {"lr": (MODEL, {"C": [0.1, 1, 10**25]}), "rf": (RandomForestClassifier(), {})}, X, Y
    ),
    "pipeline": lambda: Sweep(pipeline(), X, Y, scoring=["accuracy", "roc_auc"], refit="roc_auc"),
    "sparse": lambda: Sweep(MODEL, sp.csr_matrix(X > 0.7, dtype=float), Y, cv=3, refit=False),
    "rule": lambda: Sweep((MODEL, {"C": [1.0, 2.0]}), X, Y, refit=first, error_score=-1.0),
    "limits": lambda: Sweep(MODEL, X, Y, deadline_s=5.0, memory_bytes=2**40, name="é\ud800"),
    "weighted": lambda: Sweep(MODEL, X, Y, sample_weight=X[:, 0], return_train_score=True),
    "callable": lambda: Sweep(MODEL, X, Y, scoring=lambda model, X, y: {"a": 1.0}, refit=False),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_all_of_it_comes_back(name):
    submission = SWEEPS[name]().prepare().submission
    told = to_json(submission)
    back = from_json(json.loads(json.dumps(told)))
    assert json.dumps(to_json(back)) == json.dumps(told)
    assert [repr(fit.request) for fit in back.fits] == [repr(f.request) for f in submission.fits]
    assert [fit.fit_id for fit in back.fits] == [fit.fit_id for fit in submission.fits]
    last = len(submission.candidates) - 1
    assert repr(back.refit_fit(last).request) == repr(submission.refit_fit(last).request)
    assert back.candidates[last].label == submission.candidates[last].label


@pytest.mark.parametrize("name", SWEEPS)
def test_the_same_sweep_has_the_same_digest_and_another_one_not(name):
    digest = SWEEPS[name]().prepare().submission.digest
    assert SWEEPS[name]().prepare().submission.digest == digest
    others = [SWEEPS[other]().prepare().submission.digest for other in SWEEPS if other != name]
    assert digest not in others


@pytest.mark.parametrize(
    "changed",
    [
        {"X": X + 1e-9},
        {"y": 1 - Y},
        {"cv": 4},
        {"scoring": "roc_auc"},
        {"refit": False},
        {"error_score": 0.0},
        {"sample_weight": np.ones(len(Y))},
        {"models": (MODEL, {"C": [1.0, 3.0]})},
        {"models": (LogisticRegression(tol=0.01), {"C": [1.0, 2.0]})},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_changes_the_outcome_changes_the_digest(changed):
    given = {"models": (MODEL, {"C": [1.0, 2.0]}), "X": X, "y": Y, "cv": 3}
    before = Sweep(**given).prepare().submission.digest
    assert Sweep(**given | changed).prepare().submission.digest != before


def test_a_newer_one_says_so():
    told = to_json(SWEEPS["plain"]().prepare().submission) | {"schema": SCHEMA + 1}
    with pytest.raises(SubmissionError, match="install the version that wrote it"):
        from_json(told)


TOLD = json.dumps(to_json(SWEEPS["several"]().prepare().submission))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@given(st.sampled_from(sorted(json.loads(TOLD))), JSON)
def test_a_damaged_one_is_an_error_of_ours_or_still_a_whole_submission(name, value):
    told = json.loads(TOLD) | {name: value}
    try:
        back = from_json(told)
    except SubmissionError:
        return
    assert len(back.fits) == len(back.candidates) * back.n_splits


@pytest.mark.parametrize("name", sorted(json.loads(TOLD)))
def test_one_without_a_part_is_refused(name):
    told = json.loads(TOLD)
    del told[name]
    with pytest.raises(SubmissionError, match="damaged"):
        from_json(told)


@pytest.mark.parametrize("told", [None, [], "x", 3, {}])
def test_something_else_is_refused(told):
    with pytest.raises(SubmissionError, match="damaged"):
        from_json(told)
