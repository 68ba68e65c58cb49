"""Folders of processes: made for one, removed by it, removed by the next when it crashed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fitcast.errors import BackendError
from fitcast.scheduler.session import leases
from fitcast.scheduler.session.leases import MARKER, PREFIX, Lease, memory_root, sweep

pytestmark = pytest.mark.security

OWNER = """
import sys, time; from pathlib import Path
from fitcast.scheduler.session.leases import Lease
lease = Lease(Path(sys.argv[1])); (lease.path / 'a.key').write_bytes(b'secret')
print(lease.path, flush=True); time.sleep(600)
"""


@pytest.fixture
def killed(tmp_path):
    """The lease of a process that was killed, below `tmp_path`."""

    def leave(root: Path = tmp_path) -> Path:
        command = [sys.executable, "-c", OWNER, str(root)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
            left = Path(owner.stdout.readline().strip())
            assert sweep(root) == []  # its owner lives
            owner.kill()
        return left

    return leave


def test_a_lease_is_its_owners_alone_and_goes_when_closed(tmp_path):
    lease = Lease(tmp_path / "keys")
    (lease.path / "a.key").write_bytes(b"secret")
    assert lease.path.stat().st_mode & 0o777 == 0o700
    lease.close()
    lease.close()
    assert not lease.path.exists()


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path, killed):
    left = killed()
    mine = Lease(tmp_path)
    assert not left.exists()
    assert mine.path.exists()
    mine.close()


def test_clients_of_one_process_leave_each_others_leases(tmp_path):
    first, second = Lease(tmp_path), Lease(tmp_path)
    assert first.path.exists()
    second.close()
    assert first.path.exists()
    first.close()


def test_a_copy_of_the_process_removes_nothing(tmp_path):
    lease = Lease(tmp_path)
    if (child := os.fork()) == 0:
        lease.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert lease.path.exists()
    assert sweep(tmp_path) == []
    lease.close()


@pytest.mark.parametrize(
    "name", ["2024-01-31", "12345-678.90-abcdef12", "1-2-3", "not-a-lease", f"{PREFIX}without"]
)
def test_what_is_no_lease_stays(tmp_path, name):
    (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / name / "results.csv").write_text("a year's work")
    Lease(tmp_path).close()
    assert (tmp_path / name / "results.csv").exists()


def test_a_step_of_the_clock_makes_no_lease_look_left(tmp_path, monkeypatch):
    lease = Lease(tmp_path)
    for step_s in (-3600.0, 3600.0, 400 * 86_400.0):
        monkeypatch.setattr(leases.time, "time", lambda step_s=step_s: time.monotonic() + step_s)
        assert sweep(tmp_path) == []
    lease.close()


def test_links_are_not_followed(tmp_path, killed):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    left = killed(elsewhere)
    places = tmp_path / "places"
    places.mkdir()
    (places / f"{PREFIX}link").symlink_to(left)
    assert sweep(places) == []
    assert (left / "a.key").exists()
    # A marker that is a link to another's
    false = places / f"{PREFIX}false"
    false.mkdir(mode=0o700)
    (false / MARKER).symlink_to(left / MARKER)
    assert sweep(places) == []
    assert false.exists()


def test_a_link_inside_is_removed_and_not_what_it_leads_to(tmp_path, killed):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("kept")
    root = tmp_path / "root"
    left = killed(root)
    (left / "link").symlink_to(tmp_path / "mine")
    assert sweep(root) == [left]
    assert (tmp_path / "mine" / "file").read_text() == "kept"


def test_a_folder_that_others_may_enter_is_no_lease(tmp_path, killed):
    left = killed()
    left.chmod(0o755)
    assert sweep(tmp_path) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_another_users_lease_stays(tmp_path, killed):
    left = killed()
    os.chown(left, 12345, 12345)
    assert sweep(tmp_path) == []
    assert left.exists()


@pytest.mark.parametrize("marker", ["", "{", "[1]", '{"schema": 99}', "[" * 3000, "null"])
def test_a_marker_that_says_nothing_keeps_its_folder(tmp_path, killed, marker):
    left = killed()
    (left / MARKER).write_text(marker)
    assert sweep(tmp_path) == []
    assert left.exists()


def test_a_marker_that_is_a_pipe_is_no_marker_and_holds_nobody(tmp_path, killed):
    left = killed()
    (left / MARKER).unlink()
    os.mkfifo(left / MARKER)
    assert sweep(tmp_path) == []


def test_a_lease_of_another_machine_is_kept_for_a_week(tmp_path, killed):
    """Its lock may not be seen from here."""
    left = killed()
    marker = left / MARKER
    told = json.loads(marker.read_text()) | {"boot": "another", "host": "another"}
    marker.write_text(json.dumps(told))
    assert sweep(tmp_path) == []
    week_ago_s = time.time() - leases.OTHER_BOOT_AFTER_S - 60
    os.utime(marker, (week_ago_s, week_ago_s))
    assert sweep(tmp_path) == []  # a file was made in it lately
    os.utime(left, (week_ago_s, week_ago_s))
    assert sweep(tmp_path) == [left]


def test_where_none_can_be_made_the_error_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(BackendError, match="give another home"):
        Lease(tmp_path / "file")


def test_a_root_that_is_missing_has_no_leases(tmp_path):
    assert sweep(tmp_path / "missing") == []


def test_leases_in_memory_are_their_users_alone_whatever_another_user_made_there():
    lease = Lease(memory_root())
    found = lease.path.lstat()
    assert (found.st_mode & 0o777, found.st_uid) == (0o700, os.getuid())
    assert lease.path.parent == memory_root()
    lease.close()
