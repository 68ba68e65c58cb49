"""A scorer sees the model that scikit-learn would give it, and gets true answers."""

import pickle
from copy import deepcopy
from functools import wraps
from typing import ClassVar

import numpy as np
import pytest
from running import small_content
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, check_scoring, make_scorer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fitcast.history.records import Outcome
from fitcast.trainer.attempt.fitting import fit_and_score
from fitcast.trainer.attempt.spec import Job

CONTENT = small_content(200)


class Threshold(ClassifierMixin, BaseEstimator):
    """Says yes above a threshold of its first column."""

    def __init__(self, threshold=0.0):
        self.threshold = threshold

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.shift_ = 0.0
        return self

    def predict(self, X):
        return (X[:, 0] + self.shift_ > self.threshold).astype(int)


def by_parameter(model, X, y):
    answers = []
    for threshold in (-1.0, 0.0, 1.0):
        model.set_params(threshold=threshold)
        answers.append(accuracy_score(y, model.predict(X)))
    return answers[0] + 10 * answers[1] + 100 * answers[2]


def by_attribute(model, X, y):
    first = np.mean(model.predict(X))
    model.shift_ = 100.0
    return first + 10 * np.mean(model.predict(X))


def by_column_in_place(model, X, y):
    first = np.mean(model.predict(X))
    X[:, 0] *= -1.0
    return first + 10 * np.mean(model.predict(X))


def by_copies(model, X, y):
    told = 0.0
    for other in (deepcopy(model), pickle.loads(pickle.dumps(model))):
        other.shift_ = 100.0
        told = 10 * told + np.mean(other.predict(X))
    return told + np.mean(model.predict(X))


def by_looking(model, X, y):
    odd = [
        model.predict.__self__ is not model,
        set(vars(model)) != {"threshold", "classes_", "shift_"},
        type(clone(model)) is not type(model),
        "predict" in vars(deepcopy(model)),
    ]
    return float(sum(odd))


SCORERS = [by_parameter, by_attribute, by_column_in_place, by_copies, by_looking]


def as_scikit_learn_does(estimator, scoring):
    train, test = CONTENT.splits[0]
    model = clone(estimator).fit(CONTENT.X[train], CONTENT.y[train])
    return check_scoring(model, scoring)(model, CONTENT.X[test].copy(), CONTENT.y[test])


def scores(estimator, scoring):
    scorer = check_scoring(estimator, scoring)
    fitted = fit_and_score(Job(estimator=estimator, params={}, scorer=scorer), CONTENT, 0)
    return fitted.scores


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.__name__)
def test_a_scorer_gets_true_answers(scorer):
    assert scores(Threshold(), scorer) == {"score": as_scikit_learn_does(Threshold(), scorer)}
    several = {"own": scorer, "accuracy": "accuracy"}
    assert scores(Threshold(), several) == as_scikit_learn_does(Threshold(), several)


def size_of(model, X, y):
    model.predict(X)
    return float(len(pickle.dumps(model)))


def attributes_of(model, X, y):
    model.predict(X)
    parts = [model, *(step for _, step in getattr(model, "steps", []))]
    return float(sum(len(vars(part)) for part in parts))


@pytest.mark.parametrize("scorer", [size_of, attributes_of], ids=lambda scorer: scorer.__name__)
@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(3, random_state=0),
        make_pipeline(StandardScaler(), LogisticRegression()),
    ],
    ids=["forest", "pipeline"],
)
def test_a_scorer_sees_the_plain_model(model, scorer):
    assert scores(model, scorer) == {"score": as_scikit_learn_does(model, scorer)}


def shifts_first_step(model, X, y):
    told = float(model[0].mean_[0])
    model[0].mean_ += 1.0
    model[-1].C = 7.0
    return told + (0.0 if model.memory is None else 100.0)


def test_what_a_scorer_does_to_a_step_stays_with_its_fit(data):
    models = [make_pipeline(StandardScaler(), LogisticRegression(C=C)) for C in (0.1, 1.0, 10.0)]
    specs = [data.spec(one, scoring=shifts_first_step, common_work="scaled") for one in models]
    together = data.runner.run(specs)
    train, _ = data.content.splits[0]
    mean = float(StandardScaler().fit(data.content.X[train]).mean_[0])
    for one in together:
        assert one.outcome is Outcome.SUCCEEDED, one.traceback
        assert one.scores == {"score": mean}
    assert together[1].shared_s > 0.0


@pytest.mark.parametrize("scoring", ["roc_auc", "accuracy", make_scorer(accuracy_score), None])
def test_a_library_s_model_is_asked_once(scoring, monkeypatch):
    asked: ClassVar[list[list[str]]] = []
    original = RandomForestClassifier.predict_proba

    @wraps(original)
    def counted(self, X):
        asked.append(len(X))
        return original(self, X)

    monkeypatch.setattr(RandomForestClassifier, "predict_proba", counted)
    model = RandomForestClassifier(3, random_state=0)
    job = Job(estimator=model, params={}, scorer=check_scoring(model, scoring))
    fitted = fit_and_score(job, CONTENT, 0)
    assert asked == [40]
    train, test = CONTENT.splits[0]
    alone = clone(model).fit(CONTENT.X[train], CONTENT.y[train])
    assert np.array_equal(fitted.predictions, alone.predict(CONTENT.X[test]))


class Own(Threshold):
    """Asks itself several times, looks at itself, and tells how often it was asked."""

    asked: ClassVar[list[list[str]]] = []

    def predict_proba(self, X):
        one = (X[:, 0] > self.threshold).astype(float)
        return np.column_stack([1.0 - one, one])

    def predict(self, X):
        self.asked.append(sorted(vars(pickle.loads(pickle.dumps(self)))))
        told = []
        for self.threshold in (-1.0, 1.0):
            told.append(self.predict_proba(X)[:, 1])
        return (told[0] > told[1]).astype(int)


@pytest.mark.parametrize("scoring", ["accuracy", None])
def test_a_user_s_model_sees_itself_plain_and_true(scoring):
    Own.asked.clear()
    model = Own()
    job = Job(estimator=model, params={}, scorer=check_scoring(model, scoring))
    fitted = fit_and_score(job, CONTENT, 0)
    assert Own.asked == [["classes_", "shift_", "threshold"]]
    assert fitted.scores == {"score": as_scikit_learn_does(model, scoring)}
    train, test = CONTENT.splits[0]
    alone = Own().fit(CONTENT.X[train], CONTENT.y[train])
    assert np.array_equal(fitted.predictions, alone.predict(CONTENT.X[test]))


class ScoresItself(Threshold):
    def score(self, X, y):
        return by_parameter(self, X, y)


def test_a_model_that_scores_itself_gets_true_answers():
    assert scores(ScoresItself(), None) == {"score": as_scikit_learn_does(ScoresItself(), None)}
