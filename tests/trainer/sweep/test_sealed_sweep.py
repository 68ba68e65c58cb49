"""What a sweep was made of, sealed: jobs come out without running anything of the user's."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

from fitcast.errors import SealError, SubmissionError
from fitcast.trainer.sealing import new_key
from fitcast.trainer.sweep.prepared import Sweep
from fitcast.trainer.sweep.sealed_sweep import OpenedSweep, seal_sweep

rng = np.random.default_rng(0)
X = rng.random((60, 3))
Y = (X[:, 0] > 0.5).astype(int)


def noted(path):
    Path(path).touch()
    return Telling(path)


class Telling(ClassifierMixin, BaseEstimator):
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark="", table=None):
        self.mark = mark
        self.table = table

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.zeros(len(X))

    def __reduce__(self):
        return noted, (self.mark,)


def sealed(sweep, tmp_path):
    prepared, key = sweep.prepare(), new_key()
    uri = str(tmp_path / "sweep.sealed")
    made = seal_sweep(prepared, b"around", uri, key, workflow_id="w")
    return prepared, uri, key, made.dataset_id


def test_all_of_it_comes_back(tmp_path):
    large = rng.random(5_000)
    models = {
        "lr": (LogisticRegression(), {"C": [0.1, 1.0]}),
        "t": (Telling(str(tmp_path / "opened")), {"table": [large]}),
    }
    sweep = Sweep(models, X, Y, cv=3, refit=lambda cv_results: 1)
    prepared, *place = sealed(sweep, tmp_path)
    opened = OpenedSweep(*place)
    assert opened.jobs == prepared.jobs
    assert opened.jobs[0].estimator is opened.jobs[1].estimator  # as candidates have it in common
    assert opened.surroundings == b"around"
    for ours, theirs in zip(opened.test_rows, prepared.test_rows, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert opened.params[1] == {"C": 1.0}
    np.testing.assert_array_equal(opened.params[2]["table"], large)
    assert pickle.loads(opened.pickled("refit"))({}) == 1


def test_jobs_are_taken_out_without_opening_anything_of_the_user(tmp_path):
    mark = tmp_path / "opened"
    sweep = Sweep((Telling(str(mark)), {"table": [Telling(str(mark))]}), X, Y, cv=3)
    _, *place = sealed(sweep, tmp_path)
    mark.unlink(missing_ok=True)
    opened = OpenedSweep(*place)
    assert opened.jobs
    assert len(opened.test_rows) == 3
    assert not mark.exists()
    assert opened.params[0]["table"].mark == str(mark)
    assert mark.exists()


def test_a_rule_that_cant_be_sent_is_missed_only_when_it_is_asked_for(tmp_path):
    def rule(cv_results, file=(tmp_path / "open").open("w")):  # noqa: B008
        return 0

    prepared, *place = sealed(Sweep(LogisticRegression(), X, Y, cv=3, refit=rule), tmp_path)
    opened = OpenedSweep(*place)
    assert opened.jobs == prepared.jobs
    with pytest.raises(SubmissionError, match="where it was submitted"):
        opened.pickled("refit")


@pytest.mark.parametrize("at", [5, 200, -5])
def test_an_altered_one_is_refused(tmp_path, at):
    _, uri, key, dataset_id = sealed(Sweep(LogisticRegression(), X, Y, cv=3), tmp_path)
    content = bytearray((tmp_path / "sweep.sealed").read_bytes())
    content[at] ^= 1
    (tmp_path / "sweep.sealed").write_bytes(content)
    with pytest.raises(SealError):
        OpenedSweep(uri, key, dataset_id)
