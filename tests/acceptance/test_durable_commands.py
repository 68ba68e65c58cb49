"""Workflows by the command line alone: left in the background, seen, killed, gone on with."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.background import background_pid, below, ended_after, lives
from tests.polling import wait_for

ROOT = Path(__file__).parents[2]
FITCAST = str(Path(sys.executable).with_name("fitcast"))
SWEEP = """
import time
from pathlib import Path
from fitcast import Sweep
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import RidgeClassifier
from sklearn.tree import DecisionTreeClassifier

class Told(RidgeClassifier):
    def fit(self, X, y):
        print("fitted with", self.alpha)
        return super().fit(X, y)

class Gated(RandomForestClassifier):
    # by its trees too long to share a process, whose results come together
    def fit(self, X, y):
        # in the folder that it is submitted from; one fold alone waits, the other core is free
        while X[0, 0] == 5.1 and not Path("gate").exists():
            time.sleep(0.01)
        self.tree_ = DecisionTreeClassifier().fit(X, y)
        return self

    def predict(self, X):
        return self.tree_.predict(X)

    def score(self, X, y):
        return self.tree_.score(X, y)

grid = {"alpha": [0.5, 1.0]}
models = {"ridge": (Told(), grid), "gated": Gated(n_estimators=5_000)}
sweep = Sweep(models, *load_iris(return_X_y=True), cv=2, name="irises")
"""

pytestmark = pytest.mark.timeout(600)  # several commands each


@pytest.fixture
def fitcast(tmp_path, fitcast_home):
    (tmp_path / "sweep.py").write_text(SWEEP)

    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            [FITCAST, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=170,
            check=False,
        )
        assert ended.returncode == code, ended.stderr
        return ended

    with ended_after(fitcast_home):
        yield run


def named_in_reference(part: str) -> set[str]:
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    found = re.search(rf"^- `{part}`, a row.*?: (.*?)(?=^- |\n\n)", text, re.MULTILINE | re.DOTALL)
    return set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", found[1])))


@pytest.mark.slow
def test_a_sweep_is_left_seen_killed_and_gone_on_with(fitcast, fitcast_home, tmp_path):
    told = json.loads(fitcast("run", "--detach", "--json", "sweep.py").stdout)
    workflow_id = told["workflow_id"]
    assert set(told) == named_in_reference("status") | {"estimate"}

    def row():
        (found,) = json.loads(fitcast("status", "--json").stdout)
        return found

    assert wait_for(lambda: row()["done"] >= 2)
    assert set(row()) == named_in_reference("status")
    assert row()["state"] == "running"
    assert row()["eta_s_p50"] is not None
    assert "running" in fitcast("status", workflow_id, code=3).stdout
    assert "fitted with 0.5" in fitcast("logs", workflow_id, "c0000-f0").stdout
    assert "no fit" in fitcast("logs", workflow_id, "c9999-f0", code=1).stderr

    pid = background_pid(fitcast_home)
    family = below(pid)
    os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: not any(map(lives, family)))
    assert f"fitcast resume {workflow_id}" in fitcast("status", workflow_id, code=6).stdout
    assert "nobody runs" in fitcast("cancel", workflow_id, code=1).stderr

    (tmp_path / "gate").touch()
    ended = fitcast(
        "run", "--resume", "sweep.py", "--json"
    )  # of the file as another process has it
    document = json.loads(ended.stdout)
    assert document["workflow"]["workflow_id"] == workflow_id
    assert document["workflow"]["state"] == "succeeded"
    assert document["estimate"] is None
    assert document["best"]["candidate"]
    assert {
        fit["attempts"] for fit in document["fits"] if fit["candidate"] == "ridge alpha=0.5"
    } == {1}
    assert "succeeded" in fitcast("status", workflow_id).stdout
    (kept,) = json.loads(fitcast("workflows", "--json").stdout)
    assert set(kept) == named_in_reference("workflows")
    assert kept["state"] == "succeeded"
    assert "has ended" in fitcast("resume", workflow_id, code=1).stderr
    assert "removed" in fitcast("workflows", "remove", workflow_id).stdout
    assert json.loads(fitcast("workflows", "--json").stdout) == []
    assert "there is no workflow" in fitcast("status", workflow_id, code=1).stderr


@pytest.mark.slow
def test_one_that_runs_is_told_of_and_cancelled(fitcast, fitcast_home):
    workflow_id = fitcast("run", "--detach", "--quiet", "sweep.py").stdout.strip()
    said = fitcast("run", "--detach", "--quiet", "--resume", "sweep.py")
    assert said.stdout.strip() == workflow_id  # it is that one
    other = fitcast("run", "--detach", "sweep.py")
    assert f"workflow {workflow_id} of the same sweep runs already" in other.stderr
    assert "in use elsewhere" not in other.stderr
    for one in sorted(path.name for path in (fitcast_home / "workflows").iterdir()):
        assert "cancelled" in fitcast("cancel", one).stdout
        assert "over already" in fitcast("cancel", one).stdout
        fitcast("status", one, code=5)


def interrupts_reach_it():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored by what a shell runs in the background


@pytest.mark.slow
def test_an_interrupt_says_how_to_go_on(fitcast, fitcast_home, tmp_path):
    with subprocess.Popen(
        [FITCAST, "run", "sweep.py"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interrupts_reach_it,
    ) as running:
        while "left" not in running.stderr.readline():  # its progress: it is submitted
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        said = running.stderr.read()
    assert running.returncode == 130
    (workflow_id,) = [path.name for path in (fitcast_home / "workflows").iterdir()]
    assert f"`fitcast resume {workflow_id}` goes on with it" in said
    assert "Traceback" not in said
    (tmp_path / "gate").touch()
    assert fitcast("resume", workflow_id, "--detach", "--quiet").stdout.strip() == workflow_id
    assert "irises: succeeded" in fitcast("status", workflow_id, "--follow").stderr
