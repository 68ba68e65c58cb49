import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fitcast.errors import HistoryError
from fitcast.history.mlflow_store import MlflowHistory
from fitcast.history.records import Outcome
from fitcast.history.store import MemoryHistory
from fitcast.history.writer import HistoryWriter
from tests.history import examples
from tests.listing import files_matching
from tests.polling import LONGEST_S, wait_for


class Interruptible(MemoryHistory):
    """A store in memory whose server can go away, and that can hold a save up."""

    source = "memory:interruptible"

    def __init__(self):
        super().__init__()
        self.down = False
        self.saves = 0
        self.saving = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def prepare(self):
        if self.down:
            raise HistoryError("Nobody answers; start the server")

    def save(self, workflow):
        self.prepare()
        self.saving.set()
        assert self.may_go_on.wait(LONGEST_S)
        self.saving.clear()
        self.saves += 1
        return super().save(workflow)


class Clock:
    """Time that goes by when it is told to."""

    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def told():
    return []


@pytest.fixture
def store():
    return Interruptible()


@pytest.fixture
def opened(tmp_path, told):
    writers = []

    def opened(store, **options):
        writers.append(HistoryWriter(store, tmp_path / "outbox", on_trouble=told.append, **options))
        return writers[-1]

    yield opened
    for writer in writers:
        writer.close(LONGEST_S)


def write(writer, workflow_id="w1", ended=True, records=None):
    writer.start_workflow(examples.run(workflow_id))
    for record in examples.sweep(workflow_id) if records is None else records:
        writer.add(record, None)
    if ended:
        finish(writer, workflow_id)


def finish(writer, workflow_id="w1", state="succeeded"):
    end = examples.end(state)
    writer.finish_workflow(
        workflow_id, state=state, summary_metrics={"eta_p50_s": 12.5}, ended_at=end.ended_at
    )


def left_in(tmp_path):
    return sorted(p.name for p in files_matching(tmp_path / "outbox", "*/*.jsonl"))


def ids(records):
    return sorted(r.record_id for r in records)


def test_a_workflow_reaches_the_store_and_leaves_the_outbox(opened, store, told, tmp_path):
    writer = opened(store)
    write(writer)
    assert writer.flush(LONGEST_S)
    assert writer.url("w1") == "memory:w1"
    assert store.workflow("w1") == examples.workflow()
    assert left_in(tmp_path) == []
    writer.close(LONGEST_S)
    assert list((tmp_path / "outbox").iterdir()) == []
    assert told == []


def test_a_running_workflow_can_be_seen_but_not_too_often(opened, store):
    clock = Clock()
    writer = opened(store, save_every_s=5.0, clock=clock)
    write(writer, ended=False, records=[examples.record(fold=0)])
    assert wait_for(lambda: writer.url("w1"))
    for fold in range(1, 100):
        writer.add(examples.record(fold=fold))
    clock.now_s += 5.0
    assert wait_for(lambda: len(store.workflow("w1").records) == 100)
    assert store.workflow("w1").end is None
    assert store.saves == 2
    finish(writer)
    assert writer.flush(LONGEST_S)
    assert len(store.workflow("w1").records) == 100


def test_adding_does_not_wait_for_the_store(opened, store):
    store.may_go_on.clear()
    writer = opened(store, save_every_s=0)
    write(writer, ended=False)
    assert store.saving.wait(LONGEST_S)
    for fold in range(100):
        writer.add(examples.record(fold=fold))
    finish(writer)
    assert store.saving.is_set()
    store.may_go_on.set()


def test_a_server_that_is_down_and_comes_up(opened, store, told, tmp_path):
    store.down = True
    writer = opened(store, clock=Clock())
    for n in range(3):
        write(writer, f"w{n}")
    # tried, not waited out: the time is never over
    assert not writer.flush(LONGEST_S)
    assert not writer.flush(0.2)
    assert len(told) == 1
    assert "start the server" in told[0]
    assert "outbox" in told[0]
    assert writer.url("w1") is None
    assert left_in(tmp_path) == ["w0.jsonl", "w1.jsonl", "w2.jsonl"]
    store.down = False
    assert writer.flush(LONGEST_S)
    assert left_in(tmp_path) == []
    assert {r.workflow_id for r in store.read()[0]} == {"w0", "w1", "w2"}
    store.down = True
    write(writer, "w4")
    assert not writer.flush(LONGEST_S)
    assert len(told) == 2  # a new outage


def test_the_next_process_sends_what_was_left(opened, store, tmp_path):
    store.down = True
    first = opened(store)
    write(first, "done")
    write(first, "running", ended=False)
    first.close(LONGEST_S)
    assert left_in(tmp_path) == ["done.jsonl", "running.jsonl"]
    store.down = False
    second = opened(store)
    assert second.flush(LONGEST_S)
    assert store.workflow("done") == examples.workflow("done")
    interrupted = store.workflow("running")
    assert interrupted.end.state == "interrupted"
    assert interrupted.end.ended_at == max(r.ended_at for r in interrupted.records)
    assert ids(interrupted.records) == ids(examples.sweep("running"))
    second.close(LONGEST_S)
    assert list((tmp_path / "outbox").iterdir()) == []


def test_a_living_process_is_left_alone(opened, store, tmp_path):
    first, second_store = opened(store), MemoryHistory()
    write(first, ended=False)
    second = opened(second_store)
    assert second.flush(LONGEST_S)
    assert second_store.workflow("w1") is None
    finish(first)
    assert first.flush(LONGEST_S)
    assert store.workflow("w1").end.state == "succeeded"


def test_a_killed_process_loses_nothing(opened, store, tmp_path):
    code = f"""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from fitcast.history.writer import HistoryWriter
from tests.history.test_writer import Interruptible, write
store = Interruptible()
store.down = True
writer = HistoryWriter(store, Path({str(tmp_path)!r}) / "outbox", on_trouble=print)
write(writer, ended=False)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert opened(store).flush(LONGEST_S)
    assert ids(store.workflow("w1").records) == ids(examples.sweep())


def test_a_workflow_that_is_resumed_is_not_called_interrupted(opened, store):
    store.down = True
    first = opened(store)
    write(first, ended=False, records=examples.sweep()[:3])
    first.close(LONGEST_S)
    store.down = False
    second = opened(store)
    write(second, records=examples.sweep()[3:])
    assert second.flush(LONGEST_S)
    kept = store.workflow("w1")
    assert kept.end.state == "succeeded"
    assert ids(kept.records) == ids(examples.sweep())


def test_a_straggler_after_the_end(opened, store, tmp_path):
    writer = opened(store)
    write(writer)
    assert writer.flush(LONGEST_S)
    writer.add(examples.record(attempt=2, outcome=Outcome.CANCELLED, scores={}))
    assert writer.flush(LONGEST_S)
    assert len(store.workflow("w1").records) == 8
    assert store.workflow("w1").end is not None
    assert left_in(tmp_path) == []


def test_an_unknown_workflow_is_refused(opened, store):
    writer = opened(store)
    with pytest.raises(HistoryError, match="call start_workflow"):
        writer.add(examples.record("nobody"))
    with pytest.raises(HistoryError, match="call start_workflow"):
        finish(writer, "nobody")


def test_an_outbox_that_cannot_be_written_stops_nothing(opened, store, told, tmp_path):
    (tmp_path / "outbox").write_text("in the way")
    store.down = True
    writer = opened(store)
    write(writer, ended=False, records=examples.sweep()[:4])
    assert any("kept in memory" in message for message in told)
    (tmp_path / "outbox").unlink()
    for record in examples.sweep()[4:]:
        writer.add(record)
    writer.close(LONGEST_S)
    assert opened(Interruptible()).flush(LONGEST_S)
    assert left_in(tmp_path) == []
    assert sum("kept in memory" in message for message in told) == 1


def test_an_outbox_that_cannot_be_written_while_the_store_can(opened, store, told, tmp_path):
    (tmp_path / "outbox").write_text("in the way")
    writer = opened(store)
    write(writer)
    assert writer.flush(LONGEST_S)
    assert store.workflow("w1") == examples.workflow()
    assert len(told) == 1


def test_one_workflow_that_cannot_be_saved_does_not_hold_up_the_others(opened, told):
    class Picky(MemoryHistory):
        def save(self, workflow):
            if workflow.run.workflow_id == "bad":
                raise HistoryError("not this one")
            return super().save(workflow)

    store = Picky()
    writer = opened(store)
    write(writer, "bad")
    write(writer, "good")
    writer.flush(LONGEST_S)
    assert ids(store.workflow("good").records) == ids(examples.sweep("good"))


def test_a_bug_in_the_store_or_in_the_callback_does_not_end_the_thread(tmp_path, caplog):
    class Buggy(Interruptible):
        def save(self, workflow):
            if self.down:
                raise ZeroDivisionError("a bug")
            return super().save(workflow)

    def on_trouble(message):
        raise RuntimeError("another bug")

    store = Buggy()
    store.prepare = lambda: None
    store.down = True
    writer = HistoryWriter(store, tmp_path / "outbox", on_trouble=on_trouble)
    write(writer)
    assert not writer.flush(LONGEST_S)
    store.down = False
    assert writer.flush(LONGEST_S)
    writer.close(LONGEST_S)


def test_only_logs_worth_keeping_are_kept(opened, store):
    writer = opened(store)
    good, bad = examples.record(fold=0), examples.failed(fold=1)
    writer.start_workflow(examples.run())
    writer.add(good, examples.failure_log(good))
    writer.add(bad, examples.failure_log(bad))
    finish(writer)
    assert writer.flush(LONGEST_S)
    logs = store.workflow("w1").logs
    assert logs[bad.record_id] == examples.failure_log(bad)
    assert logs[good.record_id].warnings
    assert logs[good.record_id].stdout == ""


def test_flush_does_not_wait_for_what_comes_later(opened):
    class Chased(MemoryHistory):
        """While a workflow is saved, there is news of it again."""

        chased = True
        fold = 100

        def save(self, workflow):
            if workflow.run.workflow_id == "busy" and self.chased:
                self.fold += 1
                writer.add(examples.record("busy", fold=self.fold))
            return super().save(workflow)

    store = Chased()
    writer = opened(store, clock=Clock())
    write(writer)
    write(writer, "busy", ended=False)
    try:
        assert writer.flush(20)  # and the time is never over
    finally:
        store.chased = False
    assert store.workflow("w1").end is not None
    assert store.fold > 100


def test_many_threads_at_once(opened, store):
    writer = opened(store, save_every_s=0.05)

    def work(n):
        write(writer, f"w{n}", records=[examples.record(f"w{n}", c) for c in range(25)])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.flush(LONGEST_S)
    assert len(store.read()[0]) == 200


def test_close_returns_though_the_store_hangs(opened, store, tmp_path):
    store.may_go_on.clear()
    writer = opened(store)
    write(writer)
    assert store.saving.wait(LONGEST_S)
    writer.close(0.5)
    assert store.saving.is_set()
    # Its files are still its own, so that no other process sends them too
    second = MemoryHistory()
    assert opened(second).flush(LONGEST_S)
    assert second.workflow("w1") is None
    store.may_go_on.set()


def test_mlflow_whose_folder_comes_back(opened, told, tmp_path):
    """The place of the database is taken by a file at first: nothing can be stored there."""
    place = tmp_path / "place"
    place.write_text("in the way")
    writer = opened(MlflowHistory(f"sqlite:///{place}/mlflow.db"))
    write(writer)
    assert not writer.flush(LONGEST_S)
    assert len(told) == 1
    assert "can't be made" in told[0]
    place.unlink()
    assert writer.flush(LONGEST_S)
    assert ids(MlflowHistory(f"sqlite:///{place}/mlflow.db").read()[0]) == ids(examples.sweep())
    assert left_in(tmp_path) == []
