"""The user's own modules in a fit: importable, and one with the code that came by value."""

import importlib
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

from fitcast.history.records import Outcome
from fitcast.trainer.attempt.spec import AttemptSpec
from fitcast.trainer.sealing import new_key, seal
from fitcast.trainer.sweep.prepared import Sweep
from tests.trainer.running import FIT_DEADLINE_S

X, Y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2

MODELS = """
    import enum
    import inspect
    import multiprocessing
    import pickle

    import numpy as np
    from sklearn.base import BaseEstimator, ClassifierMixin

    RATE = 1
    NOTHING = object()
    RUNS = []


    class Colour(enum.Enum):
        RED = 1


    class Other:
        pass


    def doubled(number):
        return 2 * number


    def wrapped(number):
        return doubled(number) + RATE


    class Own(ClassifierMixin, BaseEstimator):
        def __init__(self, what="nothing", colour=None):
            self.what = what
            self.colour = colour

        def fit(self, X, y):
            self.classes_ = np.unique(y)
            assert getattr(self, f"_{self.what}")() in (None, True)
            return self

        def predict(self, X):
            return np.zeros(len(X), dtype=int)

        def _pickles_itself(self):
            return type(pickle.loads(pickle.dumps(self))) is Own is type(self)

        def _is_imported(self):
            import their_models

            return their_models.Own is Own and their_models.NOTHING is NOTHING

        def _meets_its_enum(self):
            from their_models import Colour as imported

            return self.colour is Colour.RED is imported.RED

        def _meets_what_did_not_come(self):
            import their_models

            assert their_models.Other().__class__.__module__ == "their_models"
            return their_models.Own is Own and their_models.doubled(1) == 2

        def _uses_a_pool(self):
            with multiprocessing.get_context("fork").Pool(2) as pool:
                return pool.map(doubled, [1, 2]) == [2, 4]

        def _is_inspected(self):
            assert "is_inspected" in inspect.getsource(type(self))
            return "2 * number" in inspect.getsource(doubled)

        def _sees_what_was_set(self):
            import their_models

            return RATE == their_models.RATE == 7 and their_models.wrapped(1) == 9

        def _imports_beside(self):
            from their_package.inner import deep

            return deep() == "deep"
"""


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """Import modules, given by the paths of their files."""
    names = []

    def made(files):
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_text(textwrap.dedent(text))
            names.append(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        return [importlib.import_module(name) for name in names]

    monkeypatch.syspath_prepend(str(tmp_path))
    yield made
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def first_folds(runner, tmp_path):
    """Run the first fold of jobs where no file of the user's is."""

    def run(content, attachments, jobs):
        for file in tmp_path.rglob("*.py"):
            file.unlink()
        key, key_file, uri = new_key(), tmp_path / "key", str(tmp_path / "data.sealed")
        key_file.write_bytes(key)
        sealed = seal(content, uri, key, workflow_id="w", attachments=attachments)
        runner.open_dataset(sealed.dataset_id, uri, key_file)
        measured = [
            runner.run_one(
                AttemptSpec(
                    workflow_id="w",
                    fit_id=f"c{number:04}-f0",
                    attempt=1,
                    dataset_id=sealed.dataset_id,
                    job=job,
                    fold=0,
                    threads=1,
                    memory_limit_bytes=2**31,
                    deadline_s=FIT_DEADLINE_S,
                )
            )
            for number, job in enumerate(jobs)
        ]
        runner.close_dataset(sealed.dataset_id)
        return measured

    return run


WHATS = [
    "pickles_itself",
    "is_imported",
    "meets_its_enum",
    "meets_what_did_not_come",
    "uses_a_pool",
    "is_inspected",
    "sees_what_was_set",
    "imports_beside",
]


def test_a_class_of_the_users_own_module_is_at_home_in_a_fit(theirs, first_folds):
    inner = "def deep():\n    return 'deep'\n"
    files = {
        "their_models.py": MODELS,
        "their_package/__init__.py": "",
        "their_package/inner.py": inner,
    }
    models, _, models.inner = theirs(files)
    models.RATE = 7
    grid = {"what": WHATS, "colour": [models.Colour.RED]}
    prepared = Sweep((models.Own(), grid), X, Y, cv=2).prepare()
    jobs = [prepared.job(candidate.index) for candidate in prepared.candidates]
    measured = first_folds(prepared.content, prepared.attachments, jobs)
    for what, one in zip([c.params["what"] for c in prepared.candidates], measured, strict=True):
        assert one.outcome is Outcome.SUCCEEDED, (what, one.traceback)


SCRIPT = """
import multiprocessing
import pickle
import sys
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from fitcast import Sweep


def tripled(number):
    return 3 * number


class Own(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        assert type(pickle.loads(pickle.dumps(self))) is Own
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert pool.map(tripled, [1]) == [3]
        return self

    def predict(self, X):
        return np.zeros(len(X), dtype=int)


prepared = Sweep(Own(), np.ones((40, 3)), np.arange(40) % 2, cv=2).prepare()
sent = prepared.content, prepared.attachments, [prepared.job(0)]
Path(sys.argv[1]).write_bytes(pickle.dumps(sent))
"""


def test_a_class_of_a_script_pickles_itself_and_uses_a_pool(first_folds, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "sent")]
    subprocess.run(command, check=True)
    (measured,) = first_folds(*pickle.loads((tmp_path / "sent").read_bytes()))
    assert measured.outcome is Outcome.SUCCEEDED, measured.traceback


def test_a_class_made_in_a_function_is_pickled_as_what_it_is(first_folds):
    class Inner:
        pass

    class Own(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            import cloudpickle

            self.classes_, self.inner_ = np.unique(y), Inner()
            # Not by the name that a class at the top level would have
            assert b"_make_skeleton_class" in cloudpickle.dumps(self)
            with pytest.raises((AttributeError, pickle.PicklingError)):
                pickle.dumps(self)
            return self

        def predict(self, X):
            return np.zeros(len(X), dtype=int)

    prepared = Sweep(Own(), X, Y, cv=2).prepare()
    jobs = [prepared.job(candidate.index) for candidate in prepared.candidates]
    (measured,) = first_folds(prepared.content, prepared.attachments, jobs)
    assert measured.outcome is Outcome.SUCCEEDED, measured.traceback


def test_what_is_large_is_sent_once(first_folds):
    table = np.arange(200_000.0)

    class WithTable(ClassifierMixin, BaseEstimator):
        def __init__(self, add=0):
            self.add = add

        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self

        def score(self, X, y):
            return table[-1] + self.add

    prepared = Sweep((WithTable(), {"add": [1, 2]}), X, Y, cv=2, predict_method=None).prepare()
    jobs = [prepared.job(candidate.index) for candidate in prepared.candidates]
    assert len([part for part in prepared.attachments if len(part) > table.nbytes]) == 1
    assert prepared.submission.dataset_bytes > table.nbytes
    assert all(len(pickle.dumps(job)) < 5_000 for job in jobs)
    measured = first_folds(prepared.content, prepared.attachments, jobs)
    assert [one.scores["score"] for one in measured] == [200_000.0, 200_001.0]
