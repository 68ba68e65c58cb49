"""A prepared sweep: its fits, requests and jobs."""

import importlib
import pickle
import subprocess
import sys
import textwrap

import cloudpickle
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import xgboost
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import DBSCAN
from sklearn.datasets import make_classification
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import get_tags
from xgboost import XGBClassifier

from fitcast import errors
from fitcast.history.records import REFIT_FOLD
from fitcast.trainer.attempt.fitting import fit_and_score
from fitcast.trainer.sweep.prepared import Sweep
from fitcast.trainer.sweep.requests import MAX_PARAMS, plain_params
from fitcast.trainer.sweep.values import MAX_PARAM_LENGTH, plain

X, Y = make_classification(60, 5, random_state=0)
MODELS = {
    "xgb": (XGBClassifier(), {"max_depth": [3, 6]}),
    "lr": ("sklearn.linear_model.LogisticRegression", {"C": [0.1, 1]}),
    "rf": RandomForestClassifier(),
}


def prepared(models=MODELS, X=X, y=Y, **options):
    return Sweep(models, X, y, **options).prepare()


def job(candidates_of, index=0):
    return candidates_of.job(index).load(candidates_of.attachments.__getitem__)


def test_fits_are_candidates_times_splits():
    sweep = prepared(cv=3)
    assert sweep.submission.n_splits == 3
    assert len(sweep.fits) == 15
    assert [fit.fit_id for fit in sweep.fits][:4] == [
        "c0000-f0",
        "c0000-f1",
        "c0000-f2",
        "c0001-f0",
    ]
    assert len({fit.fit_id for fit in sweep.fits}) == 15
    assert [fit.fold for fit in sweep.fits] == [0, 1, 2] * 5
    assert sweep.submission.name == "xgb+lr+rf"
    assert sweep.submission.scorer_names == ("score",)
    for (train, test), (their_train, their_test) in zip(
        sweep.content.splits, StratifiedKFold(3).split(X, Y), strict=True
    ):
        np.testing.assert_array_equal(train, their_train)
        np.testing.assert_array_equal(test, their_test)


def test_it_is_prepared_once_and_travels_light():
    sweep = Sweep(MODELS, X, Y)
    assert sweep.prepare() is sweep.prepare()
    copy = pickle.loads(pickle.dumps(sweep))
    assert copy._prepared is None
    assert copy.prepare().submission.dataset == sweep.prepare().submission.dataset


def test_requests():
    sweep = prepared(cv=3)
    request = sweep.fits[0].request
    assert request.algorithm == "xgboost.XGBClassifier"
    assert (request.rows_train, request.rows_test, request.columns) == (40, 20, 5)
    assert request.nonzeros == 200
    assert request.data_bytes == X.nbytes + Y.nbytes
    assert (request.dtype, request.target, request.classes) == ("float64", "binary", 2)
    assert request.params["max_depth"] == 3
    assert request.threads == 1
    assert request.distinct_values == 5 * 60
    assert request.missing_share == 0.0
    assert request.library_version == ".".join(xgboost.__version__.split(".")[:2])
    assert "xgboost.XGBModel" in request.bases
    refit = sweep.submission.refit_fit(1)
    assert (refit.fit_id, refit.fold) == ("c0001-refit", REFIT_FOLD)
    assert (refit.request.rows_train, refit.request.rows_test) == (60, 0)
    assert refit.request.params["max_depth"] == 6


def test_requests_of_other_data():
    matrix = sp.random(60, 40, density=0.1, random_state=0, format="csr")
    sweep = prepared(LogisticRegression(), matrix)
    for fit, (train, _) in zip(sweep.fits, sweep.content.splits, strict=True):
        assert fit.request.nonzeros == matrix[train].nnz
    assert sweep.submission.refit_fit(0).request.nonzeros == matrix.nnz
    frame = pd.DataFrame({"a": X[:, 0], "b": np.arange(60)})
    assert prepared(LogisticRegression(), frame).fits[0].request.dtype == "mixed"
    regression = prepared(Ridge(), X, Y).fits[0].request
    assert (regression.target, regression.classes) == ("regression", 0)
    several = prepared(Ridge(), X, X[:, :2]).fits[0].request
    assert several.target == "multioutput"
    assert regression.bases[0].endswith("_BaseRidge")
    three = prepared(LogisticRegression(), X, np.arange(60) % 3).fits[0].request
    assert (three.target, three.classes) == ("multiclass", 3)


def test_requests_of_pipelines():
    pipeline = make_pipeline(StandardScaler(), "passthrough", LogisticRegression())
    request = prepared((pipeline, {"logisticregression__C": [3]})).fits[0].request
    assert request.algorithm == "sklearn.linear_model.LogisticRegression"
    assert request.steps == (
        "sklearn.preprocessing.StandardScaler",
        "passthrough",
        "sklearn.linear_model.LogisticRegression",
    )
    assert request.params["logisticregression__C"] == 3
    assert request.params["standardscaler"] == "StandardScaler"


def test_short_sequences_keep_their_values():
    request = prepared((MLPClassifier(), {"hidden_layer_sizes": [(50, 20)]})).fits[0].request
    assert request.params["hidden_layer_sizes"] == "(50, 20)"


class Hostile:
    def __repr__(self):
        raise RuntimeError("no")

    def __len__(self):
        raise RuntimeError("no")


anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=400),
        st.binary(),
        st.complex_numbers(),
        st.just(np.float32(2.5)),
        st.just(np.arange(3)),
        st.integers().map(lambda _: Hostile()),
        st.just(LogisticRegression),
        st.just(np.datetime64("2020-01-01")),
    ),
    lambda inner: st.one_of(
        st.lists(inner), st.tuples(inner, inner), st.dictionaries(st.text(), inner)
    ),
)


@given(anything)
def test_any_value_becomes_plain(value):
    given = plain(value)
    assert given is None or isinstance(given, str | int | float | bool)
    if isinstance(given, str):
        assert len(given) <= MAX_PARAM_LENGTH
    if type(value) in (bool, type(None)):
        assert given is value
    if type(given) is int:
        assert abs(given) < 2**63
    assert plain(value) == given


class Many(ClassifierMixin, BaseEstimator):
    """Has more hyper-parameters than a record keeps."""

    def __init__(self, z=1):
        self.z = z

    def get_params(self, deep=True):
        return {"z": self.z} | ({f"p{i:03d}": i for i in range(500)} if deep else {})

    def fit(self, X, y):
        return self


def test_what_dicts_and_lists_hold_tells_candidates_apart():
    class Wrapper(BaseEstimator):
        def __init__(self, model_kwargs=None, blocks=()):
            self.model_kwargs = model_kwargs
            self.blocks = blocks

    def params(**given):
        return plain_params(Wrapper(**given), {})

    small, large = ({"units": n, "layers": [{"rate": 0.5}, n], "sizes": (n, 2)} for n in (8, 4096))
    assert params(model_kwargs=large) == {
        "model_kwargs": "dict",
        "model_kwargs.units": 4096,
        "model_kwargs.layers.0.rate": 0.5,
        "model_kwargs.layers.1": 4096,
        "model_kwargs.sizes": "(4096, 2)",
        "blocks": "()",
    }
    assert params(model_kwargs=small) != params(model_kwargs=large)
    endless: dict = {}
    endless["self"] = endless
    assert len(params(model_kwargs=endless, blocks=[{"a": i} for i in range(1000)])) <= MAX_PARAMS
    many = {f"k{i}": i for i in range(1000)}
    assert 2 < len(params(model_kwargs=many)) <= MAX_PARAMS


def test_the_grids_parameters_are_kept_where_there_are_too_many():
    request = prepared((Many(), {"z": [7]})).fits[0].request
    assert len(request.params) == MAX_PARAMS
    assert request.params["z"] == 7


def test_jobs():
    sweep = prepared(scoring=["roc_auc", "accuracy"], refit="accuracy", return_train_score=True)
    first = job(sweep)
    assert first.estimator.max_depth is None
    assert first.params == {"max_depth": 3}
    assert first.return_train_score
    assert first.fit_params == ()
    assert set(first.scorer._scorers) == {"roc_auc", "accuracy"}
    assert sweep.submission.scorer_names == ("roc_auc", "accuracy")


def test_threads_are_set_where_the_grid_does_not():
    assert job(prepared(XGBClassifier())).thread_params == ("n_jobs",)
    assert job(prepared((XGBClassifier(), {"n_jobs": [1]}))).thread_params == ()
    assert job(prepared(LogisticRegression())).thread_params == ()
    assert job(prepared(type("Own", (LogisticRegression,), {})())).thread_params == ()
    assert job(prepared(make_pipeline(KNeighborsClassifier()))).thread_params == (
        "kneighborsclassifier__n_jobs",
    )
    bagged = BaggingClassifier(RandomForestClassifier())
    assert job(prepared(bagged)).thread_params == ("estimator__n_jobs", "n_jobs")


def test_weights_go_to_the_last_step():
    weights = np.linspace(1, 2, 60)
    sweep = prepared(LogisticRegression(), sample_weight=weights.tolist())
    assert job(sweep).fit_params == (("sample_weight", "sample_weight"),)
    np.testing.assert_array_equal(sweep.content.columns["sample_weight"], weights)
    nested = make_pipeline(StandardScaler(), make_pipeline(LogisticRegression()))
    assert job(prepared(nested, sample_weight=weights)).fit_params == (
        ("pipeline__logisticregression__sample_weight", "sample_weight"),
    )
    assert sweep.submission.dataset == prepared(LogisticRegression()).submission.dataset


def test_no_predictions_from_what_cannot_predict():
    sweep = Sweep(DBSCAN(), X, scoring=lambda estimator, X: 1.0, cv=3).prepare()
    assert job(sweep).predict_method is None
    assert job(prepared(LogisticRegression(), predict_method=None)).predict_method is None


def test_data_from_a_file(tmp_path):
    frame = pd.DataFrame(X, columns=list("abcde")).assign(late=Y)
    frame.to_parquet(tmp_path / "x.parquet")
    sweep = Sweep(MODELS, data=tmp_path / "x.parquet", target="late").prepare()
    assert sweep.fits[0].request.columns == 5
    with pytest.raises(errors.InvalidDataError, match="did you mean 'late'"):
        Sweep(MODELS, data=tmp_path / "x.parquet", target="lat").prepare()
    with pytest.raises(errors.InvalidDataError, match="target='name'"):
        Sweep(MODELS, data=tmp_path / "x.parquet").prepare()


class Bare:
    """Follows the protocol of old; scikit-learn itself refuses it since 1.7."""

    def get_params(self, deep=True):
        return {}

    def set_params(self, **params):
        return self

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.zeros(len(X))

    def score(self, X, y):
        return 1.0


def test_estimators_without_tags():
    try:
        get_tags(Bare())
    except AttributeError:
        with pytest.raises(errors.InvalidSweepError, match=r"Bare.*sklearn.base.BaseEstimator"):
            prepared(Bare())
    else:
        assert len(prepared(Bare()).fits) == 5


def test_a_bare_class_that_derives_from_base_estimator():
    class Derived(Bare, BaseEstimator):
        pass

    sweep = prepared(Derived())
    assert fit_and_score(job(sweep), sweep.content, 0).scores == {"score": 1.0}


def test_code_beside_the_users_script_is_sent_by_value(tmp_path, monkeypatch):
    source = """
        import numpy as np
        from sklearn.base import BaseEstimator, ClassifierMixin

        from a_helper_of_it import times

        def scale(X):
            return times(X)

        class Base(ClassifierMixin, BaseEstimator):
            def predict(self, X):
                return np.full(len(X), self.classes_[0])

        class Own(Base):
            def __init__(self, level=1):
                self.level = level

            def fit(self, X, y):
                self.classes_ = np.unique(scale(y))
                return self
    """
    (tmp_path / "beside_the_script.py").write_text(textwrap.dedent(source))
    (tmp_path / "a_helper_of_it.py").write_text("FACTOR = 2.0\ndef times(X): return X * FACTOR\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("beside_the_script")
    try:
        pipeline = make_pipeline(FunctionTransformer(module.scale), module.Own())
        registered = set(cloudpickle.list_registry_pickle_by_value())
        sweep = prepared((pipeline, {"own__level": [1]}), scoring="accuracy")
        (tmp_path / "job").write_bytes(sweep.job(0).estimator)
        assert cloudpickle.list_registry_pickle_by_value() == registered
    finally:
        del sys.modules["beside_the_script"], sys.modules["a_helper_of_it"]
    code = (
        "import cloudpickle, sys, numpy as np;"
        "estimator, *_ = cloudpickle.loads(open(sys.argv[1], 'rb').read());"
        "print(estimator.fit(np.ones((4, 1)), np.array([1, 1, 2, 2])).predict(np.ones((1, 1))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "job")],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    assert done.stdout.strip() == "[2.]"


def test_a_module_that_cannot_be_sent_is_left_to_be_imported(tmp_path, monkeypatch):
    (tmp_path / "holds_a_lock.py").write_text(
        "import threading\nLOCK = threading.Lock()\ndef locked(X):\n    with LOCK: return X\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("holds_a_lock")
    try:
        pipeline = make_pipeline(FunctionTransformer(module.locked), LogisticRegression())
        assert job(prepared(pipeline)).estimator.steps[0][1].func is module.locked
    finally:
        del sys.modules["holds_a_lock"]


def test_two_thousand_candidates_are_prepared_in_seconds():
    grid = {"max_depth": list(range(1, 51)), "min_samples_leaf": list(range(1, 41))}
    assert len(prepared((RandomForestClassifier(), grid)).fits) == 10_000
