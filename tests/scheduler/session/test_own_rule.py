"""The sweep's own rule for the best candidate: who asks it, where, how often, how it may end."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from fitcast import Client, LocalBackend, Pool, errors
from fitcast.history.store import MemoryHistory
from tests.gated import DEPTHS, sweep
from tests.polling import LONGEST_S, wait_for

MIB = 2**20


class Rule:
    """Chooses the worst, notes where it was asked, and does what it is told to before."""

    def __init__(self, asked, before=lambda: None):
        self.asked = asked
        self.before = before

    def __call__(self, table):
        with Path(self.asked).open("a", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
        self.before()
        assert list(table["param_depth"]) == list(DEPTHS)
        assert [setting["depth"] for setting in table["params"]] == list(DEPTHS)
        return int(np.argmax(table["rank_test_score"]))

    def pids(self):
        return [int(line) for line in Path(self.asked).read_text(encoding="ascii").split()]


def fails():
    raise LookupError("none is good enough")


def ends_its_process():
    os._exit(3)


def hangs():
    while True:
        time.sleep(0.01)


def a_client(home):
    backend = LocalBackend([Pool("p", 1, 600 * MIB, workers=1)])
    return Client(backend, home=home, history=MemoryHistory())


def left(home, gate, rule):
    """Leave a workflow half done behind; return its id."""
    with a_client(home) as client:
        workflow = client.submit(sweep(gate, free=1, refit=rule))
        assert wait_for(lambda: workflow.counts()[0] >= 1)
    assert workflow.state == "interrupted"
    gate.touch()
    return workflow.id


def test_who_submitted_is_asked_once_in_their_own_process(tmp_path):
    rule, gate = Rule(tmp_path / "asked"), tmp_path / "gate"
    gate.touch()
    with a_client(tmp_path) as client:
        workflow = client.submit(sweep(gate, free=1, refit=rule))
        results = [workflow.result(timeout_s=LONGEST_S) for _ in range(2)]
        attached = client.workflow(workflow.id).result(timeout_s=LONGEST_S)
    assert rule.pids() == [os.getpid()]
    worst = int(np.argmin(results[0].cv_results_["mean_test_score"]))
    assert {one.best_index_ for one in (*results, attached)} == {worst}
    assert results[0].best_estimator_.depth == DEPTHS[worst]


def test_of_one_gone_on_with_a_worker_asks_it_once(tmp_path):
    rule, gate = Rule(tmp_path / "asked"), tmp_path / "gate"
    name = left(tmp_path, gate, rule)
    with a_client(tmp_path) as client:
        result = client.resume(name).result(timeout_s=LONGEST_S)
        (pid,) = rule.pids()
        assert pid != os.getpid()
    with a_client(tmp_path) as client:
        again = client.workflow(name).result()
    assert rule.pids() == [pid]
    worst = int(np.argmin(result.cv_results_["mean_test_score"]))
    assert result.best_index_ == again.best_index_ == worst
    assert again.best_estimator_.depth == DEPTHS[worst]


@pytest.mark.parametrize(
    ("before", "match", "times"), [(fails, "none is good enough", 1), (ends_its_process, "3", 1)]
)
def test_one_that_fails_on_a_worker_leaves_the_scores(tmp_path, before, match, times):
    rule, gate = Rule(tmp_path / "asked", before), tmp_path / "gate"
    name = left(tmp_path, gate, rule)
    with a_client(tmp_path) as client:
        workflow = client.resume(name)
        with pytest.raises(errors.WorkflowFailedError, match=match):
            workflow.result(timeout_s=LONGEST_S)
        assert len(rule.pids()) == times
        assert os.getpid() not in rule.pids()
        partial = workflow.result(partial=True)
        assert np.isfinite(partial.cv_results_["mean_test_score"]).all()
        assert partial.best_index_ is None
        assert len(rule.pids()) == times


def test_one_that_hangs_on_a_worker_ends_with_its_workflow(tmp_path):
    rule, gate = Rule(tmp_path / "asked", hangs), tmp_path / "gate"
    name = left(tmp_path, gate, rule)
    with a_client(tmp_path) as client:
        workflow = client.resume(name)
        assert wait_for(lambda: Path(rule.asked).exists())
        workflow.cancel()
        with pytest.raises(errors.WorkflowCancelledError):
            workflow.result(timeout_s=LONGEST_S)
        workflow._run.closed.wait(LONGEST_S)
        (pid,) = rule.pids()
        assert wait_for(lambda: not Path(f"/proc/{pid}").exists())
