"""What is kept of workflows goes when nobody runs it and its time is over, and not before."""

import os
import subprocess
import sys
import time

import pytest

from fitcast.scheduler.kept.workflow_folder import WorkflowFolder, folders
from fitcast.scheduler.session.keeping import Keeper
from tests.scheduler.kept.test_workflow_folder import accepted

DAY_S = 86_400.0


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path, lambda workflow_id, text: None)
    yield keeper
    keeper.close(1.0)


def made(root, name, age_days, *, held=False, passing=False):
    folder = WorkflowFolder(root, name)
    folder.make()
    folder.accept(accepted())
    if passing:
        folder.note_passing()
    if not held:
        folder.release()
    at = time.time() - age_days * DAY_S
    os.utime(folder.path, (at, at))
    return folder


def test_old_ones_that_nobody_runs_are_removed(keeper, tmp_path):
    made(tmp_path, "old", 31)
    made(tmp_path, "young", 29)
    held = made(tmp_path, "held", 31, held=True)
    made(tmp_path, "passing", 0, passing=True)
    running = made(tmp_path, "passing-held", 0, held=True, passing=True)
    assert sorted(keeper.tidy(30)) == ["old", "passing"]
    left = sorted(folder.workflow_id for folder in folders(tmp_path))
    assert left == ["held", "passing-held", "young"]
    held.release()
    running.release()
    assert sorted(keeper.tidy(30)) == ["held", "passing-held"]


def test_what_isnt_a_workflow_is_left_alone(keeper, tmp_path):
    (tmp_path / "something").mkdir()
    at = time.time() - 100 * DAY_S
    os.utime(tmp_path / "something", (at, at))
    assert keeper.tidy(30) == []
    assert (tmp_path / "something").exists()


def test_kept_for_no_time_at_all(keeper, tmp_path):
    made(tmp_path, "ended", 0.01)
    assert keeper.tidy(0) == ["ended"]


def test_who_only_looks_at_workflows_waits_for_no_library_of_fits():
    asked = (
        "import fitcast.scheduler.session.following, sys;"
        "print({'sklearn', 'scipy.stats', 'distributed', 'mlflow'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True)
    assert told.stdout.strip() == "set()"
