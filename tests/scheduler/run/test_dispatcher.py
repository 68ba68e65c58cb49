"""What may happen around fits while they run: none of it stops the others, or is waited for."""

import os
import signal
import threading

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import cross_val_score
from sklearn.tree import DecisionTreeClassifier

from fitcast import Client, LocalBackend, Pool, Sweep, errors
from fitcast.history.store import MemoryHistory
from fitcast.scheduler.plan import decisions, lifecycle
from fitcast.scheduler.run.event_log import read, replay
from fitcast.scheduler.run.runs import Run
from fitcast.scheduler.session import engine, keeping
from fitcast.trainer.sweep.datasets import fingerprint
from tests.fault import harm
from tests.scheduler.run.backends import WITHIN_S, SlowToExplain

MIB = 2**20
X = np.random.default_rng(0).normal(size=(400, 4))
Y = (X[:, 0] > 0).astype(int)
POOLS = [Pool("p", 1, 700 * MIB, workers=2)]


class Waits(BaseEstimator, ClassifierMixin):
    """Fits once a file is there, having said in another one that it waits."""

    def __init__(self, path="", until=""):
        self.path = path
        self.until = until

    def fit(self, X, y):
        import time
        from pathlib import Path

        self.classes_ = np.unique(y)
        Path(self.path).touch()
        while not Path(self.until).exists():
            time.sleep(0.01)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with Client(LocalBackend(POOLS), home=home, history=MemoryHistory()) as client:
        yield client


def sweep(name="quick", **more):
    return Sweep(DecisionTreeClassifier(random_state=0), X, Y, cv=3, name=name, **more)


def waits_in(workflow, tmp_path):
    assert harm.until((tmp_path / "waits").exists), workflow.fits


def test_what_is_changed_after_submit_returned_changes_nothing(client):
    rng = np.random.default_rng(1)
    ours = rng.normal(size=(60_000, 20))
    labels = (ours[:, 3] > 0).astype(int)
    kept = ours.copy()
    tree = DecisionTreeClassifier(max_depth=2, random_state=0)
    workflow = client.submit(Sweep(tree, ours, labels, cv=3, refit=False))
    ours[:] = 0.0
    tree.set_params(max_depth=1, criterion="entropy")
    result = workflow.result(timeout_s=WITHIN_S)
    wanted = cross_val_score(
        DecisionTreeClassifier(max_depth=2, random_state=0), kept, labels, cv=3
    )
    assert result.best_score_ == pytest.approx(wanted.mean(), abs=0)
    assert {record.dataset for record in workflow.records} == {fingerprint(kept, labels)}


def test_what_is_changed_between_estimate_and_submit_counts(client):
    ours, labels = X.copy(), Y.copy()
    ours_sweep = Sweep(DecisionTreeClassifier(random_state=0), ours, labels, cv=3, refit=False)
    client.estimate(ours_sweep)
    labels[:] = (ours[:, 1] > 0.3).astype(int)
    workflow = client.submit(ours_sweep)
    workflow.wait(WITHIN_S)
    assert {record.dataset for record in workflow.records} == {fingerprint(ours, labels)}


def test_an_interrupt_while_a_sweep_is_planned_harms_nobody_else(client, monkeypatch):
    def interrupted(self, cast):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(engine.Engine, "eta", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.submit(sweep("interrupted"))
    assert client.submit(sweep()).wait(WITHIN_S).state == "succeeded"
    gone = next(one for one in client.workflows() if one.name == "interrupted")
    assert gone.wait(WITHIN_S).state == "cancelled"
    assert client.flush(WITHIN_S)


def test_an_error_of_ours_in_one_workflow_leaves_the_others_alone(client, monkeypatch, tmp_path):
    settle = Run.settle

    def failing(self, *args):
        if self.submission.name == "victim":
            raise ZeroDivisionError("a fault of ours")
        settle(self, *args)

    monkeypatch.setattr(Run, "settle", failing)
    victim, other = client.submit(sweep("victim")), client.submit(sweep("other"))
    assert other.wait(WITHIN_S).state == "succeeded"
    with pytest.raises(errors.InternalError, match="a fault of ours") as caught:
        victim.result(WITHIN_S)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert victim._run.closed.wait(WITHIN_S)
    assert client.submit(sweep("next")).wait(WITHIN_S).state == "succeeded"


def test_an_error_of_ours_in_the_plan_can_be_played_again(client, monkeypatch):
    place, failed = decisions.place, []

    def failing(state, now_s):
        starts = place(state, now_s)
        ours = threading.current_thread().name == "fitcast-dispatcher"
        if starts and ours and not failed:
            failed.append(starts)
            raise ZeroDivisionError("in the midst of a change")
        return starts

    monkeypatch.setattr(decisions, "place", failing)
    victim = client.submit(sweep("victim"))
    with pytest.raises(errors.InternalError, match="in the midst of a change"):
        victim.result(WITHIN_S)
    assert client.submit(sweep("next")).wait(WITHIN_S).state == "succeeded"
    written = max((client._platform.engine._home / "faults").iterdir())
    assert str(written) in str(victim._run.view().error)
    every = [event for _, event, _ in replay(*read(written))]
    assert any(getattr(event, "workflow_id", None) == victim.id for event in every)


def test_an_error_of_ours_while_a_workflow_is_taken_in_ends_it(client, monkeypatch):
    begin = lifecycle.begin

    def failing(state, event):
        if threading.current_thread().name == "fitcast-dispatcher":
            raise ZeroDivisionError("before it was known")
        return begin(state, event)

    with monkeypatch.context() as patched:
        patched.setattr(lifecycle, "begin", failing)
        workflow = client.submit(sweep())
        with pytest.raises(errors.InternalError, match="before it was known"):
            workflow.result(WITHIN_S)
    assert client.submit(sweep()).wait(WITHIN_S).state == "succeeded"


@pytest.mark.parametrize("trouble", [MemoryError("none left"), KeyError("a column")])
def test_a_dataset_that_cannot_be_sealed_ends_its_workflow(client, monkeypatch, trouble):
    def failing(*args, **kwargs):
        raise trouble

    with monkeypatch.context() as patched:
        patched.setattr(keeping, "seal", failing)
        workflow = client.submit(sweep())
        with pytest.raises(errors.FitcastError, match=type(trouble).__name__):
            workflow.result(WITHIN_S)
    assert client.flush(WITHIN_S)
    assert client.submit(sweep()).wait(WITHIN_S).state == "succeeded"


def test_cancelling_ends_what_runs_and_frees_what_it_held(client, tmp_path):
    never = tmp_path / "never"
    waits = Waits(str(tmp_path / "waits"), str(never))
    workflow = client.submit(Sweep(waits, X, Y, cv=2, refit=False))
    waits_in(workflow, tmp_path)
    fits = harm.victims(client)["fit"]
    workflow.cancel()
    assert workflow.wait(WITHIN_S).state == "cancelled"
    assert fits
    assert harm.until(lambda: not any(fit.is_running() for fit in fits))
    state = client._platform.engine._shared.decisions.state
    assert harm.until(lambda: state.cpus_in_use == 0 and not any(state.held.values()))


@pytest.mark.slow
def test_a_result_that_is_long_on_its_way_holds_nobody_up(client, tmp_path):
    flag = tmp_path / "flag"
    late = Waits(str(tmp_path / "waits"), str(tmp_path / "go"))
    workflow = client.submit(Sweep(late, X, Y, cv=[(np.arange(300), np.arange(300, 400))]))
    waits_in(workflow, tmp_path)
    address = next(
        worker.size.address
        for worker in list(client._platform.engine._shared.decisions.workers.values())
        if worker.running
    )
    dask = client._platform.engine._shared._attempts.dask  # connected, as a fit runs
    dask.run(_results_wait_for, str(flag), workers=[address])
    (tmp_path / "go").touch()
    asked = tmp_path / "flag.asked"
    assert harm.until(asked.exists)  # its result is on its way
    assert client.submit(sweep(refit=False)).wait(WITHIN_S).state == "succeeded"
    assert not workflow.is_over
    flag.touch()
    assert workflow.wait(WITHIN_S).state == "succeeded"
    assert set(workflow.fits["attempts"]) == {1}


def _results_wait_for(flag, dask_worker):
    import asyncio
    from pathlib import Path

    give = dask_worker.handlers["get_data"]

    async def later(*args, **kwargs):
        Path(flag + ".asked").touch()
        while not Path(flag).exists():
            await asyncio.sleep(0.01)
        dask_worker.handlers["get_data"] = give
        return await give(*args, **kwargs)

    dask_worker.handlers["get_data"] = later


def test_a_view_is_of_one_moment(client):
    workflow = client.submit(sweep())
    before = workflow._run.view()
    rows = dict(before.rows)
    workflow.wait(WITHIN_S)
    assert dict(before.rows) == rows
    assert not before.is_over
    assert workflow._run.closed.wait(WITHIN_S)  # from then on nothing of it changes
    assert workflow._run.view() is workflow._run.view()
    with pytest.raises((AttributeError, TypeError)):
        before.rows["c0000-f0"].state = "done"
    with pytest.raises(TypeError):
        before.rows["c0000-f0"] = None


def test_what_was_not_measured_is_missing(client, tmp_path):
    waits = Waits(str(tmp_path / "waits"), str(tmp_path / "never"))
    workflow = client.submit(Sweep(waits, X, Y, cv=2, refit=False))
    waits_in(workflow, tmp_path)
    for name in ("runtime_s", "cpu_s", "peak_memory_bytes"):
        assert workflow.fits[name].isna().all()
    workflow.cancel()
    workflow.wait(WITHIN_S)
    done = client.submit(sweep()).wait(WITHIN_S).fits
    assert (done["peak_memory_bytes"] > 50 * MIB).all()
    assert pd.api.types.is_numeric_dtype(done["peak_memory_bytes"])


@pytest.mark.slow
def test_why_a_worker_is_gone_is_not_waited_for(tmp_path):
    backend = SlowToExplain(POOLS)
    with Client(backend, home=tmp_path, history=MemoryHistory()) as client:
        waits = Waits(str(tmp_path / "waits"), str(tmp_path / "go"))
        workflow = client.submit(Sweep(waits, X, Y, cv=[(np.arange(300), np.arange(300, 400))]))
        waits_in(workflow, tmp_path)
        shared = client._platform.engine._shared
        address = next(a for a, w in list(shared.decisions.workers.items()) if w.running)
        pid = shared._attempts.dask.run(os.getpid, workers=[address])[address]
        os.kill(pid, signal.SIGKILL)
        backend.gate.wait()
        assert client.submit(sweep(refit=False)).wait(WITHIN_S).state == "succeeded"
        assert backend.asked == [address]
        assert not workflow.records  # nobody is blamed yet
        (tmp_path / "go").touch()
        backend.gate.opened.set()
        assert workflow.wait(WITHIN_S).state == "succeeded"
        assert workflow.records[0].outcome.value == "worker_lost"


def test_sweeps_learn_on_one_thread_alone(client, monkeypatch):
    from fitcast.sizing.learning.correction import SweepCorrection

    threads = set()

    def noted(call):
        def do(self, *args):
            threads.add(threading.current_thread().name)
            return call(self, *args)

        return do

    workflow = client.submit(sweep())
    monkeypatch.setattr(SweepCorrection, "observe", noted(SweepCorrection.observe))
    monkeypatch.setattr(SweepCorrection, "estimates", noted(SweepCorrection.estimates))
    workflow.wait(WITHIN_S)
    assert threads <= {"fitcast-eta"}


def test_sweeps_whose_data_together_exceed_a_worker_all_end(tmp_path):
    """Eight of 60 MiB on a worker of 400: none ever began when all were opened at once."""
    data = np.random.default_rng(0).normal(size=(60 * MIB // 64, 8))
    labels = (data[:, 0] > 0).astype(int)
    rows = np.arange(len(data))
    split = [(rows[:5000], rows[5000:6000])]
    with Client(
        LocalBackend([Pool("p", 1, 400 * MIB)]), home=tmp_path, history=MemoryHistory()
    ) as client:
        workflows = [
            client.submit(
                Sweep(DecisionTreeClassifier(max_depth=2), data, labels, cv=split, refit=False)
            )
            for _ in range(8)
        ]
        waiting = [one for one in workflows if one.state == "queued"]
        assert all(one.notes for one in waiting)
        assert {one.wait(4 * WITHIN_S).state for one in workflows} == {"succeeded"}
