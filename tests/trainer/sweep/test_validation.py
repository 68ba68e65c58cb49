"""Bad input is refused before anything starts, by an error that names it and what to do."""

import threading

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from lightgbm import LGBMClassifier
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import DBSCAN, KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_classification
from sklearn.ensemble import (
    BaggingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, LeaveOneOut, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from xgboost import XGBClassifier

from fitcast.errors import InvalidDataError, InvalidSweepError
from fitcast.trainer.sweep.prepared import Sweep

X, Y = make_classification(60, 5, random_state=0)
LR = LogisticRegression()
FRAME = pd.DataFrame(X, columns=list("abcde"))


def holed(value=np.nan, row=3, column=1):
    holey = X.copy()
    holey[row, column] = value
    return holey


def target_with(value):
    y = Y.astype(float)
    y[7] = value
    return y


class Unclonable(ClassifierMixin, BaseEstimator):
    def __init__(self, size=1):
        self.size = size + 1

    def fit(self, X, y):
        return self


class Locked(ClassifierMixin, BaseEstimator):
    """Holds a lock, which nothing can pickle."""

    def __init__(self, lock=None):
        self.lock = lock

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.zeros(len(X))

    def __sklearn_clone__(self):
        return Locked(threading.Lock())


class OwnTaker(ClassifierMixin, BaseEstimator):
    """Takes NaN, though its tags, left as they are, deny it."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.isnan(X).any(axis=1)


class NeedsArguments(BaseEstimator):
    def __init__(self, size):
        self.size = size

    def fit(self, X, y):
        return self


class HoldsLock:
    """Rows that are read when asked for, by what nothing can pickle."""

    def __init__(self):
        self.lock = threading.Lock()

    def __len__(self):
        return 60

    def __getitem__(self, row):
        return X[row]


SWEEPS = {
    "no models": ({}, {}, "no model"),
    "no models in a list": ([], {}, "no model"),
    "no name": ({"": LR}, {}, "non-empty string"),
    "not an estimator": ({"a": 3}, {}, "'a'|a: 3 .* no estimator"),
    "not an estimator in a list": ([LR, object()], {}, r"models\[1\].*no fit and no get_params"),
    "a function": ({"f": len}, {}, "no estimator"),
    "no import path": ("LogisticRegression", {}, "no import path"),
    "no such module": ("sklearn.linear.LogisticRegression", {}, "can't import 'sklearn.linear'"),
    "no such class": (
        "sklearn.linear_model.LogisticRegresion",
        {},
        "did you mean 'LogisticRegression'",
    ),
    "class with arguments": (NeedsArguments, {}, "without arguments"),
    "no clone": (Unclonable(), {}, "can't be cloned"),
    "no pickle": (Locked(), {}, "can't be sent to a worker"),
    "empty list of models": ({"a": []}, {}, "empty list"),
    "three parts": ({"a": (LR, {"C": [1]}, 3)}, {}, "3 parts"),
    "empty grid": ((LR, []), {}, "grid is empty"),
    "empty values": ((LR, {"C": []}), {}, "values for 'C' is empty"),
    "values no list": ((LR, {"C": 1.0}), {}, r"write {'C': \[1.0\]}"),
    "values a string": ((LR, {"solver": "saga"}), {}, "must be a list, not 'saga'"),
    "values two-dimensional": ((LR, {"C": np.ones((2, 2))}), {}, "one-dimensional"),
    "grid no dict": ((LR, [1, 2]), {}, "grid must be a dict"),
    "name no string": ((LR, {1: [2]}), {}, "name must be a string"),
    "unknown parameter": ((LR, {"CC": [1]}), {}, "no hyper-parameter 'CC'.* It has: C, "),
    "misspelt parameter": (
        (LR, {"class_wieght": [None]}),
        {},
        "did you mean 'class_weight'",
    ),
    "misspelt in a pipeline": (
        (make_pipeline(StandardScaler(), SVC()), {"svc__gama": [1]}),
        {},
        "did you mean 'svc__gamma'",
    ),
    "without the step": (
        (make_pipeline(StandardScaler(), SVC()), {"C": [1]}),
        {},
        "did you mean 'svc__C'",
    ),
    "misspelt for xgboost": ((XGBClassifier(), {"max_dept": [1]}), {}, "did you mean 'max_depth'"),
    "misspelt for lightgbm": (
        (LGBMClassifier(), {"learnin_rate": [1]}),
        {},
        "did you mean 'learning_rate'",
    ),
    "unknown scorer": (LR, {"scoring": "roc_au"}, "no scorer 'roc_au'; did you mean 'roc_auc'"),
    "unknown among scorers": (
        LR,
        {"scoring": ["accuracy", "acuracy"], "refit": False},
        "no scorer 'acuracy'; did you mean 'accuracy'",
    ),
    "no scorers": (LR, {"scoring": []}, "scoring is empty"),
    "a scorer twice": (LR, {"scoring": ["f1", "f1"]}, "twice"),
    "a metric": (LR, {"scoring": __import__("sklearn.metrics").metrics.f1_score}, "make_scorer"),
    "scoring a number": (LR, {"scoring": 3}, "scoring must be"),
    "scoring callable unnamed": (LR, {"scoring": [len]}, "dict of name"),
    "no score method": (DBSCAN(), {}, "no score method"),
    "scores without refit": (LR, {"scoring": ["f1", "accuracy"]}, "refit='f1'"),
    "refit unknown": (
        LR,
        {"scoring": ["f1", "accuracy"], "refit": "acuracy"},
        "did you mean 'accuracy'",
    ),
    "refit a number": (LR, {"refit": 3}, "refit must be"),
    "scores need probabilities": (SVC(), {"scoring": "neg_log_loss"}, "needs predict_proba"),
    "predictions need probabilities": (SVC(), {"predict_method": "predict_proba"}, "has no predic"),
    "predict method no name": (LR, {"predict_method": 3}, "method's name"),
    "mixed": ({"a": LR, "b": LinearRegression()}, {}, "mixes classifiers .*'a'.*'b'"),
    "mixed with others": ({"a": LR, "b": KMeans()}, {}, "different splits"),
    "one fold": (LR, {"cv": 1}, "at least 2 folds"),
    "too many folds": (LR, {"cv": 61}, r"more folds than there are rows \(60\)"),
    "too many folds for a class": (LR, {"cv": 40}, "can't split"),
    "cv no splitter": (LR, {"cv": 2.5}, "cv must be"),
    "cv a name": (LR, {"cv": "kfold"}, "not its name"),
    "cv empty": (LR, {"cv": []}, "no folds"),
    "cv true": (LR, {"cv": True}, "cv must be"),
    "cv no pairs": (LR, {"cv": [1, 2]}, "no pair"),
    "cv beyond": (LR, {"cv": [([0, 1], [60])]}, "don't exist"),
    "cv fold empty": (LR, {"cv": [(np.arange(5), [])]}, "no test rows"),
    "groups missing": (
        LR,
        {"cv": GroupKFold(3), "groups": np.array([np.nan] + [1.0, 2, 3] * 19 + [1, 2])},
        "groups has no value in row 0",
    ),
    "groups absent": (LR, {"cv": GroupKFold(3)}, r"GroupKFold splits by groups.*groups="),
    "one class in a fold": (
        LR,
        {"cv": [(np.flatnonzero(Y == 1), np.flatnonzero(Y == 0))]},
        "training rows are of one class only, so .*nothing to tell apart",
    ),
    "weights not taken": (
        KNeighborsClassifier(),
        {"sample_weight": np.ones(60)},
        "KNeighborsClassifier takes no sample weights",
    ),
    "weights not taken by the last step": (
        make_pipeline(StandardScaler(), KNeighborsClassifier()),
        {"sample_weight": np.ones(60)},
        "kneighborsclassifier__sample_weight",
    ),
    "name no string at all": (LR, {"name": 3}, "name must be"),
    "error_score a word": (LR, {"error_score": "raise"}, "error_score must be a number"),
    "deadline zero": (LR, {"deadline_s": 0}, "deadline_s"),
    "deadline a word": (LR, {"deadline_s": "1h"}, "number of seconds"),
    "memory in GB": (LR, {"memory_bytes": 8}, "memory_bytes=8 is too small"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", SWEEPS)
def test_sweeps_that_cannot_be_used(case):
    models, options, message = SWEEPS[case]
    with pytest.raises(InvalidSweepError, match=message):
        Sweep(models, X, Y, **options).prepare()


DATA = {
    "none": (LR, (), {}, "no data"),
    "lengths": (LR, (X, Y[:-1]), {}, "X has 60 rows, but y has 59"),
    "lengths of weights": (LR, (X, Y), {"sample_weight": [1.0]}, "sample_weight has 1"),
    "lengths of groups": (LR, (X, Y), {"groups": [1, 2]}, "groups has 2"),
    "weights missing": (LR, (X, Y), {"sample_weight": target_with(np.nan)}, "first in row 7"),
    "weights of words": (LR, (X, Y), {"sample_weight": ["a"] * 60}, "sample_weight must be"),
    "weights all zero": (LR, (X, Y), {"sample_weight": np.zeros(60)}, "0 for every row"),
    "no rows": (LR, (X[:0], Y[:0]), {}, "no rows"),
    "no columns": (LR, (X[:, :0], Y), {}, "no columns"),
    "a number": (LR, (3, Y), {}, "must be an array"),
    "a path as X": (LR, ("x.csv", Y), {}, "data='path'"),
    "ragged": (LR, ([[1], [1, 2]], [0, 1]), {}, "differ in length"),
    "one dimension": (LR, (X[:, 0], Y), {}, "reshape"),
    "y absent": (LR, (X,), {}, "'LogisticRegression' learns from a target; give y"),
    "y missing": (LR, (X, target_with(np.nan)), {}, "y has no value in 1 of 60 rows, .* row 7"),
    "y none": (LR, (X, [None, *Y[1:]]), {}, "y has no value"),
    "y missing in a frame": (Ridge(), (X, pd.DataFrame({"a": target_with(np.nan)})), {}, "row 7"),
    "y infinite": (Ridge(), (X, target_with(np.inf)), {}, "y is infinite in row 7"),
    "y fractions": (LR, (X, X[:, 0]), {}, "is a classifier, but y holds fractions"),
    "y text": (Ridge(), (X, np.array(["a", "b"])[Y]), {}, "is a regressor, but y holds text"),
    "y of many kinds": (LR, (X, np.array([object()] * 60)), {}, "mixed or unusual"),
    "y of one class": (LR, (X, np.ones(60)), {"cv": KFold(3)}, "one class only"),
    "y not numbered": (XGBClassifier(), (X, Y + 1), {}, "LabelEncoder"),
    "y words for xgboost": (XGBClassifier(), (X, np.array(["a", "b"])[Y]), {}, "LabelEncoder"),
    "nan": (LR, (holed(), Y), {}, "missing values, but X has 1 in column '1' .*row 3"),
    "nan in a frame": (LR, (FRAME.mask(FRAME > 2), Y), {}, "missing values.*columns 'a'"),
    "none in a frame": (
        LR,
        (FRAME.assign(f=[None] + ["x"] * 59), Y),
        {},
        "missing values, but X has 1 in column 'f'",
    ),
    "nan in sparse": (LR, (sp.csr_matrix(holed()), Y), {}, "missing values.*column '1'.*row 3"),
    "nan through a scaler": (
        make_pipeline(StandardScaler(), SVC()),
        (holed(), Y),
        {},
        "SVC takes no missing",
    ),
    "nan in all of many": (
        {"nb": GaussianNB(), "lr": LR},
        (holed(), Y),
        {},
        "'nb': GaussianNB takes no missing",
    ),
    "infinite": (LR, (holed(np.inf), Y), {}, "no infinite values, but X has 1 in column '1'"),
    "infinite for xgboost": (XGBClassifier(), (holed(-np.inf), Y), {}, "no infinite"),
    "dask": (LR, (dd.from_pandas(FRAME, npartitions=2), Y), {}, "Dask"),
    "a dict of columns": (LR, ({"a": X[:, 0]}, [1]), {}, "can't take rows"),
    "a set": (LR, (X, set(range(60))), {}, r"y must be .* not a set.* Give list\(y\)"),
    "an open file": (LR, (HoldsLock(), Y), {}, "HoldsLock, can't be sent"),
}


@pytest.mark.parametrize("case", DATA)
def test_data_that_cannot_be_used(case):
    models, data, options, message = DATA[case]
    with pytest.raises(InvalidDataError, match=message):
        Sweep(models, *data, **options).prepare()


FINE = {
    "nan where it is taken": (HistGradientBoostingClassifier(), (holed(), Y)),
    "nan for a forest": (RandomForestClassifier(3), (holed(), Y)),
    "nan for xgboost": (XGBClassifier(), (holed(), Y)),
    "nan imputed": (make_pipeline(SimpleImputer(), SVC()), (holed(), Y)),
    "nan scaled, then imputed": (
        make_pipeline(StandardScaler(), SimpleImputer(), SVC()),
        (holed(), Y),
    ),
    "nan for chosen columns": (
        make_pipeline(ColumnTransformer([("a", SimpleImputer(), [1])]), SVC()),
        (holed(), Y),
    ),
    "nan in a wrapper": (BaggingClassifier(HistGradientBoostingClassifier()), (holed(), Y)),
    "nan in a search": (
        GridSearchCV(make_pipeline(SimpleImputer(), SVC()), {"svc__C": [1]}),
        (holed(), Y),
    ),
    "nan in a calibration": (CalibratedClassifierCV(XGBClassifier()), (holed(), Y)),
    "nan for a user's own": (OwnTaker(), (holed(), Y)),
    "one dimension where it is taken": (IsotonicRegression(), (X[:, 0], X[:, 1])),
    "sums that overflow": (LR, (np.full((60, 2), 1e308), Y)),
    "no target": (KMeans(2), (X,)),
    "one class per test fold": (LR, (X, Y, LeaveOneOut())),
    "booleans": (LR, (X > 0, Y > 0)),
    "several of a class only": (LR, (X, Y, StratifiedKFold(3))),
}


@pytest.mark.parametrize("case", FINE)
def test_what_can_be_used_is_not_refused(case):
    models, data = FINE[case]
    cv = data[2] if len(data) > 2 else 3
    assert Sweep(models, *data[:2], cv=cv).prepare().fits


def test_errors_are_value_errors_too():
    with pytest.raises(ValueError, match="X has 60 rows"):
        Sweep(LR, X, Y[:-1]).prepare()


def test_nothing_is_read_or_checked_before_it_is_prepared():
    Sweep(object(), data="nowhere.csv")
