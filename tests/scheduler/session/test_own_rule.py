"""The sweep's own rule for the best candidate: who asks it, where, how often, how it may end."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from fitcast import Client, LocalBackend, Pool, errors
from fitcast.history.store import MemoryHistory
from fitcast.scheduler.session.following import Following
from tests.gated import DEPTHS, sweep
from tests.polling import LONGEST_S, wait_for

MIB = 2**20


class Rule:
    """Chooses the worst, notes where it was asked, and does what it is told to before."""

    def __init__(self, asked, before=lambda: None):
        self.asked = asked
        self.before = before
        self.workflow_id = ""

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


BEFORE = {
    "chooses": lambda: None,
    "fails": fails,
    "ends its process": ends_its_process,
    "hangs": hangs,
}


def a_client(home):
    backend = LocalBackend([Pool("p", 1, 600 * MIB, workers=1)])
    return Client(backend, home=home, history=MemoryHistory())


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def rules(home):
    """Rules, each of a workflow that was left half done behind; by what they do."""
    made = {what: Rule(home / what, BEFORE[what]) for what in BEFORE}
    with a_client(home) as client:
        workflows = [client.submit(sweep(home / "gate", free=1, refit=made[what])) for what in made]
        assert wait_for(lambda: workflows[0].counts()[0] >= 1)
    assert {workflow.state for workflow in workflows} == {"interrupted"}
    (home / "gate").touch()
    for what, workflow in zip(made, workflows, strict=True):
        made[what].workflow_id = workflow.id
    return made


@pytest.fixture(scope="module")
def client(home, rules):
    with a_client(home) as client:
        yield client


def test_who_submitted_is_asked_once_in_their_own_process(client, tmp_path):
    rule, gate = Rule(tmp_path / "asked"), tmp_path / "gate"
    gate.touch()
    workflow = client.submit(sweep(gate, free=1, refit=rule))
    results = [workflow.result(timeout_s=LONGEST_S) for _ in range(2)]
    attached = Following(client.home).workflow(workflow.id).result(timeout_s=LONGEST_S)
    assert rule.pids() == [os.getpid()]
    worst = int(np.argmin(results[0].cv_results_["mean_test_score"]))
    assert {one.best_index_ for one in (*results, attached)} == {worst}
    assert results[0].best_estimator_.depth == DEPTHS[worst]


def test_of_one_gone_on_with_a_worker_asks_it_once(client, home, rules):
    rule = rules["chooses"]
    result = client.resume(rule.workflow_id).result(timeout_s=LONGEST_S)
    again = Following(home).workflow(rule.workflow_id).result(timeout_s=LONGEST_S)
    (pid,) = rule.pids()
    assert pid != os.getpid()
    worst = int(np.argmin(result.cv_results_["mean_test_score"]))
    assert result.best_index_ == again.best_index_ == worst
    assert again.best_estimator_.depth == DEPTHS[worst]


@pytest.mark.parametrize(
    ("what", "match"), [("fails", "none is good enough"), ("ends its process", "3")]
)
def test_one_that_fails_on_a_worker_leaves_the_scores(client, rules, what, match):
    rule = rules[what]
    workflow = client.resume(rule.workflow_id)
    with pytest.raises(errors.WorkflowFailedError, match=match):
        workflow.result(timeout_s=LONGEST_S)
    partial = workflow.result(partial=True)
    assert np.isfinite(partial.cv_results_["mean_test_score"]).all()
    assert partial.best_index_ is None
    (pid,) = rule.pids()
    assert pid != os.getpid()


def test_one_that_hangs_on_a_worker_ends_with_its_workflow(client, rules):
    rule = rules["hangs"]
    workflow = client.resume(rule.workflow_id)
    assert wait_for(rule.asked.exists)
    workflow.cancel()
    with pytest.raises(errors.WorkflowCancelledError):
        workflow.result(timeout_s=LONGEST_S)
    assert workflow._run.closed.wait(LONGEST_S)
    (pid,) = rule.pids()
    assert wait_for(lambda: not Path(f"/proc/{pid}").exists())
