"""What estimators are made of: found wherever they stand, bounded whatever they are."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import loguniform
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.feature_selection import RFECV
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV, RepeatedKFold
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from fitcast.history.parts import MOST_LEVELS, MOST_PARTS, Selected, part_from_json, part_to_json
from fitcast.trainer.sweep.parts import PartsReader
from fitcast.trainer.sweep.prepared import Sweep
from fitcast.trainer.sweep.requests import shape_of

FRAME = pd.DataFrame(
    {
        "number": np.linspace(0.0, 1.0, 200),
        "whole": np.arange(200),
        "letter": ["abcde"[i % 5] for i in range(200)],
        "text": [f"three words {i}" for i in range(200)],
    }
)
Y = np.arange(200) % 3


def reader():
    shape = shape_of(FRAME, Y)
    return PartsReader(shape.sample, shape.contents)


def made_of(estimator):
    return reader().made_of(estimator)


def names(part):
    return [one.algorithm.rpartition(".")[2] for one in part.parts]


def every(part):
    return [part, *(one for inner in part.parts for one in every(inner))]


def test_a_plain_estimator_is_made_of_itself_alone():
    assert made_of(LogisticRegression()) is None
    assert made_of(RandomForestClassifier()) is None


def test_a_wrapper_says_what_it_is_around():
    part = made_of(RFECV(SVC(C=3.0, kernel="linear"), step=2))
    assert part.algorithm == "sklearn.feature_selection.RFECV"
    assert dict(part.params)["step"] == 2
    (inner,) = part.parts
    assert (inner.role, inner.algorithm) == ("estimator", "sklearn.svm.SVC")
    assert dict(inner.params)["C"] == 3.0
    assert "sklearn.svm._base.BaseLibSVM" in inner.bases


def test_steps_keep_their_order_though_equal():
    part = made_of(Pipeline([("a", StandardScaler()), ("b", StandardScaler()), ("c", SVC())]))
    assert [(one.name, one.role) for one in part.parts] == [
        ("a", "steps"), ("b", "steps"), ("c", "steps"),
    ]  # fmt: skip


def test_equal_members_of_an_ensemble_are_told_once():
    part = made_of(VotingClassifier([(f"m{i}", SVC(random_state=i)) for i in range(7)]))
    assert [(one.algorithm, one.count) for one in part.parts] == [("sklearn.svm.SVC", 7)]


def test_a_column_transformer_says_what_each_step_gets():
    part = made_of(
        ColumnTransformer(
            [
                ("encode", OneHotEncoder(sparse_output=False), ["letter"]),
                ("scale", StandardScaler(), make_column_selector(dtype_include=np.number)),
                ("own", StandardScaler(), lambda X: ["whole"]),
                ("left", "drop", [3]),
            ]
        )
    )
    by_name = {one.name: one for one in part.parts}
    assert by_name["encode"].selected == Selected(
        columns=1, distinct_values=5, categorical_columns=1, text_chars=1.0, text_words=1.0
    )
    assert by_name["scale"].selected.columns == 2
    assert by_name["own"].selected is None
    assert by_name["left"].algorithm == "drop"
    assert by_name["left"].selected.text_words == 3.0


@pytest.mark.parametrize(
    ("columns", "count"),
    [
        (slice(1, 3), 2),
        (slice("number", "letter"), 3),
        ("text", 1),
        (-1, 1),
        ([True, False, True, True], 3),
        ([1, 0], 2),
        ([1, 0, 1, 1], 4),
    ],
)
def test_columns_are_counted_however_they_are_named(columns, count):
    part = made_of(ColumnTransformer([("a", StandardScaler(), columns)], remainder="passthrough"))
    assert part.parts[0].selected.columns == count
    rest = part.parts[-1]
    assert (rest.role, rest.selected.columns) == ("remainder", 4 - count)


def test_columns_that_are_not_there_are_no_error():
    part = made_of(ColumnTransformer([("a", StandardScaler(), ["absent"]), ("b", SVC(), 2.5)]))
    assert [one.selected for one in part.parts[:1]] == [None]


def test_what_an_earlier_step_makes_of_the_columns_is_not_taken_for_the_data():
    columns = ColumnTransformer([("a", StandardScaler(), ["letter"])], remainder="drop")
    part = made_of(make_pipeline(StandardScaler(), columns))
    assert part.parts[1].parts[0].selected == Selected(columns=1)


def test_a_search_says_how_many_settings_and_folds_and_what_they_are_like():
    search = GridSearchCV(
        make_pipeline(StandardScaler(), RandomForestClassifier()),
        {"randomforestclassifier__n_estimators": [1, 10, 100], "standardscaler": ["passthrough"]},
        cv=RepeatedKFold(n_splits=4, n_repeats=2),
    )
    part = made_of(search)
    assert dict(part.counts) == {"cv": 8, "param_grid": 3}
    forests = [one.parts[1] for one in part.parts]
    assert sorted(dict(one.params)["n_estimators"] for one in forests) == [1, 10, 100]
    assert {one.parts[0].algorithm for one in part.parts} == {"passthrough"}


def test_a_search_over_estimators_is_told_by_each():
    part = made_of(GridSearchCV(make_pipeline(SVC()), {"svc": [LogisticRegression(), SVC()]}, cv=3))
    assert sorted(names(one)[0] for one in part.parts) == ["LogisticRegression", "SVC"]


def test_a_large_grid_is_told_by_a_spread_of_it():
    grid = {"C": list(np.logspace(-3, 3, 1000)), "gamma": list(np.logspace(-3, 3, 1000))}
    part = made_of(GridSearchCV(SVC(), grid | {"degree": range(10**6)}))
    assert dict(part.counts)["param_grid"] == 10**12
    assert 2 < len(part.parts) <= 8
    assert len({dict(one.params)["gamma"] for one in part.parts}) > 2


def test_draws_from_distributions_are_told_by_some():
    part = made_of(RandomizedSearchCV(SVC(), {"C": loguniform(0.1, 10.0)}, n_iter=50))
    assert dict(part.counts) == {"param_distributions": -1}
    assert len({dict(one.params)["C"] for one in part.parts}) > 2


def test_what_is_not_plain_is_counted():
    part = made_of(RidgeCV(alphas=np.logspace(-3, 3, 50), cv=KFold(7)))
    assert dict(part.counts) == {"alphas": 50, "cv": 7}


class Refusing(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        return self

    def get_params(self, deep=True):
        raise RuntimeError("no")


class Lying(Refusing):
    def get_params(self, deep=True):
        return {1: self, "estimator": SVC(), "n": float("nan"), None: [("x", 3), (1, 2)]}


class Poisonous(Refusing):
    @property
    def fit(self):
        raise RuntimeError("no")


def test_an_estimator_that_will_not_say_is_told_as_such():
    part = made_of(VotingClassifier([("a", Refusing()), ("b", Poisonous()), ("c", SVC())]))
    assert [(one.algorithm.rpartition(".")[2], one.silent) for one in part.parts] == [
        ("Refusing", True),
        ("SVC", False),
    ]
    assert made_of(Refusing()).silent


def test_lies_are_told_as_they_are():
    part = made_of(Lying())
    assert names(part) == ["SVC"]
    assert part.unlisted == 1  # itself
    assert part_from_json(part_to_json(part)) == part


def test_an_estimator_within_itself_ends():
    outer = BaggingClassifier()
    outer.estimator = make_pipeline(StandardScaler(), outer)
    part = made_of(outer)
    assert [one.algorithm for one in every(part)] == [
        "sklearn.ensemble.BaggingClassifier",
        "sklearn.pipeline.Pipeline",
        "sklearn.preprocessing.StandardScaler",
    ]
    assert sum(one.unlisted for one in every(part)) == 1


def test_a_thousand_levels_and_ten_thousand_members_are_bounded():
    deep = SVC()
    for _ in range(1000):
        deep = BaggingClassifier(deep)
    part = made_of(deep)
    assert part.size == MOST_LEVELS
    assert every(part)[-1].unlisted == 1
    wide = FeatureUnion([(f"t{i}", StandardScaler(with_mean=bool(i % 2))) for i in range(10_000)])
    part = made_of(wide)
    assert sum(one.count for one in part.parts) + part.unlisted == 10_000
    both = VotingClassifier(
        [(f"v{i}", VotingClassifier([(f"m{k}", SVC(C=1 + i * 99 + k)) for k in range(40)]))
         for i in range(40)]
    )  # fmt: skip
    part = made_of(both)
    assert part.size <= MOST_PARTS
    assert part_from_json(part_to_json(part)) == part


def test_candidates_made_of_the_same_share_it():
    same = reader()
    first = same.made_of(GridSearchCV(SVC(), {"C": [1.0, 2.0]}))
    assert same.made_of(GridSearchCV(SVC(), {"C": [1.0, 2.0]})) is first
    other = same.made_of(GridSearchCV(SVC(), {"C": [1.0, True]}))
    assert other is not first
    assert [dict(one.params)["C"] for one in other.parts] == [1.0]


def test_requests_of_a_sweep_say_what_is_inside():
    pipeline = make_pipeline(
        ColumnTransformer([("e", OneHotEncoder(), ["letter", "text"])]), LogisticRegression()
    )
    submission = Sweep((pipeline, {"logisticregression__C": [1.0, 2.0]}), FRAME, Y, cv=3).prepare()
    requests = [fit.request for fit in submission.submission.fits]
    (encoder, rest) = requests[0].made_of.parts[0].parts
    assert (encoder.selected.columns, encoder.selected.distinct_values) == (2, 205)
    assert rest.algorithm == "drop"
    assert (requests[0].text_columns, requests[0].integer_columns) == (2, 1)
    assert [dict(one.made_of.parts[1].params)["C"] for one in requests] == [1.0] * 3 + [2.0] * 3
    assert requests[0].made_of is requests[1].made_of


def test_the_form_of_an_array_is_told():
    X = np.arange(12.0).reshape(4, 3)
    assert shape_of(X, None).memory_order == "C"
    assert shape_of(np.asfortranarray(X), None).memory_order == "F"
    assert shape_of(X.astype(np.int32), None).contents.integer_columns == 3
    texts = shape_of(["one text", "another one here"] * 50, None).contents
    assert (texts.text_columns, round(texts.text_words, 1)) == (1, 2.5)
