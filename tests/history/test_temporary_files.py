"""What a kill during a save leaves: removed by the next process, and nothing else with it."""

import fcntl
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from fitcast.history import temporary_files as temporary
from fitcast.history.locked_folders import MARKER
from fitcast.history.mlflow_store import MlflowHistory
from fitcast.history.outbox import Outbox
from fitcast.history.record_cache import RecordCache
from tests.history import examples

OWNER = """
import sys
from pathlib import Path
from fitcast.history.temporary_files import partial_file, temporary_folder

with temporary_folder(Path(sys.argv[1])) as folder, \\
        partial_file(Path(sys.argv[1]) / "0123456789abcdef.parquet") as partial:
    (folder / "records.parquet").write_text("records")
    partial.write_text("records")
    print("written", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def in_the_midst_of_a_save(root):
    """Run another process that holds a folder and a file of each kind."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout.readline() == b"written\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def left(tmp_path):
    """A folder and a file that a killed process left, and where."""
    root = tmp_path / "temporary"
    root.mkdir()
    with in_the_midst_of_a_save(root):
        pass
    (folder,), (partial,) = root.glob("fitcast-history-*"), root.glob("*.partial")
    return root, folder, partial


def test_a_living_process_keeps_what_is_its_own(tmp_path):
    with in_the_midst_of_a_save(tmp_path):
        assert temporary.remove_left_folders(tmp_path) == []
        assert temporary.remove_left_partials(tmp_path) == []
        assert len(list(tmp_path.glob("fitcast-history-*/files/records.parquet"))) == 1


def test_what_a_kill_left_is_removed(left):
    root, folder, partial = left
    assert temporary.remove_left_folders(root) == [folder]
    assert temporary.remove_left_partials(root) == [partial]
    assert list(root.iterdir()) == []


def test_the_next_store_removes_it(left, tmp_path, monkeypatch):
    root, folder, _ = left
    monkeypatch.setattr(tempfile, "tempdir", str(root))
    database = tmp_path / "mlflow.db"
    (tmp_path / ".mlflow.db.new").write_text("half a database")
    store = MlflowHistory(f"sqlite:///{database}")
    store.prepare()
    assert not folder.exists()
    assert not (tmp_path / ".mlflow.db.new").exists()
    (tmp_path / ".mlflow.db.new").write_text("half a database")  # by the side of a whole one
    MlflowHistory(f"sqlite:///{database}").prepare()
    assert not (tmp_path / ".mlflow.db.new").exists()

    store.save(examples.workflow())  # leaves nothing itself
    assert list(root.glob("fitcast-*")) == []
    assert list(root.glob("tmp*")) == []


def test_the_next_cache_removes_it(left, tmp_path):
    root, _, partial = left
    earlier = root / "fedcba9876543210.partial"  # as earlier versions named them
    earlier.write_text("")
    RecordCache(root, MlflowHistory(f"sqlite:///{tmp_path}/mlflow.db")).read()
    assert not partial.exists()
    assert not earlier.exists()


def test_nothing_but_its_own_is_touched(left, tmp_path):
    root, folder, partial = left
    elsewhere = tmp_path / "elsewhere"
    folder.rename(elsewhere)
    (root / "fitcast-history-link").symlink_to(elsewhere)  # a link to one of ours
    unmarked = root / "fitcast-history-analysis"
    unmarked.mkdir(mode=0o700)
    (unmarked / "data.csv").write_text("theirs")
    pretended = root / "fitcast-history-linked-lock"
    pretended.mkdir(mode=0o700)
    (pretended / MARKER).symlink_to(elsewhere / MARKER)
    opened = root / "fitcast-history-open"
    opened.mkdir()
    opened.chmod(0o755)
    (opened / MARKER).write_text("")
    piped = root / "fitcast-history-pipe"
    piped.mkdir(mode=0o700)
    os.mkfifo(piped / MARKER)
    partial.rename(tmp_path / "moved")
    partial.symlink_to(tmp_path / "moved")
    (root / "download.partial").write_text("theirs")
    os.mkfifo(root / "00000000deadbeef.partial")
    before = sorted(root.rglob("*"))
    assert temporary.remove_left_folders(root) == []
    assert temporary.remove_left_partials(root) == []
    assert sorted(root.rglob("*")) == before
    assert (tmp_path / "moved").read_text() == "records"
    assert (elsewhere / "files" / "records.parquet").exists()


@pytest.mark.security
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_another_users_is_not_touched(left):
    root, folder, partial = left
    for path in (folder, partial):
        os.chown(path, 65534, 65534)
    assert temporary.remove_left_folders(root) == []
    assert temporary.remove_left_partials(root) == []


def test_a_new_database_is_not_written_through_a_link(tmp_path):
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / ".mlflow.db.new").symlink_to(tmp_path / "theirs")
    with pytest.raises(Exception, match="in the way"):
        MlflowHistory(f"sqlite:///{tmp_path}/mlflow.db").prepare()
    assert (tmp_path / "theirs").read_text() == "theirs"


def test_a_file_that_could_not_be_finished_leaves_nothing(tmp_path):
    target = tmp_path / "0123456789abcdef.parquet"
    target.write_text("whole")
    with pytest.raises(OSError, match="disk"), temporary.partial_file(target) as partial:
        partial.write_text("half")
        raise OSError("the disk is full")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    assert target.read_text() == "whole"


def test_an_outbox_folder_without_a_name_yet_is_removed_once_old(tmp_path):
    def unfinished(name, age_s=0.0):
        folder = tmp_path / f".new-{name}"
        folder.mkdir(mode=0o700)
        (folder / "owner.lock").write_text("")
        changed_s = folder.stat().st_mtime - age_s
        os.utime(folder, (changed_s, changed_s))
        return folder

    old, young = unfinished("old", 7200), unfinished("young")
    held, full = unfinished("held", 7200), unfinished("full", 7200)
    (full / "w.jsonl").write_text("{}")
    changed_s = young.stat().st_mtime - 7200
    os.utime(full, (changed_s, changed_s))
    (tmp_path / ".new-link").symlink_to(young)
    with (held / "owner.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert list(Outbox(tmp_path).left_behind()) == []
    assert not old.exists()
    assert young.exists()
    assert held.exists()
    assert (full / "w.jsonl").exists()
    assert Path(tmp_path / ".new-link").is_symlink()
