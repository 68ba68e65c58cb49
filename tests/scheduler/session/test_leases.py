"""A client's private folders: what crashed clients left goes, and an error says what to do."""

import subprocess
import sys
from pathlib import Path

import pytest

from fitcast.errors import BackendError
from fitcast.scheduler.session.leases import Lease

pytestmark = pytest.mark.security

OWNER = """
import os, signal, sys; from pathlib import Path
from fitcast.scheduler.session.leases import Lease
print(Lease(Path(sys.argv[1])).path, flush=True); os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_client_left_is_removed_by_the_next(tmp_path):
    command = [sys.executable, "-c", OWNER, str(tmp_path / "keys")]
    killed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    left = Path(killed.stdout.strip())
    assert left.is_dir()
    first, second = Lease(tmp_path / "keys"), Lease(tmp_path / "keys")
    assert not left.exists()
    assert first.path.is_dir()
    second.close()
    assert first.path.is_dir()
    first.close()
    first.close()
    assert list((tmp_path / "keys").iterdir()) == []


def test_where_none_can_be_made_the_error_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(BackendError, match="give another home"):
        Lease(tmp_path / "file")
