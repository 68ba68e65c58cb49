"""Memory that is in no process: it counts against a fit's limit, and goes with the fit."""

import mmap
import os
import subprocess
import sys
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from uuid import uuid4

import pytest
from running import Does, hang, nothing_below

from fitcast.history.records import Outcome
from fitcast.trainer.attempt.held_files import HeldFiles
from tests.polling import wait_for

pytestmark = pytest.mark.security
MIB = 2**20
SHM = Path("/dev/shm")


@pytest.fixture
def name():
    """A name in /dev/shm of nobody else; gone afterwards, whatever happened."""
    path = SHM / f"fitcast-test-{uuid4().hex}"
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def _nothing_left(runner, data):
    yield
    assert nothing_below(runner)


def run(data, deed, **more):
    return data.runner.run_one(data.spec(Does(deed), **more))


def fill(fd, mib=1024):
    for _ in range(mib):
        os.write(fd, bytes(MIB))


def test_a_memory_file_meets_the_limit(data):
    def hold():
        fill(os.memfd_create("mine"))
        hang()

    measured = run(data, hold, memory_limit_bytes=600 * MIB)
    assert measured.outcome is Outcome.OUT_OF_MEMORY
    assert measured.peak_memory_bytes > 600 * MIB


def test_a_memory_file_of_a_child_meets_the_limit(data):
    def hold():
        if os.fork() == 0:
            fill(os.memfd_create("mine"))
            hang()
        hang()

    assert run(data, hold, memory_limit_bytes=600 * MIB).outcome is Outcome.OUT_OF_MEMORY


def test_a_file_in_shared_memory_meets_the_limit_and_goes(data, name):
    def hold():
        fill(os.open(name, os.O_CREAT | os.O_RDWR))
        hang()

    measured = run(data, hold, memory_limit_bytes=600 * MIB)
    assert measured.outcome is Outcome.OUT_OF_MEMORY
    assert not name.exists()


def test_what_is_mapped_is_counted_once(data):
    def share():
        block = SharedMemory(create=True, size=300 * MIB)
        block.buf[:] = bytes(300 * MIB)
        held = HeldFiles(())
        assert held.look([os.getpid()]).bytes < 100 * MIB
        block.close()
        block.unlink()

    measured = run(data, share, memory_limit_bytes=1024 * MIB)
    assert measured.outcome is Outcome.SUCCEEDED, measured.traceback


def test_a_file_counts_once_however_often_it_is_open():
    fd = os.memfd_create("mine")
    more = os.dup(fd)
    try:
        fill(fd, 8)
        assert HeldFiles(()).look([os.getpid()]).bytes >= 8 * MIB
        both = HeldFiles(()).look([os.getpid()]).bytes
        assert both < 16 * MIB
        assert HeldFiles((fd,)).look([os.getpid()]).bytes <= both - 7 * MIB
        with mmap.mmap(fd, 8 * MIB) as mapped:
            assert mapped[:].count(0) == 8 * MIB
            assert HeldFiles(()).look([os.getpid()]).bytes <= both - 7 * MIB
    finally:
        os.close(fd)
        os.close(more)


def held_by_a_child(path):
    """A process that made a file and holds it."""
    code = f"f = open({str(path)!r}, 'wb'); f.write(bytes(9)); f.flush(); print(); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    child.stdout.readline()
    return child


def test_what_was_made_is_removed_when_its_makers_are_gone(name):
    files = HeldFiles(())
    child = held_by_a_child(name)
    files.look([child.pid])
    assert files.remove_left() == []  # somebody still holds it
    child.communicate()
    assert files.remove_left() == [str(name)]
    assert not name.exists()


def test_what_was_there_before_or_is_another_s_stays(name):
    name.write_bytes(b"before")
    files = HeldFiles(())
    child = held_by_a_child(name)
    files.look([child.pid])
    child.communicate()
    assert files.remove_left() == []
    assert name.exists()


def test_what_only_was_read_stays(name):
    files = HeldFiles(())
    name.write_bytes(b"another's")
    with name.open("rb"):
        files.look([os.getpid()])
    assert files.remove_left() == []
    assert name.exists()


def test_a_name_that_another_took_over_stays(name):
    files = HeldFiles(())
    child = held_by_a_child(name)
    files.look([child.pid])
    child.communicate()
    kept = name.open("rb")
    name.unlink()
    name.write_bytes(b"another's")
    assert files.remove_left() == []
    kept.close()
    assert wait_for(name.exists)
