"""A disk that is full under a workflow's results."""

import json
import os
import subprocess
import sys

import pytest

from tests.fault.test_full_disks import ROOT, UNSHARE, _may_mount

pytestmark = pytest.mark.skipif(not _may_mount(), reason="no file system can be mounted here")


def test_a_full_disk_loses_nothing_and_is_waited_for(tmp_path):
    module = "tests.scheduler.kept.full_results_disk"
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-m", module, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    for text in (told["too large"], told["full"]):
        assert "No space left" in text
        assert "bytes are to be written" in text
        assert "are free there" in text
    assert told["left"] == [".sealed"]
    assert told["messages"] == []
    assert told["kept"] == [0.0, 1.0]
    assert told["waits"] == [1.0, 2.0, 4.0]
    assert [bool(text) for _, text in told["troubles"]] == [True, False]
    assert told["then"] == [3]
    assert told["kept later"] == [0, 1, 3]
