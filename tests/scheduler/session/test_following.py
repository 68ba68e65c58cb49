"""What is listed of workflows: who runs them, how they ended, what can't be read."""

from dataclasses import replace

import pytest

from fitcast.scheduler.kept.workflow_folder import End, WorkflowFolder
from fitcast.scheduler.session.following import Following, Unfinished
from tests.scheduler.kept.test_workflow_folder import NOW, SUBMISSION, accepted


@pytest.fixture
def made(tmp_path):
    """Make the folder of a workflow that this process runs, unless it has ended."""
    folders = []

    def made(name, end=None):
        folder = WorkflowFolder(tmp_path / "workflows", name)
        folders.append(folder)
        folder.make()
        folder.accept(replace(accepted(), workflow_id=name))
        if end is not None:
            folder.note_end(end)
            folder.release()
        return folder

    yield made
    for folder in folders:
        folder.release()


def test_how_kept_ones_stand(made, tmp_path):
    made("running")
    made("left").release()
    made("succeeded", End("succeeded", NOW))
    damaged = made("damaged", End("succeeded", NOW))
    (damaged.path / "submission.json").write_text("{")
    made("passing").note_passing()
    kept = Following(tmp_path).kept()
    assert [(one.workflow_id, one.state) for one in kept] == [
        ("damaged", "unreadable"),
        ("left", "interrupted"),
        ("running", "running"),
        ("succeeded", "succeeded"),
    ]
    assert all(one.kept_bytes > 0 for one in kept)
    unreadable, *others = kept
    assert (unreadable.workflow_name, unreadable.fits, unreadable.submitted_at) == ("", 0, None)
    for one in others:
        assert one.workflow_name == SUBMISSION.name
        assert one.fits == len(SUBMISSION.fits)
        assert one.submitted_at == NOW


def test_which_ones_of_a_sweep_arent_finished(made, tmp_path):
    made("running")
    made("interrupted", End("interrupted", NOW, can_resume=True))
    made("succeeded", End("succeeded", NOW))
    following = Following(tmp_path)
    assert following.unfinished(SUBMISSION.digest) == [
        Unfinished("interrupted", is_held=False),
        Unfinished("running", is_held=True),
    ]
    assert following.unfinished("another") == []
