"""The broker's upkeep: what is due, what is to go, in virtual time; and its steps on a database."""

import os
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from fitcast.errors import WorkflowStateError
from fitcast.scheduler.broker.announcement import Caps
from fitcast.scheduler.broker.files import SeenFolder, WorkflowFiles
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.service import Service
from fitcast.scheduler.broker.serving.upkeep import (
    DAY_S,
    ORPHAN_S,
    BrokerUpkeep,
    Task,
    due,
    gone,
    left_over,
)
from fitcast.scheduler.broker.store.tables import WORKFLOWS
from tests.scheduler.broker.submissions import queued, submission

DAYS = 30.0


def test_all_of_it_is_due_at_the_start():
    assert set(due(0.0, {})) == set(Task)


@given(st.lists(st.floats(1.0, 2000.0), min_size=5, max_size=60))
def test_nothing_is_done_too_often_or_forgotten(steps_s):
    done_s, now_s = dict.fromkeys(Task, 0.0), 0.0
    for step_s in steps_s:
        now_s += step_s
        told = due(now_s, done_s)
        assert set(told) == {one for one in Task if now_s - done_s[one] >= one.value}
        assert [done_s[one] for one in told] == sorted(done_s[one] for one in told)
        done_s |= dict.fromkeys(told, now_s)


FOLDERS = st.builds(
    SeenFolder,
    workflow_id=st.sampled_from("abcdef"),
    changed_s=st.floats(0.0, 3 * ORPHAN_S),
    is_whole=st.booleans(),
)


@given(st.lists(FOLDERS, unique_by=lambda one: one.workflow_id), st.sets(st.sampled_from("abcdef")))
def test_only_old_folders_without_a_row_are_left_over(seen, known):
    now_s = 3 * ORPHAN_S
    told = left_over(seen, known, now_s)
    assert not known & set(told)
    young = {one.workflow_id for one in seen if now_s - one.changed_s <= ORPHAN_S}
    assert not young & set(told)
    assert {one.workflow_id for one in seen} <= known | young | set(told)


@given(st.lists(FOLDERS, unique_by=lambda one: one.workflow_id), st.sets(st.sampled_from("abcdef")))
def test_only_what_has_no_whole_folder_is_gone_and_nothing_if_none_is_there(seen, waiting):
    whole = {one.workflow_id for one in seen if one.is_whole}
    assert set(gone(seen, waiting)) == (waiting - whole if whole else set())


# -- the steps, on either database ----------------------------------------------------------------


@pytest.fixture
def there(store, tmp_path):
    engine = SimpleNamespace(runs=list, let_go=lambda workflow_id: None)
    files = WorkflowFiles(tmp_path / "workflows")
    service = Service(store, None, files, engine, Caps())
    upkeep = BrokerUpkeep(service, "replica", DAYS)
    user_id = store.add_user("ana").user_id
    return SimpleNamespace(store=store, files=files, service=service, upkeep=upkeep, user=user_id)


def laid(there, workflow_id, *names, age_s=0.0):
    """Make a workflow's folder, as old as that."""
    folder = there.files.folder(workflow_id).path
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(bytes(1000))
    stat = folder.stat()
    os.utime(folder, (stat.st_atime, stat.st_mtime - age_s))
    return folder


def aged(there, column, age_s):
    """Let something of all workflows have happened so long ago."""
    now_s = there.store.now_s()
    there.store._database.write(
        lambda writing: writing.connection.execute(
            update(WORKFLOWS).values({column: now_s - age_s})
        )
    )


def test_uploads_that_nobody_goes_on_with_expire_and_take_no_room(there):
    there.store.add(there.user, submission("left"))
    folder = laid(there, "left", "dataset.sealed", "lock")
    there.upkeep.end_uploads()
    assert folder.exists()
    aged(there, "touched_at_s", DAY_S + 1)
    there.store.add(there.user, submission("new"))
    kept = laid(there, "new", "lock")
    there.upkeep.end_uploads()
    row = there.store.get("left")
    assert (row.state, row.stored_bytes, folder.exists()) == (State.EXPIRED, 0, False)
    assert there.store.get("new").state is State.UPLOADING
    assert kept.exists()


def test_what_was_cancelled_while_it_was_uploaded_takes_no_room(there):
    there.store.add(there.user, submission("w"))
    folder = laid(there, "w", "dataset.sealed")
    there.store.ask_cancel("w")
    there.upkeep.end_uploads()
    assert not folder.exists()
    assert there.store.ended_uploads() == []


def test_workflows_go_that_ended_long_ago_and_no_others(there):
    for name in ("over", "waiting"):
        queued(there.store, there.user, name)
        laid(there, name, "submission.json")
    there.store.ask_cancel("over")
    there.upkeep.remove_ended()
    assert there.files.folder("over").path.exists()
    aged(there, "ended_at_s", DAYS * DAY_S + 1)
    with pytest.raises(WorkflowStateError):
        there.service.discard("waiting")
    aged(there, "queued_at_s", 2 * DAYS * DAY_S)
    there.store._database.write(
        lambda writing: writing.connection.execute(
            update(WORKFLOWS).where(WORKFLOWS.c.workflow_id == "waiting").values(ended_at_s=None)
        )
    )
    there.upkeep.remove_ended()
    assert there.store.known(["over", "waiting"]) == {"waiting"}
    assert not there.files.folder("over").path.exists()
    assert there.files.folder("waiting").path.exists()


def test_folders_that_are_no_workflows_go_but_not_those_of_local_workflows(there):
    queued(there.store, there.user, "w")
    old = {"age_s": ORPHAN_S + 10}
    mine = laid(there, "w", "submission.json", **old)
    local = laid(there, "local", "submission.json", "key", **old)
    young = laid(there, "young", "submission.json")
    left = laid(there, "left", "submission.json", **old)
    there.upkeep.match_folders()
    assert [one.exists() for one in (mine, local, young, left)] == [True, True, True, False]
    assert there.store.get("w").state is State.QUEUED


def test_a_workflow_whose_folder_is_gone_ends_but_not_if_all_are(there):
    for name in ("gone", "there"):
        queued(there.store, there.user, name)
    there.upkeep.match_folders()
    assert len(there.store.queued()) == 2
    laid(there, "there", "submission.json")
    there.upkeep.match_folders()
    row = there.store.get("gone")
    assert row.state is State.FAILED
    assert "gone" in row.error
    assert [one.workflow_id for one in there.store.queued()] == ["there"]


def test_stored_bytes_follow_the_disk(there):
    queued(there.store, there.user, "w")
    laid(there, "w", "submission.json", "sweep.sealed")
    there.store.claim("w", "replica", 60.0)
    there.upkeep.count_bytes()
    assert there.store.get("w").stored_bytes == 2000


def test_one_that_fails_holds_up_no_other_step(there):
    there.files.root.write_bytes(b"")  # no folder
    queued(there.store, there.user, "w")
    there.upkeep.turn()
    assert there.store.get("w").state is State.QUEUED
