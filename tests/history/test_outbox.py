import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitcast.history.outbox import (
    Outbox,
    OutboxFile,
    end_line,
    read_workflow,
    record_line,
    run_line,
)
from tests.history import examples


def lines_of(workflow):
    lines = [run_line(workflow.run)]
    lines += [record_line(r, workflow.logs.get(r.record_id)) for r in workflow.records]
    return lines + ([end_line(workflow.end)] if workflow.end else [])


def write(file, workflow):
    for line in lines_of(workflow):
        file.append(line)


@given(records=st.lists(examples.records, max_size=4, unique_by=lambda r: r.record_id))
@settings(max_examples=40, deadline=None)
def test_what_goes_in_comes_out(tmp_path_factory, records):
    logs = [examples.failure_log(r) for r in records[::2]]
    workflow = examples.workflow(records=records, logs=logs)
    file = OutboxFile(tmp_path_factory.mktemp("outbox") / "w.jsonl")
    write(file, workflow)
    assert read_workflow(file.path) == workflow


@given(cut=st.integers(0, 10_000), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_file_cut_anywhere_loses_only_what_was_cut(tmp_path_factory, cut, data):
    lines = lines_of(examples.workflow())
    whole = b"".join(lines)
    cut = min(cut, len(whole))
    path = tmp_path_factory.mktemp("outbox") / "w.jsonl"
    path.write_bytes(whole[:cut])
    found = read_workflow(path)
    complete = 0
    for line in lines:
        cut -= len(line)
        # All but its line break is enough for the last line
        complete += cut >= -1
    if complete == 0:
        assert found is None
    else:
        assert found.records == examples.sweep()[: complete - 1]


def test_a_damaged_line_is_left_out(tmp_path, caplog):
    lines = lines_of(examples.workflow())
    lines[2] = b"\x00\xff rubbish\n"
    path = tmp_path / "w.jsonl"
    path.write_bytes(b"".join(lines))
    assert len(read_workflow(path).records) == 6
    assert "left out" in caplog.text


def test_lines_wait_in_memory_while_the_disk_is_full(tmp_path):
    path = tmp_path / "w.jsonl"
    path.symlink_to("/dev/full")
    file = OutboxFile(path)
    with pytest.raises(OSError, match="No space"):
        file.append(b'{"n": 1}\n')
    with pytest.raises(OSError, match="No space"):
        file.sync()
    path.unlink()
    file.append(b'{"n": 2}\n')
    file.sync()
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [1, 2]


def test_a_living_process_keeps_its_own(tmp_path):
    mine, other = Outbox(tmp_path), Outbox(tmp_path)
    write(mine.open_file("w1"), examples.workflow())
    assert list(other.left_behind()) == []
    mine.close()
    ((file, workflow),) = other.left_behind()
    assert workflow == examples.workflow()
    assert list(Outbox(tmp_path).left_behind()) == []  # now the other one has it
    file.remove()
    other.tidy()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_what_it_had(tmp_path):
    code = f"""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from fitcast.history.outbox import Outbox
from tests.history import examples
from tests.history.test_outbox import write
write(Outbox(Path({str(tmp_path)!r})).open_file("w1"), examples.workflow(ended=False))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    ((_, workflow),) = Outbox(tmp_path).left_behind()
    assert workflow == examples.workflow(ended=False)


def test_files_are_for_the_owner_only(tmp_path):
    file = Outbox(tmp_path).open_file("w1")
    file.append(b"{}\n")
    assert file.path.stat().st_mode & 0o077 == 0
    assert file.path.parent.stat().st_mode & 0o077 == 0


def test_an_odd_id_is_a_tame_file_name(tmp_path):
    box = Outbox(tmp_path)
    file = box.open_file("../../etc/passwd" + "x" * 300)
    file.append(b"{}\n")
    assert file.path.resolve().parent.parent == tmp_path.resolve()


def test_an_empty_folder_is_removed_when_it_is_closed(tmp_path):
    box = Outbox(tmp_path / "outbox")
    file = box.open_file("w1")
    file.append(b"{}\n")
    file.remove()
    box.close()
    assert list((tmp_path / "outbox").iterdir()) == []


def test_no_place_at_all(tmp_path):
    (tmp_path / "outbox").write_text("a file")
    with pytest.raises(OSError, match=r"ile exists|ot a directory"):
        Outbox(tmp_path / "outbox").open_file("w1")
    assert list(Outbox(tmp_path / "outbox").left_behind()) == []
