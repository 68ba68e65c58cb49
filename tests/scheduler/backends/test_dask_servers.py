"""Dask's scratch folders: private, and nowhere to import from."""

import sys
from pathlib import Path

import dask
import pytest
from distributed import get_worker

from fitcast.scheduler.backends.local import LocalBackend
from fitcast.scheduler.plan.pools import Pool
from tests.scheduler.backends.test_local import Heard

pytestmark = pytest.mark.security

MIB = 2**20


@pytest.fixture
def started(tmp_path, no_process_left):
    backend = LocalBackend([Pool("small", cpus=1, memory_bytes=300 * MIB)])
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    client = backend.start(keys, Heard())
    client.wait_for_workers(1)
    yield backend, client, keys
    client.close()
    backend.close()


def seen_by_worker() -> tuple[str, list[str], bool]:
    locking = dask.config.get("distributed.worker.use-file-locking")
    return get_worker().local_directory, sys.path, locking


def test_scratch_folders_are_private_and_not_imported_from(started, tmp_path):
    backend, client, keys = started
    scratch = keys / "dask-scratch-space"
    servers = [backend._cluster.scheduler, *backend._cluster.workers.values()]
    folder, path, locking = client.submit(seen_by_worker).result()
    for used in (folder, *(server.local_directory for server in servers)):
        assert Path(used) == scratch or scratch in Path(used).parents
        assert used not in sys.path
        assert used not in path
    assert scratch.stat().st_mode & 0o777 == 0o700
    assert not locking
    assert not [entry for entry in (*path, *sys.path) if "dask-scratch" in entry]


def test_what_another_made_in_the_folder_for_temporary_files_is_not_touched(
    tmp_path, monkeypatch, no_process_left
):
    """A scratch space prepared by somebody else, its lock files links to the user's files."""
    precious = tmp_path / "precious.txt"
    precious.write_text("a year's work")
    prepared = tmp_path / "tmp" / "dask-scratch-space"
    prepared.mkdir(parents=True, mode=0o777)
    for name in ("global.lock", "purge.lock"):
        (prepared / name).symlink_to(precious)
    before = sorted(prepared.iterdir())
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    backend = LocalBackend([Pool("small", cpus=1, memory_bytes=300 * MIB)])
    client = backend.start(keys, Heard())
    client.wait_for_workers(1)
    assert not client.submit(seen_by_worker).result()[0].startswith(str(prepared))
    client.close()
    backend.close()
    assert sorted(prepared.iterdir()) == before
    assert precious.read_text() == "a year's work"
