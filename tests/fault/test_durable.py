"""Workflows outlive their client: kills at any moment lose nothing and double nothing."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fitcast.scheduler.kept.results import ResultStore
from fitcast.scheduler.kept.workflow_folder import folders
from tests.fault import durable_run
from tests.polling import LONGEST_S

FITS = len(durable_run.DEPTHS) * durable_run.FOLDS


def start(home: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.fault.durable_run", str(home), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(home: Path, *more: str) -> dict[str, Any] | None:
    """Run it; return what it told, None if it was killed."""
    process = start(home, *more)
    out, error = process.communicate(timeout=2 * LONGEST_S)
    if process.returncode == -signal.SIGKILL:
        return None
    assert process.returncode == 0, error[-3000:]
    told: dict[str, Any] = json.loads(out.splitlines()[-1])
    return told


def kept(home: Path) -> Counter[tuple[int, int]]:
    """Return how often each fit has a kept result."""
    found: Counter[tuple[int, int]] = Counter()
    for folder in folders(home / "workflows"):
        store = ResultStore(folder.results_uri, folder.key(), folder.workflow_id)
        attempts, damaged = store.load(tidy=False)
        assert not damaged
        found.update((one.record.candidate_index, one.record.fold) for one in attempts)
    return found


def check(told: dict[str, Any], undisturbed: dict[str, Any]) -> None:
    """Check that a workflow came to what it would have without any harm, and repeated nothing."""
    for name in ("scores", "predictions", "best", "model"):
        assert told[name] == undisturbed[name], name
    fits = Counter((candidate, fold) for candidate, fold, _ in told["succeeded"])
    assert set(fits.values()) == {1}
    assert len(fits) == FITS + 1
    assert set(told["before"]) <= {record_id for _, _, record_id in told["succeeded"]}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    told = ended(tmp_path_factory.mktemp("undisturbed"))
    assert told is not None
    return told


# Before: the folder, its key, the dataset, the submission, a first result, a later one, the end.
@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 3, 5, 9, 16, 19, 26, 30])
def test_killed_at_a_boundary_a_workflow_goes_on_or_was_never_taken_in(tmp_path, undisturbed, at):
    killed = ended(tmp_path, "--at", str(at))
    before = kept(tmp_path)
    assert set(before.values()) <= {1}
    told = killed or ended(tmp_path)
    assert told is not None
    check(told, undisturbed)
    if killed is None:
        assert len(told["before"]) == before.total()
    assert kept(tmp_path).total() == FITS + 1


@pytest.mark.slow
def test_killed_again_and_again_while_it_goes_on(tmp_path, undisturbed):
    told = None
    for at in (22, 12, 9, 9, 9, 0):
        before = kept(tmp_path)
        told = ended(tmp_path, *(["--at", str(at)] if at else []))
        after = kept(tmp_path)
        assert before <= after
        assert set(after.values()) <= {1}
        if told is not None:
            break
    assert told is not None
    check(told, undisturbed)


@pytest.mark.slow
def test_two_processes_that_resume_the_same_workflow(tmp_path, undisturbed):
    assert ended(tmp_path, "--at", "20") is None
    first = start(tmp_path)
    assert first.stdout is not None
    name = first.stdout.readline().strip()
    assert name
    os.kill(first.pid, signal.SIGSTOP)
    try:
        refused = subprocess.run(
            [sys.executable, "-c", _RESUME, str(tmp_path), name],
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
        )
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert "runs in another process" in refused.stdout, refused.stderr[-2000:]
    out, _ = first.communicate(timeout=LONGEST_S)
    check(json.loads(out.splitlines()[-1]), undisturbed)


_RESUME = """
import sys
from fitcast import Client, errors
from fitcast.history.store import MemoryHistory
if __name__ == "__main__":
    with Client(home=sys.argv[1], history=MemoryHistory()) as client:
        try:
            client.resume(sys.argv[2])
        except errors.SubmissionError as error:
            print(error)
"""
