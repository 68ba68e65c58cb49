"""What a user changes after a sweep was prepared: it doesn't matter, or is noticed when asked."""

import threading

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from fitcast.errors import InvalidDataError, InvalidSweepError
from fitcast.trainer.attempt.fitting import fit_and_score
from fitcast.trainer.attempt.searched import Extras
from fitcast.trainer.sweep.fit_params import MethodParams
from fitcast.trainer.sweep.jobs import JobPickler, make_job
from fitcast.trainer.sweep.prepared import Sweep
from fitcast.trainer.sweep.users_code import users_code_by_value

X, Y = make_classification(80, 5, random_state=0)


class Offset(ClassifierMixin, BaseEstimator):
    """Predicts the class that a table says; the table may be large."""

    def __init__(self, table=None):
        self.table = table

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.table[0])


class Scorer:
    """A scorer with a large state."""

    def __init__(self):
        self.answers = np.zeros(20_000)

    def __call__(self, estimator, X, y):
        return float(self.answers[0])


def large_frozen():
    scaler = StandardScaler().fit(X)
    scaler.large_ = np.zeros(20_000)
    return scaler


def load(prepared, index=0):
    return prepared.job(index).load(prepared.attachments.__getitem__)


# -- what is sent is what was there ---------------------------------------------------------------


def test_a_large_estimator_that_is_changed_afterwards():
    scaler = large_frozen()
    prepared = Sweep(make_pipeline(FrozenEstimator(scaler), LogisticRegression()), X, Y).prepare()
    scaler.large_[:] = 7
    sent = load(prepared).estimator.steps[0][1].estimator
    assert not sent.large_.any()


def test_large_hyper_parameters_that_are_changed_afterwards():
    tables = [np.zeros(20_000, int), np.ones(20_000, int)]
    prepared = Sweep((Offset(), {"table": tables}), X, Y).prepare()
    for table in tables:
        table[:] = 7
    assert [load(prepared, index).params["table"][0] for index in (0, 1)] == [0, 1]
    fitted = [fit_and_score(load(prepared, index), prepared.content, 0) for index in (0, 1)]
    assert [one.predictions[0] for one in fitted] == [0, 1]


def test_a_scorer_that_is_changed_afterwards():
    scorer = Scorer()
    prepared = Sweep(LogisticRegression(), X, Y, scoring=scorer).prepare()
    scorer.answers[:] = 7
    assert fit_and_score(load(prepared), prepared.content, 0).scores == {"score": 0.0}


def test_what_can_no_longer_be_pickled_was_pickled_before():
    scaler = large_frozen()
    prepared = Sweep(make_pipeline(FrozenEstimator(scaler), LogisticRegression()), X, Y).prepare()
    scaler.lock = threading.Lock()
    assert not hasattr(load(prepared).estimator.steps[0][1].estimator, "lock")


def test_the_refit_is_of_what_was_there():
    layers = [[1, 2], [3, 4]]
    model = make_pipeline(FunctionTransformer(kw_args={}), LogisticRegression())
    grid = {"functiontransformer__inv_kw_args": [{"layers": each} for each in layers]}
    prepared = Sweep((model, grid), X, Y).prepare()
    before = prepared.submission.refit_fit(0).request
    prepared.candidates[0].params["unheard_of"] = 1
    assert prepared.submission.refit_fit(0).request == before
    fitted = fit_and_score(load(prepared), prepared.content, -1, return_model=True)
    assert fitted.model is not None


def test_settings_and_rows_that_are_changed_afterwards():
    rows = [(np.arange(40), np.arange(40, 80))]
    sweep = Sweep(LogisticRegression(), X, Y, cv=rows, error_score=0.5, deadline_s=5.0)
    prepared = sweep.prepare()
    sweep.error_score, sweep.deadline_s, sweep.scoring = 0.0, 1.0, "roc_auc"
    rows[0][1][:] = 0
    assert prepared.sweep.error_score == 0.5
    assert prepared.sweep.deadline_s == 5.0
    assert prepared.sweep.scoring is None
    np.testing.assert_array_equal(prepared.content.splits[0][1], np.arange(40, 80))


def test_the_work_in_common_is_known_before():
    model = make_pipeline(StandardScaler(), LogisticRegression())
    grid = {"standardscaler__with_std": [True, False], "logisticregression__C": [1, 2]}
    prepared = Sweep((model, grid), X, Y).prepare()
    names = [prepared.submission.work_names[index] for index in range(4)]
    assert names[0] == names[2] != names[1] == names[3]


# -- and is kept once -----------------------------------------------------------------------------


@pytest.mark.parametrize("scoring", [None, "roc_auc", ["roc_auc", "accuracy"]])
def test_candidates_share_their_large_estimator(scoring):
    model = make_pipeline(FrozenEstimator(large_frozen()), LogisticRegression())
    refit = not isinstance(scoring, list)
    grid = {"logisticregression__C": list(range(1, 1001))}
    prepared = Sweep((model, grid), X, Y, scoring=scoring, refit=refit).prepare()
    jobs = [prepared.job(candidate.index) for candidate in prepared.candidates]
    assert len({job.estimator for job in jobs}) == 1
    assert len(prepared.attachments[jobs[0].estimator.number]) > 160_000
    assert sum(len(job.job) for job in jobs) < 500_000


def test_candidates_share_large_values():
    tables = [np.zeros(20_000, int), np.ones(20_000, int), 3, "x" * 10_000]
    model = make_pipeline(StandardScaler(), Offset())
    grid = {"offset__table": tables, "standardscaler__with_std": [True, False]}
    prepared = Sweep((model, grid), X, Y, predict_method=None).prepare()
    jobs = [prepared.job(candidate.index) for candidate in prepared.candidates]
    assert len({value for job in jobs for value in job.values}) == 3
    assert sum(len(job.job) for job in jobs) < 8_000
    for index, candidate in enumerate(prepared.candidates):
        sent = load(prepared, index).params
        assert sent.keys() == candidate.params.keys()
        assert list(sent) == list(candidate.params)
        np.testing.assert_array_equal(sent["offset__table"], candidate.params["offset__table"])


def test_a_value_that_cannot_be_pickled_is_refused():
    with pytest.raises(InvalidSweepError, match=r"'Offset table=.*can't be sent to a worker"):
        Sweep((Offset(), {"table": [Locked()]}), X, Y).prepare()


class Locked:
    def __init__(self):
        self.lock = None

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        raise TypeError("not this one")


def test_equal_values_at_the_same_place_in_memory_are_told_apart():
    # A value that goes while jobs are pickled must not lend its place to another.
    (candidate,) = Sweep(Offset(), X, Y).prepare().candidates
    with users_code_by_value() as dumps:
        pickler = JobPickler(dumps)
        for number in range(50):
            candidate.params["table"] = np.full(2_000, number)
            made = make_job(
                candidate,
                candidate.configured(),
                None,
                MethodParams(),
                Extras(),
                predict_method=None,
                return_train_score=False,
            )
            assert pickler.dump(made, "x").load(pytest.fail).params["table"][0] == number


# -- and whether it is still there ----------------------------------------------------------------


def sweep_of(kind):
    if kind == "lists":
        return Sweep(LogisticRegression(), X.tolist(), Y.tolist())
    if kind == "frame":
        frame = pd.DataFrame(X, columns=list("abcde")).assign(kind=pd.Categorical(Y), y=Y)
        frame["w"], frame["g"] = 1.0, np.arange(80) % 4
        model = make_pipeline(StandardScaler(), LogisticRegression())
        named = {"target": "y", "sample_weight": "w", "groups": "g"}
        return Sweep(model, frame, cv=GroupKFold(4), scoring=lambda e, X, y: 1.0, **named)
    if kind == "sparse":
        return Sweep(LogisticRegression(), sp.csr_matrix(X), Y, sample_weight=np.ones(80))
    if kind == "objects":
        lists = np.empty((80, 1), object)
        for row in range(80):
            lists[row, 0] = [row]
        first = FunctionTransformer(lambda X: np.array([[v[0]] for v in X[:, 0]]))
        return Sweep(make_pipeline(first, LogisticRegression()), lists, Y)
    if kind == "random":
        cv = ShuffleSplit(3, random_state=np.random.RandomState(0))
        forest = RandomForestClassifier(random_state=np.random.RandomState(1))
        return Sweep((forest, {"max_depth": [1, 2]}), X, Y, cv=cv)
    if kind == "generator":
        return Sweep(LogisticRegression(), X, Y, cv=KFold(3).split(X))
    tables = {"table": [np.zeros(3, int), {"a", "b", "c"}, Y]}
    models = {"lr": "sklearn.linear_model.LogisticRegression", "own": (Offset(), tables)}
    return Sweep(models, X.copy(), Y.copy(), sample_weight=None, predict_method=None)


KINDS = ["lists", "frame", "sparse", "objects", "random", "generator", "models"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_not_changed_is_prepared_once(kind):
    sweep = sweep_of(kind)
    prepared = sweep.prepare()
    for _ in range(3):
        assert sweep.prepare(recheck=True) is prepared


def test_what_was_read_from_a_file_is_not_read_again(tmp_path):
    frame = pd.DataFrame(X, columns=list("abcde")).assign(y=Y)
    frame.to_parquet(tmp_path / "data.parquet")
    sweep = Sweep(LogisticRegression(), data=tmp_path / "data.parquet", target="y")
    prepared = sweep.prepare()
    (tmp_path / "data.parquet").unlink()
    assert sweep.prepare(recheck=True) is prepared
    sweep.target = "a"
    with pytest.raises(InvalidDataError, match="no file"):
        sweep.prepare(recheck=True)
    with pytest.raises(InvalidDataError, match="no file"):
        sweep.prepare()  # and not what was good before


def in_x(sweep):
    sweep.X[0, 0] += 1


def in_y(sweep):
    sweep.y[:2] = sweep.y[1::-1]
    sweep.y[0] = 1 - sweep.y[0]


def in_weights(sweep):
    sweep.sample_weight[3] = 5


def in_groups(sweep):
    sweep.groups[0] = 1 - sweep.groups[0]


def in_an_estimator(sweep):
    sweep.models["lr"][0].C = 3.0


def in_a_grid(sweep):
    sweep.models["lr"][1]["tol"].append(0.1)


def in_a_frozen_estimator(sweep):
    sweep.models["frozen"].steps[0][1].estimator.mean_[0] += 1


def in_a_large_value(sweep):
    sweep.models["own"][1]["table"][0][7] = 9


def in_a_splitter(sweep):
    sweep.cv.n_splits = 3


def in_a_scorer(sweep):
    sweep.scoring["own"].answers[3] = 1


def in_a_setting(sweep):
    sweep.predict_method = None


CHANGES = [
    in_x,
    in_y,
    in_weights,
    in_groups,
    in_an_estimator,
    in_a_grid,
    in_a_frozen_estimator,
    in_a_large_value,
    in_a_splitter,
    in_a_scorer,
    in_a_setting,
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_is_prepared_anew(change):
    models = {
        "lr": (LogisticRegression(), {"tol": [0.01, 0.001]}),
        "frozen": make_pipeline(FrozenEstimator(StandardScaler().fit(X)), LogisticRegression()),
        "own": (WeightedOffset(), {"table": [np.zeros(20_000, int)]}),
    }
    sweep = Sweep(
        models,
        X.copy(),
        Y.copy(),
        cv=GroupKFold(4),
        groups=np.arange(80) % 8,
        sample_weight=np.ones(80),
        scoring={"own": Scorer(), "accuracy": "accuracy"},
        refit="accuracy",
    )
    prepared = sweep.prepare()
    change(sweep)
    assert sweep.prepare() is prepared
    again = sweep.prepare(recheck=True)
    assert again is not prepared
    assert sweep.prepare(recheck=True) is again
    np.testing.assert_array_equal(again.content.X, sweep.X)
    if change in (in_x, in_y):
        assert again.submission.dataset != prepared.submission.dataset


class WeightedOffset(Offset):
    def fit(self, X, y, sample_weight=None):
        return super().fit(X, y)


@pytest.mark.parametrize("change", ["cell", "index", "categories", "column", "object"])
def test_changes_to_a_frame(change):
    frame = pd.DataFrame(X, columns=list("abcde"))
    frame["kind"] = pd.Categorical(Y)
    frame["lists"] = [[row] for row in range(80)]
    numbers = FunctionTransformer(lambda frame: frame[["a", "b"]])
    sweep = Sweep(make_pipeline(numbers, LogisticRegression()), frame, Y)
    prepared = sweep.prepare()
    assert sweep.prepare(recheck=True) is prepared
    if change == "cell":
        frame.loc[3, "a"] = 5.0
    elif change == "index":
        frame.index = frame.index + 1
    elif change == "categories":
        frame["kind"] = frame["kind"].cat.add_categories([7])
    elif change == "column":
        frame.columns = [*"abced", "kind", "lists"]
    else:
        frame["lists"].iloc[0].append(1)
    assert sweep.prepare(recheck=True) is not prepared


def test_a_global_that_the_users_code_reads_is_part_of_it(monkeypatch):
    sweep = Sweep(make_pipeline(FunctionTransformer(scaled), LogisticRegression()), X, Y)
    prepared = sweep.prepare()
    assert sweep.prepare(recheck=True) is prepared
    monkeypatch.setattr(f"{__name__}.FACTOR", 3.0)
    assert sweep.prepare(recheck=True) is not prepared


FACTOR = 2.0


def scaled(X):
    return X * FACTOR


# -- objects in data ------------------------------------------------------------------------------


class Refuses:
    def __reduce__(self):
        raise ValueError("I stay here")


@pytest.mark.parametrize("cell", [threading.Lock(), (n for n in range(3)), Refuses()])
@pytest.mark.parametrize("kind", ["frame", "array", "series"])
def test_objects_that_cannot_be_sent_are_refused_early(cell, kind):
    values = np.array([None, "text", *[1.0] * 77, cell], dtype=object)
    data = {
        "frame": pd.DataFrame({"fine": X[:, 0], "odd": values}),
        "array": values.reshape(-1, 1),
        "series": pd.Series(values),
    }[kind]
    anything = make_pipeline(FunctionTransformer(lambda data: X[: len(data)]), Offset(0))
    where = "Column 'odd' of X" if kind == "frame" else "X"
    with pytest.raises(InvalidDataError, match=f"^{where} holds a {type(cell).__name__}, which"):
        Sweep(anything, data, Y, scoring=lambda e, X, y: 1.0).prepare()


def test_objects_that_can_be_sent_are_not():
    values = np.empty((80, 2), dtype=object)
    for row in range(80):
        values[row] = [[row], {"picture": np.zeros(3)}]
    first = FunctionTransformer(lambda data: np.array([[v[0]] for v in data[:, 0]]))
    Sweep(make_pipeline(first, LogisticRegression()), values, Y).prepare()
