"""Sweeps as plain JSON: what they stand for, and what is refused before anything is imported."""

import json
import math
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline

from fitcast import Sweep
from fitcast.errors import FitcastError, InvalidDataError, InvalidSweepError, TooLargeError
from fitcast.trainer.sweep.described import check_description, description_of, sweep_of

PACKAGES = ("sklearn", "lightgbm", "xgboost")
LOGISTIC = "sklearn.linear_model.LogisticRegression"


@pytest.fixture(scope="module")
def iris_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "iris.csv"
    load_iris(as_frame=True).frame.to_csv(path, index=False)
    return path


def told(data="data/iris.csv", **changed):
    return {
        "models": {"lr": {"class": LOGISTIC, "grid": {"C": [0.1, 1.0]}}},
        "data": str(data),
        "target": "target",
    } | changed


def checked(description, packages=PACKAGES, places=("data",), most_fits=1000):
    read = description_of(description)
    check_description(read, packages=packages, places=places, most_fits=most_fits)
    return read


def prepared(description):
    return sweep_of(description_of(json.loads(json.dumps(description)))).prepare()


def test_it_stands_for_the_same_sweep(iris_file):
    frame = pd.read_csv(iris_file)
    X, y = frame.drop(columns="target"), frame["target"]
    kernel = {"class": "sklearn.gaussian_process.kernels.RBF", "params": {"length_scale": 2.0}}
    steps = [
        ["scale", {"class": "sklearn.preprocessing.StandardScaler"}],
        ["lr", {"class": LOGISTIC, "params": {"max_iter": 300}}],
    ]
    mine = prepared(
        told(
            iris_file,
            models={
                "piped": {
                    "class": "sklearn.pipeline.Pipeline",
                    "params": {"steps": steps},
                    "grid": [{"lr__C": [0.1, 1.0]}, {"scale": ["passthrough"]}],
                },
                "gp": {
                    "class": "sklearn.gaussian_process.GaussianProcessClassifier",
                    "params": {"kernel": kernel},
                },
            },
            cv={
                "class": "sklearn.model_selection.StratifiedKFold",
                "params": {"n_splits": 3, "shuffle": True, "random_state": 7},
            },
            scoring=["accuracy", "f1_macro"],
            refit="accuracy",
        )
    )
    from sklearn.preprocessing import StandardScaler

    piped = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    piped.steps = [("scale", piped.steps[0][1]), ("lr", piped.steps[1][1])]
    theirs = Sweep(
        {
            "piped": (piped, [{"lr__C": [0.1, 1.0]}, {"scale": ["passthrough"]}]),
            "gp": GaussianProcessClassifier(RBF(2.0)),
        },
        X,
        y,
        cv=StratifiedKFold(3, shuffle=True, random_state=7),
        scoring=["accuracy", "f1_macro"],
        refit="accuracy",
    ).prepare()
    assert [one.label for one in mine.candidates] == [one.label for one in theirs.candidates]
    assert [one.request for one in mine.fits] == [one.request for one in theirs.fits]
    for one, other in zip(mine.content.splits, theirs.content.splits, strict=True):
        assert np.array_equal(one[1], other[1])
    assert mine.candidates[-1].configured().kernel == RBF(2.0)


def test_distributions_are_drawn_from(iris_file):
    grid = {"C": {"distribution": "loguniform", "params": {"a": 0.01, "b": 10}}}
    mine = prepared(
        told(
            iris_file,
            models={"lr": {"class": LOGISTIC, "grid": grid}},
            n_iter=4,
            random_state=3,
        )
    )
    drawn = [params["C"] for params in mine.params]
    assert len(set(drawn)) == 4
    assert all(0.01 <= one <= 10 for one in drawn)


REFUSED = {
    "no models": ({"models": {}}, "models"),
    "no data": ({"data": None}, "data"),
    "unknown key": ({"kernels": 3}, "kernels"),
    "another type": ({"cv": "five"}, "cv"),
    "a class of another package": (
        {"models": {"x": {"class": "os.path.join"}}},
        "Classes of 'os'",
    ),
    "no path": ({"models": {"x": {"class": "sklearn"}}}, "import path"),
    "a private name": ({"models": {"x": {"class": "sklearn._config.Thing"}}}, "import path"),
    "dots": ({"models": {"x": {"class": "sklearn..linear_model"}}}, "import path"),
    "nested in a parameter": (
        {"models": {"x": {"class": LOGISTIC, "params": {"a": [{"class": "os.system"}]}}}},
        "Classes of 'os'",
    ),
    "nested in a grid": (
        {"models": {"x": {"class": LOGISTIC, "grid": {"a": [[{"class": "builtins.eval"}]]}}}},
        "Classes of 'builtins'",
    ),
    "as a splitter": ({"cv": {"class": "subprocess.Popen"}}, "Classes of 'subprocess'"),
    "more in an object": (
        {"models": {"x": {"class": LOGISTIC, "params": {"a": {"class": LOGISTIC, "b": 1}}}}},
        "nothing else",
    ),
    "an unknown distribution": (
        {"models": {"x": {"class": LOGISTIC, "grid": {"C": {"distribution": "loguniforn"}}}}},
        "did you mean 'loguniform'",
    ),
    "data elsewhere": ({"data": "/etc/passwd"}, "reads data under"),
    "data above": ({"data": "data/../secret.csv"}, "reads data under"),
    "data behind another protocol": ({"data": "simplecache::data/iris.csv"}, "reads data under"),
    "a host": ({"data": "s3://data/iris.csv"}, "reads data under"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_before_anything_is_read(case):
    changed, said = REFUSED[case]
    with pytest.raises((InvalidSweepError, InvalidDataError), match=said):
        checked(told(**changed))


def test_deep_values_are_refused():
    value = 1
    for _ in range(40):
        value = [value]
    models = {"x": {"class": LOGISTIC, "params": {"a": value}}}
    with pytest.raises(InvalidSweepError, match="deep"):
        checked(told(models=models))


def test_no_place_lets_nothing_in():
    with pytest.raises(InvalidDataError, match="no data by address"):
        checked(told(), places=())


@pytest.mark.parametrize(
    ("data", "place", "is_there"),
    [
        ("s3://bucket/a/x.csv", "s3://bucket/a", True),
        ("s3://bucket/a/x.csv", "s3://bucket/a/", True),
        ("s3://bucket/ab/x.csv", "s3://bucket/a", False),
        ("s3://bucket/a/../b/x.csv", "s3://bucket/a", False),
        ("s3://bucket/a/%2e%2e/b/x.csv", "s3://bucket/a", False),
        ("s3://other/a/x.csv", "s3://bucket/a", False),
        ("gs://bucket/a/x.csv", "s3://bucket/a", False),
        ("/data/x.csv", "/data", True),
        ("file:///data/x.csv", "/data", True),
        ("/data/x.csv", "file:///data", True),
        ("/database/x.csv", "/data", False),
        ("file:///data/../etc/x.csv", "/data", False),
    ],
)
def test_where_data_may_lie(data, place, is_there):
    if is_there:
        checked(told(data), places=(place,))
    else:
        with pytest.raises(InvalidDataError):
            checked(told(data), places=(place,))


def test_a_link_leads_nowhere_else(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "secret.csv").write_text("a,target\n1,2\n")
    (tmp_path / "open" / "x.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(InvalidDataError):
        checked(told(tmp_path / "open" / "x.csv"), places=(str(tmp_path / "open"),))
    with pytest.raises(InvalidDataError):  # where it is read, once more
        sweep_of(
            description_of(told(tmp_path / "open" / "x.csv")), places=(str(tmp_path / "open"),)
        )


def test_too_many_fits_are_counted_not_made():
    many = {name: list(range(1000)) for name in "abcdefgh"}
    with pytest.raises(TooLargeError, match="5,000,000,000,000,000,000,000,000 fits"):
        checked(told(models={"lr": {"class": LOGISTIC, "grid": many}}))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("sklearn.linear_model.LogisticRegresion", "There is no"),
        ("sklearn.no_such_module.Thing", "There is no"),
        ("sklearn.base.clone", "no class of estimators"),
        ("sklearn.utils.Bunch", "no class of estimators"),
        ("sklearn.linear_model", "no class of estimators"),
    ],
)
def test_what_a_class_must_be(path, said):
    with pytest.raises(InvalidSweepError, match=said):
        sweep_of(description_of(told(models={"x": {"class": path}})), packages=PACKAGES)


def test_what_a_package_only_imports_is_not_its_own():
    models = {"x": {"class": "imported_elsewhere.LogisticRegression"}}
    module = type(sys)("imported_elsewhere")
    module.LogisticRegression = LogisticRegression
    sys.modules["imported_elsewhere"] = module
    try:
        with pytest.raises(InvalidSweepError, match="of 'sklearn', which may not"):
            sweep_of(description_of(told(models=models)), packages=("imported_elsewhere",))
    finally:
        del sys.modules["imported_elsewhere"]


def test_wrong_parameters_are_named():
    models = {"x": {"class": LOGISTIC, "params": {"depth": 3}}}
    with pytest.raises(InvalidSweepError, match=r"doesn't take these parameters.*depth"):
        sweep_of(description_of(told(models=models)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["class", "params", "grid", "distribution", "a"]), inner)
    ),
    max_leaves=10,
)


@given(
    st.dictionaries(
        st.sampled_from(["models", "data", "cv", "scoring", "n_iter", "target", "refit"]),
        json_values,
    )
)
def test_whatever_comes_is_taken_or_refused_in_our_words(given_values):
    try:
        read = checked(told(**given_values))
        assert read.candidates() >= 0
        assert not math.isnan(read.folds())
    except FitcastError as error:
        assert str(error)
