"""The folder of a workflow: whole or not there, held by one process, closed to others."""

import json
import stat
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from fitcast.errors import StoreError, SubmissionError
from fitcast.scheduler.kept.accepted import Accepted
from fitcast.scheduler.kept.workflow_folder import End, WorkflowFolder, folders
from fitcast.trainer.sealing import SealedDataset
from fitcast.trainer.sweep.prepared import Sweep
from tests.scheduler.making import estimate

X = np.random.default_rng(0).random((30, 2))
SUBMISSION = (
    Sweep((LogisticRegression(), {"C": [1.0, 2.0]}), X, np.arange(30) % 2, cv=3)
    .prepare()
    .submission
)
SEALED = SealedDataset(
    uri="u", dataset_id="d", workflow_id="w", plaintext_bytes=1, sealed_bytes=2, sealed_sha256="s"
)
NOW = datetime.now(UTC)


def accepted(final=True):
    first, second = estimate(), estimate(2.0)
    return Accepted(
        workflow_id="w",
        submitted_at=NOW,
        submission=SUBMISSION,
        estimates={f.fit_id: first if f.fold else second for f in SUBMISSION.fits},
        final_estimate=second if final else None,
        result_bytes=7,
        dataset=SEALED,
        sweep=replace(SEALED, uri="v"),
    )


@pytest.mark.parametrize("final", [True, False])
def test_what_is_accepted_comes_back(tmp_path, final):
    folder = WorkflowFolder(tmp_path, "w")
    key = folder.make()
    folder.accept(accepted(final))
    seen = WorkflowFolder(tmp_path, "w").accepted()
    wanted = accepted(final)
    for name in ("submitted_at", "estimates", "final_estimate", "result_bytes", "dataset", "sweep"):
        assert getattr(seen, name) == getattr(wanted, name), name
    assert [f.request for f in seen.submission.fits] == [f.request for f in SUBMISSION.fits]
    assert WorkflowFolder(tmp_path, "w").key() == key


def test_equal_estimates_are_written_once(tmp_path):
    folder = WorkflowFolder(tmp_path, "w")
    folder.make()
    folder.accept(accepted())
    told = json.loads((folder.path / "submission.json").read_text())
    assert len(told["estimates"]["distinct"]) == 2


def test_others_can_enter_nothing(tmp_path):
    folder = WorkflowFolder(tmp_path / "workflows", "w")
    folder.make()
    folder.accept(accepted())
    folder.note_opened()
    folder.note_end(End("failed", NOW))
    for path in (folder.path, *folder.path.iterdir()):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_how_it_ended(tmp_path):
    folder = WorkflowFolder(tmp_path, "w")
    folder.make()
    assert folder.end() is None
    end = End("failed", NOW, "WorkflowFailedError", "é\ud800", can_resume=True)
    folder.note_end(end)
    assert folder.end() == end
    folder.go_on()
    assert folder.end() is None


def test_what_a_newer_one_says_beyond_how_it_ended_is_no_harm(tmp_path):
    folder = WorkflowFolder(tmp_path, "w")
    folder.make()
    folder.note_end(End("cancelled", NOW))
    told = json.loads((folder.path / "end.json").read_text())
    (folder.path / "end.json").write_text(json.dumps(told | {"by": "somebody"}))
    assert folder.end() == End("cancelled", NOW)


def test_which_candidate_is_the_best(tmp_path):
    folder = WorkflowFolder(tmp_path, "w")
    folder.make()
    assert folder.best_index() is None
    folder.note_best(3)
    assert WorkflowFolder(tmp_path, "w").best_index() == 3
    (folder.path / "best.json").write_text("half wri")
    assert folder.best_index() is None


def test_whether_it_ended_for_good(tmp_path):
    folder = WorkflowFolder(tmp_path, "w")
    folder.make()
    assert folder.final_end() is None
    folder.note_end(End("interrupted", NOW, can_resume=True))
    assert folder.final_end() is None
    folder.note_end(End("succeeded", NOW))
    assert folder.final_end() == End("succeeded", NOW)


def test_each_process_is_counted(tmp_path):
    folder = WorkflowFolder(tmp_path, "w")
    folder.make()
    assert [folder.note_opened() for _ in range(3)] == [0, 1, 2]


def test_one_process_holds_it_until_it_ends(tmp_path):
    folder = WorkflowFolder(tmp_path, "w")
    assert not folder.is_held()
    holds = (
        "import sys; from pathlib import Path;"
        "from fitcast.scheduler.kept.workflow_folder import WorkflowFolder;"
        "WorkflowFolder(Path(sys.argv[1]), 'w').make(); print(1, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holds, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline()
        assert folder.is_held()
        with pytest.raises(SubmissionError, match="another process"):
            folder.hold()
        other.kill()
    assert not folder.is_held()
    folder.hold()
    assert folder.is_held()
    folder.release()
    assert not folder.is_held()


def test_only_whole_ones_are_listed(tmp_path):
    for name in ("b", "a", "c"):
        WorkflowFolder(tmp_path, name).make()
    for name in ("b", "a"):
        WorkflowFolder(tmp_path, name).accept(accepted())
    (tmp_path / "file").touch()
    assert [folder.workflow_id for folder in folders(tmp_path)] == ["a", "b"]
    assert list(folders(tmp_path / "nowhere")) == []


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path):
    folder = WorkflowFolder(tmp_path, "w")
    folder.make()
    (tmp_path / "precious").write_text("mine")
    (folder.path / "end.json.new").symlink_to(tmp_path / "precious")
    with pytest.raises(StoreError):
        folder.note_end(End("failed", NOW))
    assert (tmp_path / "precious").read_text() == "mine"


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="FITCAST_HOME"):
        WorkflowFolder(tmp_path / "file", "w").make()


def test_it_is_removed_with_all_in_it(tmp_path):
    folder = WorkflowFolder(tmp_path, "w")
    folder.make()
    folder.accept(accepted())
    folder.remove()
    assert not any(tmp_path.iterdir())
    folder.remove()
