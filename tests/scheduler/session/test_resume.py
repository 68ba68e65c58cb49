"""Workflows that are gone on with by another client, and those that can't be."""

import shutil

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.tree import DecisionTreeClassifier

from fitcast import Client, LocalBackend, Pool, Sweep, errors
from fitcast.history.store import MemoryHistory
from fitcast.json_output import status_document
from fitcast.scheduler.kept.workflow_folder import WorkflowFolder
from tests.polling import LONGEST_S, wait_for

MIB = 2**20
X = np.random.default_rng(0).normal(size=(300, 4))
Y = (X[:, 0] > 0).astype(int)
FITS = 6


class Gated(ClassifierMixin, BaseEstimator):
    """A tree whose fits beyond a depth wait for a file."""

    def __init__(self, depth=1, gate=""):
        self.depth = depth
        self.gate = gate

    def fit(self, X, y):
        import time
        from pathlib import Path

        while self.depth > 1 and not Path(self.gate).exists():
            time.sleep(0.01)
        self.tree_ = DecisionTreeClassifier(max_depth=self.depth, random_state=0).fit(X, y)
        self.classes_ = self.tree_.classes_
        return self

    def predict(self, X):
        return self.tree_.predict(X)


def sweep(gate, X=X):
    return Sweep({"m": (Gated(gate=str(gate)), {"depth": [1, 2]})}, X, Y, cv=3, name="gated")


def a_client(home):
    backend = LocalBackend([Pool("p", 1, 600 * MIB, workers=2)])
    return Client(backend, home=home, history=MemoryHistory())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def interrupted(place):
    """Leave a workflow half done behind; return its handle, whose client is closed."""
    with a_client(place) as client:
        workflow = client.submit(sweep(place / "gate"))
        assert wait_for(lambda: workflow.counts()[0] == FITS // 2)
    return workflow


@pytest.fixture(scope="module")
def client(place, interrupted):
    with a_client(place) as client:
        yield client


@pytest.fixture
def folder(place, interrupted, tmp_path):
    """Give the folder of the interrupted workflow; put back afterwards what is done to it."""
    folder = WorkflowFolder(place / "workflows", interrupted.id)
    shutil.copytree(folder.path, tmp_path / "as it was")
    yield folder.path
    shutil.rmtree(folder.path)
    shutil.copytree(tmp_path / "as it was", folder.path)


def test_closing_a_client_interrupts_what_runs(interrupted):
    assert interrupted.state == "interrupted"
    with pytest.raises(errors.WorkflowInterruptedError, match=f"fitcast resume {interrupted.id}"):
        interrupted.result()
    partial = interrupted.result(partial=True)
    assert partial.leaderboard["candidate"][0] == "m depth=1"
    assert set(partial.predictions) == {"m depth=1"}


def test_another_client_sees_it_as_it_was_left(client, interrupted):
    seen = client.workflow(interrupted.id)
    assert [one.id for one in client.workflows()] == [interrupted.id]
    assert seen.state == "interrupted"
    assert seen.counts() == (3, 0, FITS)
    assert seen.forecast.p50_s == pytest.approx(interrupted.forecast.p50_s)
    assert seen.eta.p50_s == pytest.approx(interrupted.eta.p50_s)
    assert 0.0 < seen.eta.p10_s < seen.eta.p50_s < seen.eta.p90_s
    row = status_document(seen.view)
    assert row["eta_s_p50"] == pytest.approx(seen.eta.p50_s)
    assert row["finish_at"] is None  # nobody runs it
    before = interrupted.fits[interrupted.fits["fold"] >= 0].set_index("fit_id")
    after = seen.fits.set_index("fit_id")
    done = before.index[before["outcome"] == "succeeded"]
    for column in ("attempts", "runtime_s", "peak_memory_bytes", "threads", "runtime_s_p50"):
        assert list(after.loc[done, column]) == list(before.loc[done, column]), column


@pytest.mark.parametrize(
    "name", ["20200101-000000-00000000", "../../etc", "", ".", "a/b", "x" * 200]
)
def test_an_unknown_workflow(client, name):
    with pytest.raises(errors.SubmissionError, match="no workflow"):
        client.resume(name)
    with pytest.raises(errors.SubmissionError, match="no workflow"):
        client.workflow(name)
    with pytest.raises(errors.SubmissionError, match="no workflow"):
        client.remove(name)


DAMAGE = {
    "no key": (lambda path: (path / "key").unlink(), "key .* can't be read"),
    "another key": (lambda path: (path / "key").write_bytes(b"k" * 32), "key"),
    "no dataset": (lambda path: (path / "dataset.sealed").unlink(), r"client.resume\("),
    "no jobs": (lambda path: (path / "sweep.sealed").unlink(), "can't be read"),
    "no submission": (lambda path: (path / "submission.json").unlink(), "no workflow"),
    "half a submission": (lambda path: _cut(path / "submission.json"), "can't be read"),
    "an empty submission": (lambda path: (path / "submission.json").write_text("{}"), "damaged"),
    "a newer submission": (
        lambda path: _replace(path / "submission.json", '"schema":1', '"schema":99'),
        "install the version",
    ),
}


def _cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _replace(path, old, new):
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))


@pytest.mark.parametrize("damage", DAMAGE)
def test_one_that_cant_be_gone_on_with_says_why_and_nothing_is_lost(client, folder, damage):
    do, said = DAMAGE[damage]
    do(folder)
    results = sorted((folder / "results").iterdir())
    with pytest.raises(errors.FitcastError, match=said):
        client.resume(folder.name)
    assert sorted((folder / "results").iterdir()) == results
    assert not WorkflowFolder(folder.parent, folder.name).is_held()


def test_data_that_differs_is_refused(client, place, folder):
    (folder / "dataset.sealed").unlink()
    with pytest.raises(errors.SubmissionError, match="data, models, splits or settings differ"):
        client.resume(folder.name, sweep(place / "gate", X + 1.0))


def test_what_is_kept_can_be_removed(client, folder):
    client.remove(folder.name)
    assert not folder.exists()
    folder.mkdir()


# The last ones: they go on with it.


def test_its_end_is_that_of_an_undisturbed_one(client, place, interrupted, folder):
    (folder / "dataset.sealed").unlink()
    damaged = max((folder / "results").iterdir())
    content = bytearray(damaged.read_bytes())
    content[-20] ^= 1
    damaged.write_bytes(content)
    (place / "gate").touch()
    workflow = client.resume(interrupted.id, sweep(place / "gate"))
    assert client.resume(interrupted.id).id == workflow.id  # it runs here already
    with pytest.raises(errors.SubmissionError, match="runs in another process"):
        client.remove(interrupted.id)
    result = workflow.result(LONGEST_S)
    undisturbed = client.submit(sweep(place / "gate")).result(LONGEST_S)
    for name in ("split0_test_score", "split1_test_score", "split2_test_score"):
        np.testing.assert_array_equal(result.cv_results_[name], undisturbed.cv_results_[name])
    assert result.best_params_ == undisturbed.best_params_
    for label, predictions in undisturbed.predictions.items():
        np.testing.assert_array_equal(result.predictions[label], predictions)
    np.testing.assert_array_equal(
        result.best_estimator_.predict(X), undisturbed.best_estimator_.predict(X)
    )
    assert workflow._run.closed.wait(LONGEST_S)
    with pytest.raises(errors.SubmissionError, match="has ended"):
        client.resume(interrupted.id)
    assert not (folder / "dataset.sealed").exists()
    assert len({r.record_id for r in workflow.records}) == len(workflow.records)
