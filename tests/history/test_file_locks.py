"""A lock on a file is one process's until that ends; who only looks is waited for."""

import os
import subprocess
import sys
import threading

import pytest

from fitcast.history.file_locks import LOOKERS_S, is_locked, locked

HOLDS = (
    "import sys; from pathlib import Path; from fitcast.history.file_locks import locked;"
    "assert locked(Path(sys.argv[1])) is not None; print(1, flush=True); sys.stdin.read()"
)


def test_a_lock_is_held_until_its_process_ends(tmp_path):
    path = tmp_path / "lock"
    assert not is_locked(path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline()
        assert is_locked(path)
        assert locked(path) is None
        assert locked(path, 0.01) is None
        other.kill()
    assert not is_locked(path)
    descriptor = locked(path)
    assert descriptor is not None
    os.close(descriptor)


def test_one_that_is_given_back_in_time_is_had(tmp_path):
    path = tmp_path / "lock"
    first = locked(path)
    assert first is not None
    back = threading.Timer(LOOKERS_S / 10, os.close, [first])
    back.start()
    second = locked(path, 60.0)
    back.join()
    assert second is not None
    os.close(second)


def test_who_only_looks_makes_no_file(tmp_path):
    assert not is_locked(tmp_path / "lock")
    assert not any(tmp_path.iterdir())


def test_links_are_not_followed(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        locked(tmp_path / "lock")
    assert not is_locked(tmp_path / "lock")
    assert not (tmp_path / "elsewhere").exists()
