"""Workflows with workers of their own: opened for them, and gone with them."""

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier

from fitcast import Client, Pool, Sweep, errors
from fitcast.history.store import MemoryHistory
from tests.leases import sealed_datasets
from tests.marks import slow
from tests.polling import wait_for
from tests.scheduler.run.backends import WITHIN_S, Gate, OwnWorkers

MIB = 2**20
X = np.random.default_rng(0).normal(size=(300, 4))
Y = (X[:, 0] > 0).astype(int)


@pytest.fixture
def backend():
    return OwnWorkers([Pool("p", 1, 900 * MIB)])


def sweep():
    return Sweep(DecisionTreeClassifier(), X, Y, cv=2, refit=False)


def test_workers_come_for_a_workflow_and_go_with_it(backend, tmp_path, no_process_left):
    with Client(backend, home=tmp_path, history=MemoryHistory()) as client:
        workflows = [client.submit(sweep()) for _ in range(2)]
        for workflow in workflows:
            assert workflow.result(timeout_s=WITHIN_S).best_score_ > 0.5
            assert workflow._run.closed.wait(WITHIN_S)
        assert len(backend.given) == 2
        assert all(own.started and own.closed for own in backend.given)
        assert wait_for(lambda: not client._platform.engine._own)  # a moment after it was told


@pytest.mark.parametrize(
    "trouble",
    [errors.BackendError("no quota left"), *slow(MemoryError("none left"), KeyError("podIP"))],
)
def test_workers_that_cannot_be_started_end_their_workflow_alone(backend, tmp_path, trouble):
    backend.trouble_at_start = trouble
    with Client(backend, home=tmp_path, history=MemoryHistory()) as client:
        workflow = client.submit(sweep())
        with pytest.raises(errors.FitcastError, match=str(trouble.args[0])):
            workflow.result(timeout_s=WITHIN_S)
        assert workflow.state == "failed"
        assert workflow._run.closed.wait(WITHIN_S)
        assert client.flush(WITHIN_S)
        backend.trouble_at_start = None
        assert client.submit(sweep()).wait(WITHIN_S).state == "succeeded"


def test_cancelled_while_its_workers_are_made_nothing_is_made(backend, tmp_path):
    backend.start_gate = gate = Gate()
    with Client(backend, home=tmp_path, history=MemoryHistory()) as client:
        workflow = client.submit(sweep())
        gate.wait()
        workflow.cancel()
        assert workflow.wait(WITHIN_S).state == "cancelled"
        assert workflow._run.closed.wait(WITHIN_S)
        (own,) = backend.given
        assert own.interrupted.is_set()
        assert own.closed
        assert own._cluster is None


def test_cancelled_before_it_is_sealed_no_workers_are_asked_for(backend, tmp_path, monkeypatch):
    from fitcast.scheduler.session import keeping

    gate, seal = Gate(), keeping.seal

    def held(*args, **kwargs):
        sealed = seal(*args, **kwargs)
        client._platform.engine.cancel(client.workflows()[0].id)
        gate.hold()
        return sealed

    monkeypatch.setattr(keeping, "seal", held)
    with Client(backend, home=tmp_path, history=MemoryHistory()) as client:
        workflow = client.submit(sweep())  # returns as it is over, though sealing isn't
        assert workflow.wait(WITHIN_S).state == "cancelled"
        gate.opened.set()
        assert workflow._run.closed.wait(WITHIN_S)
        assert backend.given == []
        assert not sealed_datasets(tmp_path)
