"""Folders of processes: made for one, removed by it, removed by another when it was killed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fitcast.history import locked_folders
from fitcast.history.locked_folders import MARKER, LockedFolder, memory_root, remove_left

pytestmark = pytest.mark.security

PREFIX = "fitcast-test-"

OWNER = """
import sys, time; from pathlib import Path
from fitcast.history.locked_folders import LockedFolder
mine = LockedFolder(Path(sys.argv[1]), sys.argv[2]); (mine.path / 'a.key').write_bytes(b'secret')
print(mine.path, flush=True); time.sleep(600)
"""


def left_in(root: Path) -> list[Path]:
    return remove_left(root, PREFIX)


@pytest.fixture
def killed(tmp_path):
    """The folder of a process that was killed, below `tmp_path`."""

    def leave(root: Path = tmp_path) -> Path:
        root.mkdir(exist_ok=True)
        command = [sys.executable, "-c", OWNER, str(root), PREFIX]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
            left = Path(owner.stdout.readline().strip())
            assert left_in(root) == []  # its owner lives
            owner.kill()
        return left

    return leave


def test_a_folder_is_its_owners_alone_and_goes_when_closed(tmp_path):
    mine = LockedFolder(tmp_path, PREFIX)
    (mine.path / "a.key").write_bytes(b"secret")
    assert mine.path.stat().st_mode & 0o777 == 0o700
    mine.close()
    mine.close()
    assert not mine.path.exists()


def test_what_a_killed_process_left_is_removed_and_no_other_kind(tmp_path, killed):
    left = killed()
    mine = LockedFolder(tmp_path, PREFIX)
    assert remove_left(tmp_path, "fitcast-other-") == []
    assert left_in(tmp_path) == [left]
    assert mine.path.exists()
    mine.close()


def test_one_process_may_have_several(tmp_path):
    first, second = LockedFolder(tmp_path, PREFIX), LockedFolder(tmp_path, PREFIX)
    assert first.path.exists()
    second.close()
    assert first.path.exists()
    first.close()


def test_a_copy_of_the_process_removes_nothing(tmp_path):
    mine = LockedFolder(tmp_path, PREFIX)
    if (child := os.fork()) == 0:
        mine.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert mine.path.exists()
    assert left_in(tmp_path) == []
    mine.close()


@pytest.mark.parametrize(
    "name", ["2024-01-31", "12345-678.90-abcdef12", "1-2-3", "not-ours", f"{PREFIX}without"]
)
def test_what_is_none_of_ours_stays(tmp_path, name):
    (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / name / "results.csv").write_text("a year's work")
    assert left_in(tmp_path) == []
    assert (tmp_path / name / "results.csv").exists()


def test_a_step_of_the_clock_makes_none_look_left(tmp_path, monkeypatch):
    mine = LockedFolder(tmp_path, PREFIX)
    for step_s in (-3600.0, 3600.0, 400 * 86_400.0):
        monkeypatch.setattr(
            locked_folders.time, "time", lambda step_s=step_s: time.monotonic() + step_s
        )
        assert left_in(tmp_path) == []
    mine.close()


def test_links_are_not_followed(tmp_path, killed):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    left = killed(elsewhere)
    places = tmp_path / "places"
    places.mkdir()
    (places / f"{PREFIX}link").symlink_to(left)
    assert left_in(places) == []
    assert (left / "a.key").exists()
    # A marker that is a link to another's
    false = places / f"{PREFIX}false"
    false.mkdir(mode=0o700)
    (false / MARKER).symlink_to(left / MARKER)
    assert left_in(places) == []
    assert false.exists()


def test_a_link_inside_is_removed_and_not_what_it_leads_to(tmp_path, killed):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("kept")
    root = tmp_path / "root"
    left = killed(root)
    (left / "link").symlink_to(tmp_path / "mine")
    assert left_in(root) == [left]
    assert (tmp_path / "mine" / "file").read_text() == "kept"


def test_a_folder_that_others_may_enter_is_none_of_ours(tmp_path, killed):
    left = killed()
    left.chmod(0o755)
    assert left_in(tmp_path) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_another_users_stays(tmp_path, killed):
    left = killed()
    os.chown(left, 12345, 12345)
    assert left_in(tmp_path) == []
    assert left.exists()


@pytest.mark.parametrize("marker", ["", "{", "[1]", '{"schema": 99}', "[" * 3000, "null"])
def test_a_marker_that_says_nothing_keeps_its_folder(tmp_path, killed, marker):
    left = killed()
    (left / MARKER).write_text(marker)
    assert left_in(tmp_path) == []
    assert left.exists()


def test_a_marker_that_is_a_pipe_is_no_marker_and_holds_nobody(tmp_path, killed):
    left = killed()
    (left / MARKER).unlink()
    os.mkfifo(left / MARKER)
    assert left_in(tmp_path) == []


def test_one_of_another_machine_is_kept_for_a_week(tmp_path, killed):
    """Its lock may not be seen from here."""
    left = killed()
    marker = left / MARKER
    told = json.loads(marker.read_text()) | {"boot": "another", "host": "another"}
    marker.write_text(json.dumps(told))
    assert left_in(tmp_path) == []
    week_ago_s = time.time() - locked_folders.OTHER_BOOT_AFTER_S - 60
    os.utime(marker, (week_ago_s, week_ago_s))
    assert left_in(tmp_path) == []  # a file was made in it lately
    os.utime(left, (week_ago_s, week_ago_s))
    assert left_in(tmp_path) == [left]


def test_a_root_that_is_missing_has_none(tmp_path):
    assert left_in(tmp_path / "missing") == []


def test_those_in_memory_are_their_users_alone_whatever_another_user_made_there():
    mine = LockedFolder(memory_root(), PREFIX)
    found = mine.path.lstat()
    assert (found.st_mode & 0o777, found.st_uid) == (0o700, os.getuid())
    assert mine.path.parent == memory_root()
    mine.close()
