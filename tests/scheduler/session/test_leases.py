"""Folders of processes: made for one, removed by it, swept when it crashed."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

from fitcast.scheduler.session.leases import Lease, memory_root, sweep


def test_a_lease_is_its_owners_alone_and_goes_when_closed(tmp_path):
    lease = Lease(tmp_path / "keys")
    (lease.path / "a.key").write_bytes(b"secret")
    assert lease.path.stat().st_mode & 0o777 == 0o700
    lease.close()
    lease.close()
    assert not lease.path.exists()


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from fitcast.scheduler.session.leases import Lease\n"
        "lease = Lease(Path(sys.argv[1])); (lease.path / 'a.key').write_bytes(b'secret')\n"
        "print(lease.path, flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    left = Path(owner.stdout.readline().strip())
    mine = Lease(tmp_path)
    assert left.exists()  # its owner lives
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert sweep(tmp_path) == [left]
    assert not left.exists()
    assert mine.path.exists()
    mine.close()


def test_a_number_given_again_is_not_taken_for_the_owner(tmp_path):
    me = psutil.Process()
    older = tmp_path / f"{me.pid}-{me.create_time() - 100:.2f}-abcdef12"
    older.mkdir()
    assert sweep(tmp_path) == [older]


def test_what_is_no_lease_stays(tmp_path):
    (tmp_path / "not-a-lease").mkdir()
    assert sweep(tmp_path) == []
    assert sweep(tmp_path / "missing") == []


def test_the_root_in_memory_is_its_users_alone():
    assert memory_root().stat().st_mode & 0o777 == 0o700
    assert memory_root().stat().st_uid == os.getuid()
