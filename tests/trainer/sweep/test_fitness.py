"""What is refused beforehand, scikit-learn refuses too: tried with each of its estimators."""

import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, LeaveOneOut, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import all_estimators

from fitcast.errors import InvalidInputError
from fitcast.trainer.sweep.fitness import NEEDS_TWO_CLASSES
from fitcast.trainer.sweep.prepared import Sweep

RNG = np.random.default_rng(0)
X = RNG.uniform(0.1, 1.0, (30, 3))
Y = np.arange(30) % 2
NUMBERS = X[:, 0] + 0.5


def with_every(values, value, step=4):
    changed = np.array(values, dtype=float)
    changed[::step] = value
    return changed


CASES = {
    "x missing": (with_every(X, np.nan), Y, NUMBERS),
    "x infinite": (with_every(X, np.inf), Y, NUMBERS),
    "x ragged": ([[1.0] * (1 + i % 3) for i in range(30)], Y, NUMBERS),
    "x of one dimension": (X[:, 0], Y, NUMBERS),
    "x without columns": (X[:, :0], Y, NUMBERS),
    "y missing": (X, with_every(Y, np.nan), with_every(NUMBERS, np.nan)),
    "y infinite": (X, with_every(Y, np.inf), with_every(NUMBERS, np.inf)),
    "y fractions": (X, NUMBERS, NUMBERS),
    "y words": (X, Y, np.array(["a", "b"], dtype=object)[Y]),
    "y objects": (X, np.array([object() for _ in range(30)]), NUMBERS),
    "y of one class": (X, np.ones(30, dtype=int), NUMBERS),
    "y none": (X, None, None),
}


def made(kind):
    for name, cls in all_estimators(type_filter=kind):
        try:
            yield name, cls()
        except TypeError:  # built around another
            continue


def is_refused(make):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make()
    except InvalidInputError:
        return True
    return False


def comes_to_nothing(estimator, X, y):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            search = GridSearchCV(estimator, {}, cv=KFold(3)).fit(X, y)
        except Exception:
            return True
    return bool(np.isnan(search.cv_results_["mean_test_score"]).all())


@pytest.mark.parametrize("case", CASES)
def test_what_is_refused_scikit_learn_refuses_too(case):
    rows, classes, numbers = CASES[case]
    refused = {}
    for kind, y in (("classifier", classes), ("regressor", numbers)):
        for name, estimator in made(kind):
            if is_refused(lambda e=estimator, y=y: Sweep(e, rows, y, cv=KFold(3)).prepare()):
                refused[name] = comes_to_nothing(estimator, rows, y)
    assert all(refused.values()), [name for name, nothing in refused.items() if not nothing]
    assert refused


def test_the_list_of_those_that_need_two_classes_is_right():
    names = {name for name, e in made("classifier") if comes_to_nothing(e, X, np.ones(30, int))}
    assert names | {"PassiveAggressiveClassifier"} >= NEEDS_TWO_CLASSES


class Own(ClassifierMixin, BaseEstimator):
    """Takes anything."""

    def fit(self, X, y=None):
        self.classes_ = np.array([0, 1])
        return self

    def predict(self, X):
        return np.zeros(len(X))


class OwnForest(RandomForestClassifier):
    """Mends its input first, for all that is known."""


class OwnNumbers(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.zeros(len(X))


TAKEN = {
    "nan beside a baseline": (DummyClassifier(), with_every(X, np.nan), Y),
    "nan first passed through a function": (
        make_pipeline(FunctionTransformer(np.nan_to_num), LogisticRegression()),
        with_every(X, np.nan),
        Y,
    ),
    "one dimension for a user's own": (Own(), np.arange(30), Y),
    "fractions for a user's own": (Own(), X, NUMBERS),
    "no target for a user's own": (Own(), X, None),
    "sets for a user's own": (OwnNumbers(), X, [{1}, {2, 3}] * 15),
    "nan in the target of a user's own": (OwnNumbers(), X, with_every(NUMBERS, np.nan)),
    "records": (OwnNumbers(), X, np.array([(True, 1.0)] * 30, dtype="?,f8")),
    "masks": (OwnNumbers(), X, np.zeros((30, 4, 4))),
    "infinity in a class derived from a known one": (OwnForest(), with_every(X, np.inf), Y),
    "one class for trees": (RandomForestClassifier(2), X, np.ones(30, int)),
    "sequences": (OwnNumbers(), [[1] * (i % 3) for i in range(30)], NUMBERS),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_may_be_taken_is_run(case):
    estimator, rows, y = TAKEN[case]
    assert Sweep(estimator, rows, y, cv=KFold(3)).prepare().fits


@pytest.mark.parametrize(
    ("models", "X", "y", "options", "said"),
    [
        (
            {"hist": HistGradientBoostingClassifier(), "lr": LogisticRegression()},
            with_every(X, np.nan),
            Y,
            {},
            "'lr': LogisticRegression takes no missing values.*All its fits will fail",
        ),
        (
            LogisticRegression(),
            X,
            np.repeat([0, 1], [10, 20]),
            {"cv": TimeSeriesSplit(3), "refit": False},
            "one class only.*Use fewer folds.*fits of folds 0 will fail",
        ),
        (
            LogisticRegression(),
            X,
            Y,
            {"cv": LeaveOneOut(), "scoring": "roc_auc"},
            "ROC AUC will be NaN in 30 of 30 folds",
        ),
        (Ridge(), X, np.where(np.arange(30) == 29, np.nan, NUMBERS),
         {"cv": TimeSeriesSplit(3), "refit": False}, None),
    ],
)  # fmt: skip
def test_what_fails_in_part_is_said_and_run(models, X, y, options, said):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prepared = Sweep(models, X, y, **{"cv": 3} | options).prepare()
    assert prepared.fits
    texts = [str(warning.message) for warning in caught]
    if said is None:
        assert texts == []
    else:
        with pytest.raises(UserWarning, match=said):
            raise UserWarning(" ".join(texts))
