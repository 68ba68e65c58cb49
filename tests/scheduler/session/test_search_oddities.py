"""Searches of what can't be sent, raises errors of its own, or looks around itself."""

import multiprocessing
import os
import sqlite3
import threading
import warnings

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - makes the next import work
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
)
from sklearn.tree import DecisionTreeClassifier

from fitcast import (
    Client,
    LocalBackend,
    MemoryHistory,
    Pool,
    SizedHalvingSearchCV,
    SizedRandomizedSearchCV,
    SizedSearchCV,
)
from fitcast.scheduler.session import shared
from fitcast.trainer import surroundings

X, Y = make_classification(n_samples=120, n_features=6, random_state=0)
GRID = {"max_depth": [1, 3]}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    backend = LocalBackend([Pool("two", cpus=2, memory_bytes=4 * 2**30)])
    with Client(backend, home=home, history=MemoryHistory()) as made:
        yield made


def tree():
    return DecisionTreeClassifier(random_state=0)


def equal(ours, theirs):
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    for key, known in theirs.cv_results_.items():
        if not key.endswith("_time"):
            np.testing.assert_array_equal(ours.cv_results_[key], known, err_msg=key)
    assert ours.best_index_ == theirs.best_index_
    assert type(ours.best_index_) is type(theirs.best_index_)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


# -- what can't be sent ----------------------------------------------------------------------------


class Guarded(DecisionTreeClassifier):
    """Holds a lock, which can neither be pickled nor copied."""

    def __init__(self, lock=None, max_depth=1, random_state=0):
        super().__init__(max_depth=max_depth, random_state=random_state)
        self.lock = lock

    def __sklearn_clone__(self):
        return type(self)(self.lock, self.max_depth, self.random_state)

    def fit(self, X, y, report=None):
        with self.lock:
            if report is not None:
                report(len(X))
            return super().fit(X, y)


class Reporting(DecisionTreeClassifier):
    def fit(self, X, y, report=None):
        report(len(X))
        return super().fit(X, y)


def locked_scorer():
    lock = threading.Lock()

    def scorer(model, X, y):
        with lock:
            return model.score(X, y)

    return scorer


def rows_with_locks():
    rows = np.empty((len(X), 1), dtype=object)
    for row in range(len(X)):
        rows[row, 0] = threading.Lock() if row == 7 else row
    return rows


class Constant(DecisionTreeClassifier):
    """Looks at no row."""

    def fit(self, X, y):
        return super().fit(np.arange(len(X)).reshape(-1, 1), y)

    def predict(self, X):
        return super().predict(np.arange(len(X)).reshape(-1, 1))


def reported():
    connection = sqlite3.connect(":memory:")
    return lambda rows: connection.execute("select ?", (rows,))


SEARCHES = {
    "grid": (SizedSearchCV, GridSearchCV, {}),
    "drawn": (SizedRandomizedSearchCV, RandomizedSearchCV, {"n_iter": 2}),
    "halving": (SizedHalvingSearchCV, HalvingGridSearchCV, {"factor": 2}),
}


@pytest.mark.parametrize(("ours", "theirs", "more"), SEARCHES.values(), ids=SEARCHES)
def test_an_estimator_that_cannot_be_sent_is_fitted_here(client, ours, theirs, more):
    def searched(kind, **client_of):
        state = {} if kind in (SizedSearchCV, GridSearchCV) else {
            "random_state": np.random.RandomState(3)
        }  # fmt: skip
        cv = KFold(3, shuffle=True, random_state=0)
        return kind(Guarded(threading.Lock()), GRID, cv=cv, **more, **state, **client_of).fit(X, Y)

    with pytest.warns(UserWarning, match="runs in this process") as told:
        here = searched(ours, client=client)
    equal(here, searched(theirs))
    assert here.workflow_ is None
    assert len([one for one in told if "runs in this process" in str(one.message)]) == 1


def test_a_scorer_that_cannot_be_sent_is_asked_here(client):
    settings = {"scoring": locked_scorer(), "return_train_score": True, "cv": 3}
    with pytest.warns(UserWarning, match="runs in this process"):
        ours = SizedSearchCV(tree(), GRID, client=client, **settings).fit(X, Y)
    equal(ours, GridSearchCV(tree(), GRID, **settings).fit(X, Y))


def test_parameters_of_fit_that_cannot_be_sent_are_used_here(client):
    estimator = Reporting(random_state=0)
    with pytest.warns(UserWarning, match="runs in this process"):
        ours = SizedSearchCV(estimator, GRID, cv=3, client=client).fit(X, Y, report=reported())
    equal(ours, GridSearchCV(estimator, GRID, cv=3).fit(X, Y, report=reported()))


def test_rows_that_cannot_be_sent_are_read_here(client):
    settings = {"cv": KFold(3), "scoring": lambda model, X, y: float(model.get_depth())}
    estimator, rows = Constant(random_state=0), rows_with_locks()
    with pytest.warns(UserWarning, match="runs in this process"):
        ours = SizedSearchCV(estimator, GRID, client=client, **settings).fit(rows, Y)
    theirs = GridSearchCV(estimator, GRID, **settings).fit(rows, Y)
    np.testing.assert_array_equal(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"]
    )


class Closed(DecisionTreeClassifier):
    """Can be pickled once fitted, but not opened again."""

    def __setstate__(self, state):
        if "tree_" in state:
            raise RuntimeError("it stays where it is")
        vars(self).update(state)


def test_a_model_that_cannot_be_opened_is_fitted_once_more(client):
    estimator = Closed(random_state=0)
    with pytest.warns(UserWarning, match="fitted once more.*it stays where it is"):
        ours = SizedSearchCV(estimator, GRID, cv=3, client=client).fit(X, Y)
    equal(ours, GridSearchCV(estimator, GRID, cv=3).fit(X, Y))


def test_what_fails_here_fails_as_in_scikit_learn(client):
    def failing(model, X, y):
        with lock:
            raise ZeroDivisionError

    lock = threading.Lock()
    settings = {"scoring": failing, "error_score": "raise", "cv": 3}
    search = SizedSearchCV(tree(), GRID, client=client, **settings)
    with warnings.catch_warnings(), pytest.raises(ZeroDivisionError):
        warnings.simplefilter("ignore")
        search.fit(X, Y)


# -- errors of the user's own ----------------------------------------------------------------------


class TwoPartError(Exception):
    def __init__(self, code, reason):
        super().__init__(f"{code}: {reason}")
        self.code = code


def test_an_error_not_made_of_a_message_is_raised_as_its_class(client):
    class Refusing(DecisionTreeClassifier):
        def fit(self, X, y):
            raise TwoPartError(7, "no")

    with pytest.raises(TwoPartError, match="7: no"):
        SizedSearchCV(Refusing(), GRID, error_score="raise", cv=3, client=client).fit(X, Y)


def test_an_error_whose_class_is_local_is_raised_as_its_class(client):
    class LocalError(Exception):
        pass

    class Refusing(DecisionTreeClassifier):
        def fit(self, X, y):
            raise LocalError("here")

    with pytest.raises(LocalError, match="here"):
        SizedSearchCV(Refusing(), GRID, error_score="raise", cv=3, client=client).fit(X, Y)


# -- what is around --------------------------------------------------------------------------------


class Looking(LogisticRegression):
    """Its score says what it finds around it."""

    def score(self, X, y):
        found = os.environ.get("OF_THE_TEST", "0")
        with open("there.txt") as there:
            return float(found) + float(there.read())


def test_folder_and_environment_are_those_of_the_submit(client, tmp_path, monkeypatch):
    scores = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "there.txt").write_text(str(number))
        monkeypatch.chdir(folder)
        monkeypatch.setenv("OF_THE_TEST", str(10 * number))
        search = SizedSearchCV(Looking(), {"C": [1.0]}, cv=3, client=client).fit(X, Y)
        scores.append(search.best_score_)
    monkeypatch.delenv("OF_THE_TEST")
    scores.append(SizedSearchCV(Looking(), {"C": [1.0]}, cv=3, client=client).fit(X, Y).best_score_)
    assert scores == [11.0, 22.0, 2.0]


# -- where it runs ---------------------------------------------------------------------------------


def searched_in_child(client, answers):
    search = SizedSearchCV(tree(), GRID, cv=3, client=client).fit(X, Y)
    answers.send((search.best_score_, search.workflow_))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_runs_it_in_its_place(client):
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(
        target=searched_in_child, args=(client, theirs)
    )
    child.start()
    try:
        assert ours.poll(60)
        known = GridSearchCV(tree(), GRID, cv=3).fit(X, Y).best_score_
        assert ours.recv() == (known, None)
    finally:
        child.kill()
        child.join()


@pytest.mark.slow
def test_without_a_folder_of_its_own_it_runs_all_the_same(tmp_path, monkeypatch):
    blocked = tmp_path / "home"
    blocked.write_text("no folder")
    monkeypatch.delenv("FITCAST_HOME")
    monkeypatch.setenv("HOME", str(blocked))
    monkeypatch.setenv("FITCAST_CPUS", "1")
    shared.close_shared()
    try:
        with pytest.warns(UserWarning, match="Set FITCAST_HOME to a folder"):
            ours = SizedSearchCV(tree(), GRID, cv=3).fit(X, Y)
    finally:
        shared.close_shared()
    equal(ours, GridSearchCV(tree(), GRID, cv=3).fit(X, Y))
    assert blocked.read_text() == "no folder"


@pytest.mark.slow
def test_searches_share_one_client_also_in_threads(monkeypatch):
    monkeypatch.setenv("FITCAST_CPUS", "1")
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)  # as at the start of a script: the first client sets some
    shared.close_shared()
    scores: list[float] = []

    def search():
        scores.append(SizedSearchCV(tree(), GRID, cv=3).fit(X, Y).best_score_)

    threads = [threading.Thread(target=search) for _ in range(2)]
    try:
        search()
        first = shared.shared_client()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert shared.shared_client() is first
    finally:
        shared.close_shared()
    assert scores == [GridSearchCV(tree(), GRID, cv=3).fit(X, Y).best_score_] * 3


def test_fits_get_no_variable_that_the_client_set(client):
    SizedSearchCV(tree(), GRID, cv=3, client=client).fit(X, Y)
    around = surroundings.surroundings(client._platform._began)
    ours = {"PYTEST_CURRENT_TEST"}  # set anew for each test
    assert set(surroundings._opened(around).environ) <= ours


# -- scores and ends that are no ordinary ones -----------------------------------------------------


def complex_score(model, X, y):
    return complex(model.score(X, y), 0.25)


def numpy_complex_score(model, X, y):
    return np.complex64(model.score(X, y) + 1j)


@pytest.mark.parametrize("scoring", [complex_score, numpy_complex_score])
def test_of_complex_scores_the_real_part_counts(client, scoring):
    with pytest.warns(np.exceptions.ComplexWarning, match="discards the imaginary part"):
        theirs = GridSearchCV(tree(), GRID, cv=3, scoring=scoring).fit(X, Y)
    with pytest.warns(np.exceptions.ComplexWarning, match="discards the imaginary part"):
        ours = SizedSearchCV(tree(), GRID, cv=3, scoring=scoring, client=client).fit(X, Y)
    equal(ours, theirs)


def exits(model, X, y):
    raise SystemExit(7)


def exits_without_a_word(model, X, y):
    raise SystemExit


def exits_with_a_text(model, X, y):
    raise SystemExit("no more")


def interrupts(model, X, y):
    raise KeyboardInterrupt


class Exits(DecisionTreeClassifier):
    def fit(self, X, y, sample_weight=None):
        if self.max_depth == 3:
            raise SystemExit(4)
        return super().fit(X, y)


@pytest.mark.parametrize(
    ("model", "scoring"),
    [
        (tree(), exits),
        (tree(), exits_without_a_word),
        (tree(), exits_with_a_text),
        (tree(), interrupts),
        (Exits(random_state=0), None),
    ],
    ids=["code", "none", "text", "interrupt", "fit"],
)
def test_what_ends_a_script_ends_the_search(client, model, scoring):
    raised = []
    for search in (
        GridSearchCV(model, GRID, cv=2, scoring=scoring),
        SizedSearchCV(model, GRID, cv=2, scoring=scoring, client=client),
    ):
        with pytest.raises((SystemExit, KeyboardInterrupt)) as told:
            search.fit(X, Y)
        raised.append((told.type, getattr(told.value, "code", None)))
    assert raised[0] == raised[1]


@pytest.mark.parametrize("kind", [list, tuple])
def test_scorers_may_be_listed(client, kind):
    scoring = kind(["accuracy", "roc_auc"])
    made = {"cv": 3, "scoring": scoring, "refit": "roc_auc"}
    ours = SizedSearchCV(tree(), GRID, **made, client=client).fit(X, Y)
    equal(ours, GridSearchCV(tree(), GRID, **made).fit(X, Y))


def test_a_list_that_scikit_learn_refuses_is_refused_like_that(client):
    for scoring in (["accuracy", "accuracy"], [complex_score], []):
        said = []
        for search in (
            GridSearchCV(tree(), GRID, cv=2, scoring=scoring, refit=False),
            SizedSearchCV(tree(), GRID, cv=2, scoring=scoring, refit=False, client=client),
        ):
            with pytest.raises(ValueError, match="scor") as told:
                search.fit(X, Y)
            said.append(str(told.value))
        assert said[0] == said[1]


def test_weights_that_are_no_numbers_are_refused_as_by_scikit_learn(client):
    weights = np.ones(len(X))
    weights[5] = np.nan
    model, grid, said = LogisticRegression(), {"C": [0.1, 1.0]}, []
    for search in (
        GridSearchCV(model, grid, cv=2, error_score="raise"),
        SizedSearchCV(model, grid, cv=2, error_score="raise", client=client),
    ):
        with pytest.raises(ValueError, match="sample_weight contains NaN") as told:
            search.fit(X, Y, sample_weight=weights)
        said.append(str(told.value))
    assert said[0] == said[1]
