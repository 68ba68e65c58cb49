"""Processes that share an outbox and go on with each other's workflow, in any order."""

import tempfile
import threading
from datetime import timedelta
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from fitcast.errors import HistoryError
from fitcast.history.outbox import read_workflow
from fitcast.history.records import Outcome
from fitcast.history.store import MemoryHistory
from fitcast.history.writer import HistoryWriter
from tests.history import examples
from tests.listing import files_matching
from tests.polling import LONGEST_S, wait_for

MOST_PROCESSES = 4


class Connection:
    """One process's way to a store that all share: it may be down, slow, or be cut off."""

    source = "memory:shared"
    models = None

    def __init__(self, shared, network):
        self._shared = shared
        self._network = network
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.killed = None  # or what of the save under way gets through: "nothing", "all"

    def prepare(self):
        if self.killed is not None or not self._network["up"]:
            raise HistoryError("Nobody answers; start the server")

    def save(self, workflow):
        self.prepare()
        assert self.may_go_on.wait(LONGEST_S)
        if self.killed == "nothing":
            raise HistoryError("killed before it was done")
        address = self._shared.save(workflow)
        if self.killed == "all":
            raise HistoryError("killed before it knew")
        return address

    def read(self, cursor=None, limit=None):
        return self._shared.read(cursor, limit)

    def url(self, workflow_id):
        return self._shared.url(workflow_id)


class Together:
    """Processes with one outbox and one store."""

    def __init__(self, outbox):
        self.shared = MemoryHistory()
        self.network = {"up": True}
        self.outbox = outbox
        self.all = []

    def start(self):
        connection = Connection(self.shared, self.network)
        writer = HistoryWriter(
            connection, self.outbox, on_trouble=[].append, save_every_s=0.0, clock=lambda: 0.0
        )
        self.all.append((writer, connection))
        return writer, connection

    def stop(self, writer, connection, through="nothing"):
        """Kill a process."""
        connection.killed = through
        connection.may_go_on.set()
        writer.close(LONGEST_S)
        self.all.remove((writer, connection))

    def close(self):
        for writer, connection in self.all:
            connection.may_go_on.set()
            writer.close(LONGEST_S)

    def stored_ids(self):
        return {r.record_id for r in self.shared.workflow("w1").records}


@pytest.fixture
def together(tmp_path):
    together = Together(tmp_path / "outbox")
    yield together
    together.close()


FIRST, SECOND, THIRD = (examples.record(fold=n) for n in range(3))


def finish(writer, state="succeeded"):
    end = examples.end(state)
    writer.finish_workflow("w1", state=state, summary_metrics={}, ended_at=end.ended_at)


def left_files(together):
    return files_matching(together.outbox, "*/*.jsonl")


def ids(*records):
    return {r.record_id for r in records}


@pytest.mark.parametrize("resumed_first", [False, True])
def test_who_took_over_leaves_a_workflow_to_who_resumes_it(together, resumed_first):
    together.network["up"] = False
    killed, (resuming, _) = together.start(), together.start()
    killed[0].start_workflow(examples.run())
    killed[0].add(FIRST)
    together.stop(*killed)
    if resumed_first:
        resuming.start_workflow(examples.run())
    plain, _ = together.start()
    plain.flush(LONGEST_S)  # it has taken over what there is to take
    if not resumed_first:
        resuming.start_workflow(examples.run())
    resuming.add(SECOND)
    together.network["up"] = True
    assert resuming.flush(LONGEST_S)
    assert plain.flush(LONGEST_S)
    assert together.shared.workflow("w1").end is None
    assert together.stored_ids() == ids(FIRST, SECOND)
    finish(resuming)
    assert resuming.flush(LONGEST_S)
    assert together.shared.workflow("w1").end.state == "succeeded"
    assert left_files(together) == []


def test_who_closed_a_workflow_leaves_it_to_who_resumes_it(together):
    together.network["up"] = False
    (closing, _), (resuming, _) = together.start(), together.start()
    closing.start_workflow(examples.run())
    closing.add(FIRST)
    finish(closing, "interrupted")
    assert not closing.flush(LONGEST_S)
    resuming.start_workflow(examples.run())
    together.network["up"] = True
    assert resuming.flush(LONGEST_S)
    assert closing.flush(LONGEST_S)
    assert together.shared.workflow("w1").end is None
    assert together.stored_ids() == ids(FIRST)


def test_who_resumes_waits_for_a_save_under_way_and_then_goes_on(together):
    (closing, connection), (resuming, _) = together.start(), together.start()
    assert closing.flush(LONGEST_S)
    connection.may_go_on.clear()
    closing.start_workflow(examples.run())
    closing.add(FIRST)
    finish(closing, "interrupted")
    assert wait_for(lambda: any(together.outbox.glob(".sending-*")))
    resuming.start_workflow(examples.run())
    resuming.add(SECOND)
    resuming.start_workflow(examples.run("w2"))  # its turn comes after the other's
    assert wait_for(lambda: together.shared.workflow("w2"))
    assert together.shared.workflow("w1") is None
    connection.may_go_on.set()
    assert closing.flush(LONGEST_S)
    assert resuming.flush(LONGEST_S)
    assert together.shared.workflow("w1").end is None
    assert together.stored_ids() == ids(FIRST, SECOND)


def test_what_is_left_later_waits_for_the_end_of_who_resumed(together):
    together.network["up"] = False
    slow, (resuming, _) = together.start(), together.start()
    slow[0].start_workflow(examples.run())
    resuming.start_workflow(examples.run())
    slow[0].add(THIRD)  # it didn't know yet that it is gone
    together.stop(*slow)
    together.network["up"] = True
    resuming.add(FIRST)
    assert resuming.flush(LONGEST_S)
    plain, _ = together.start()
    assert plain.flush(LONGEST_S)
    assert together.shared.workflow("w1").end is None
    finish(resuming)
    assert resuming.flush(LONGEST_S)
    last, _ = together.start()
    assert last.flush(LONGEST_S)
    assert together.shared.workflow("w1").end == examples.end()
    assert together.stored_ids() == ids(FIRST, THIRD)
    assert left_files(together) == []


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_workflow_that_goes_on_has_no_end_in_the_outbox(together, elsewhere):
    together.network["up"] = False
    first, second = together.start(), together.start()
    first[0].start_workflow(examples.run())
    first[0].add(FIRST)
    finish(first[0], "interrupted")
    again = second if elsewhere else first
    again[0].start_workflow(examples.run())
    again[0].add(SECOND)
    again[0].add(FIRST)  # given again, it isn't written again
    (left,) = left_files(together)
    assert left.read_text().count('"record_id"') == 2
    found = read_workflow(left)
    assert found.end is None
    assert ids(*found.records) == ids(FIRST, SECOND)


class Sharing(RuleBasedStateMachine):
    """A workflow goes from process to process; some only start up and send what was left."""

    def __init__(self):
        super().__init__()
        self.shared = MemoryHistory()
        self.network = {"up": True}
        self.processes = []  # pairs of writer and connection
        self.running = None  # the process that runs the workflow: the engine lets only one
        self.ended = False
        self.added = []
        self.kept = []  # the attempts that the engine gives again
        self.cursor, self.read = None, []
        self.minute = 0

    @initialize()
    def begin(self):
        self.home = tempfile.TemporaryDirectory()
        self.outbox = Path(self.home.name) / "outbox"
        self.start_up()

    def start_up(self):
        connection = Connection(self.shared, self.network)
        told = []
        writer = HistoryWriter(
            connection, self.outbox, on_trouble=told.append, save_every_s=0.0, clock=lambda: 0.0
        )
        self.processes.append((writer, connection))

    def some(self, number):
        return self.processes[number % len(self.processes)]

    @rule()
    @precondition(lambda self: len(self.processes) < MOST_PROCESSES)
    def another_client_starts(self):
        self.start_up()

    @rule(number=st.integers(0, MOST_PROCESSES))
    @precondition(lambda self: self.running is None and not self.ended and self.processes)
    def resume(self, number):
        self.running = self.some(number)
        self.running[0].start_workflow(examples.run())
        for record in self.kept:
            self.running[0].add(record, None)

    @rule(kept=st.booleans())
    @precondition(lambda self: self.running is not None)
    def attempt_ends(self, kept):
        number = len(self.added)
        record = (
            examples.record(candidate=number % 3, fold=number)
            if kept
            else examples.failed(candidate=number % 3, fold=number, outcome=Outcome.WORKER_LOST)
        )
        self.added.append(record)
        if kept:
            self.kept.append(record)
        self.running[0].add(record, None)

    @rule(state=st.sampled_from(["interrupted", "interrupted", "succeeded"]))
    @precondition(lambda self: self.running is not None)
    def it_ends(self, state):
        self.minute += 1
        self.running[0].finish_workflow(
            "w1",
            state=state,
            summary_metrics={},
            ended_at=examples.START + timedelta(days=1, minutes=self.minute),
        )
        self.running = None
        self.ended = state == "succeeded"

    @rule(number=st.integers(0, MOST_PROCESSES), through=st.sampled_from(["nothing", "all"]))
    @precondition(lambda self: self.processes)
    def kill(self, number, through):
        writer, connection = process = self.some(number)
        connection.killed = through
        for _, other in self.processes:  # closing waits for who sends the same workflow
            other.may_go_on.set()
        writer.close(LONGEST_S)
        self.processes.remove(process)
        if self.running is process:
            self.running = None

    @rule(number=st.integers(0, MOST_PROCESSES))
    @precondition(lambda self: self.running is not None and len(self.processes) > 1)
    def another_client_takes_over_from_one_that_is_killed(self, number):
        self.network["up"] = False
        self.kill(self.processes.index(self.running), "nothing")
        self.start_up()
        self.processes[-1][0].flush(LONGEST_S)  # it has taken over what there is to take
        self.resume(number)

    @rule(number=st.integers(0, MOST_PROCESSES))
    @precondition(lambda self: self.processes)
    def a_save_takes_long(self, number):
        self.some(number)[1].may_go_on.clear()

    @rule(number=st.integers(0, MOST_PROCESSES))
    @precondition(lambda self: self.processes)
    def it_goes_on(self, number):
        self.some(number)[1].may_go_on.set()

    @rule(up=st.booleans())
    def the_network_changes(self, up):
        self.network["up"] = up

    @rule()
    def send_what_there_is(self):
        self.network["up"] = True
        for _, connection in self.processes:
            connection.may_go_on.set()
        if self.running is not None:
            assert self.running[0].flush(LONGEST_S)
        for writer, _ in self.processes:
            assert writer.flush(LONGEST_S)
        if self.running is not None:
            assert self.running[0].flush(LONGEST_S)
            stored = self.shared.workflow("w1")  # whatever others found, it runs
            assert stored is not None
            assert stored.end is None
            assert {r.record_id for r in stored.records} == {r.record_id for r in self.added}

    @rule()
    def somebody_reads(self):
        records, self.cursor = self.shared.read(self.cursor)
        self.read += records

    def teardown(self):
        self.network["up"] = True
        for _, connection in self.processes:
            connection.may_go_on.set()
        if self.running is not None:
            self.it_ends("interrupted")
        for writer, _ in self.processes:
            writer.close(LONGEST_S)
        self.processes.clear()
        self.start_up()
        writer = self.processes[0][0]
        assert writer.flush(LONGEST_S)
        writer.close(LONGEST_S)
        self.somebody_reads()
        added = sorted(r.record_id for r in self.added)
        assert sorted(r.record_id for r in self.read) == added
        stored = self.shared.workflow("w1")
        if stored is not None:
            assert stored.end.state == ("succeeded" if self.ended else "interrupted")
        assert [str(p) for p in self.outbox.glob("*")] == []
        self.home.cleanup()


Sharing.TestCase.settings = settings(max_examples=12, stateful_step_count=20, deadline=None)
TestSharing = Sharing.TestCase
