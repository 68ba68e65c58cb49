"""A disk that is full: under the sealed datasets, under the MLflow store, under all of it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNSHARE = ["unshare", "--user", "--map-root-user", "--mount"]


def _may_mount():
    if shutil.which("unshare") is None:
        return False
    mount = ["mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run([*UNSHARE, *mount], capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not _may_mount(), reason="no file system can be mounted here")


def run(case, folder):
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-m", "tests.fault.full_disk", case, str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_full_disks_under_datasets_and_under_the_mlflow_store(tmp_path):
    told = run("apart", tmp_path)
    assert told["state"] == "failed"  # but no other workflow
    assert "No space left" in told["refused"]
    assert told["left"] == []
    assert set(told["outcomes"]) == {"succeeded"}
    assert told["same"]
    assert told["flushed first"]
    assert not told["flushed while full"]
    assert any("full" in trouble for trouble in told["troubles"]), told["troubles"]
    assert told["flushed later"]
    assert (told["missing"], told["doubled"]) == (0, 0)


@pytest.mark.slow
def test_a_disk_that_fills_up_under_everything_while_fits_run(tmp_path):
    told = run("everything", tmp_path)
    assert told["held up"]
    assert told["troubles"]
    assert not told["over while full"]
    assert set(told["running"]) == {"succeeded"}
    assert "No space left" in told["refused"]
    assert told["flushed later"]
    assert (told["missing"], told["doubled"]) == (0, 0)


@pytest.mark.slow
def test_a_disk_that_is_full_under_a_platforms_workflows(tmp_path):
    told = run("platform", tmp_path)
    assert told["held up"]
    assert not told["over while full"]
    assert told["refused"]
    assert all("disk is full" in said for said in told["refused"])
    assert told["late"] == "succeeded"
    assert set(told["running"]) == {"succeeded"}
