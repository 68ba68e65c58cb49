"""A commit that is ended at any call to the system is wholly there, or not at all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module", params=["killed", "failed"])
def ends(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    done = subprocess.run(
        [sys.executable, "-m", "tests.scheduler.kept.killed_commits", request.param, str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    return request.param, json.loads(done.stdout.splitlines()[-1])


def test_every_call_of_a_commit_was_its_last_once(ends):
    _, tries = ends
    for before in (False, True):
        runs = [one for one in tries if one["before"] is before]
        *stopped, whole = runs
        assert all(one["stopped"] for one in stopped)
        assert not whole["stopped"]
        assert len(stopped) == len(whole["calls"])
        assert {"open", "write", "fsync", "rename"} <= set(whole["calls"])
        assert whole["calls"].count("write") >= 3
        assert whole["calls"][-3:] == ["fsync", "rename", "fsync"]


def test_a_commit_is_wholly_there_or_not_at_all(ends):
    mode, tries = ends
    for one in tries:
        earlier = [0] if one["before"] else []
        whole = [*earlier, 1, 2]
        assert one["messages"] == []
        if not one["stopped"]:
            assert one["kept"] == whole
        elif mode == "failed":  # who was told that it failed may do it again
            assert one["kept"] == earlier
            assert one["left"] == [".sealed"] * len(earlier)
        else:
            assert one["kept"] in (earlier, whole)
        assert one["kept later"] == [*one["kept"], 3]


def test_what_a_kill_left_unfinished_is_removed(ends):
    mode, tries = ends
    assert any(".partial" in one["left"] for one in tries) is (mode == "killed")
    assert not any(".partial" in one["left after load"] for one in tries)
