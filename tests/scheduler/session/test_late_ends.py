"""An end that can't be written: nothing is removed before it is, and it is written later."""

from datetime import UTC, datetime

import pytest

from fitcast.scheduler.kept.workflow_folder import End, WorkflowFolder
from fitcast.scheduler.session.late_ends import LateEnds
from tests.polling import wait_for

END = End("succeeded", datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def folder(tmp_path):
    made = WorkflowFolder(tmp_path, "w-1")
    made.make()
    (made.path / "submission.json").write_text("{}")
    return made


@pytest.fixture
def full(folder):
    """What keeps the end from being written, as a full disk does."""
    obstacle = folder.path / "end.json.new"
    obstacle.mkdir()
    return obstacle


class Told(list):
    def __call__(self, workflow_id, text):
        self.append((workflow_id, bool(text)))


def test_an_end_that_can_be_written_is_and_then_the_dataset_may_go(folder):
    told, done = Told(), []
    ends = LateEnds(told)
    ends.note(folder, END, lambda: done.append(folder.final_end()))
    assert done == [END]
    assert not folder.is_held()
    assert told == []
    ends.close()


def test_an_end_that_cannot_be_written_keeps_the_dataset_and_the_lock_until_it_can(folder, full):
    told, done = Told(), []
    ends = LateEnds(told, retry_s=3600.0)
    ends.note(folder, END, lambda: done.append(True))
    assert (done, told) == ([], [("w-1", True)])
    assert folder.is_held()  # nobody goes on with it meanwhile
    assert ends.retry() == 1
    assert done == []
    full.rmdir()
    assert ends.retry() == 0
    assert done == [True]
    assert folder.final_end() == END
    assert not folder.is_held()
    assert told == [("w-1", True), ("w-1", False)]
    assert ends.retry() == 0
    assert done == [True]
    ends.close()


def test_closing_lets_go_of_what_still_cannot_be_written(folder, full):
    done = []
    ends = LateEnds(Told(), retry_s=3600.0)
    ends.note(folder, END, lambda: done.append(True))
    ends.close()
    assert done == []
    assert folder.end() is None  # so another process goes on with it, and ends it again
    assert not folder.is_held()


def test_one_that_was_removed_meanwhile_is_forgotten(folder, full):
    done = []
    ends = LateEnds(Told(), retry_s=3600.0)
    ends.note(folder, END, lambda: done.append(True))
    folder.remove()
    assert ends.retry() == 0
    assert done == []
    ends.close()


def test_a_thread_tries_it_again(folder, full):
    done = []
    ends = LateEnds(Told(), retry_s=0.01)
    ends.note(folder, END, lambda: done.append(True))
    full.rmdir()
    assert wait_for(lambda: done)
    ends.close()
