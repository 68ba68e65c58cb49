"""Processes that share an outbox and go on with each other's workflow, in any order."""

import tempfile
import threading
from datetime import timedelta
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from fitcast.errors import HistoryError
from fitcast.history.records import Outcome
from fitcast.history.store import MemoryHistory
from fitcast.history.writer import HistoryWriter
from tests.history import examples
from tests.polling import LONGEST_S

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
        connection.may_go_on.set()
        writer.close(LONGEST_S)
        self.processes.remove(process)
        if self.running is process:
            self.running = None

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
        if self.network["up"] and all(c.may_go_on.is_set() for _, c in self.processes):
            for writer, _ in self.processes:
                assert writer.flush(LONGEST_S)
            if self.running is not None:
                assert self.running[0].flush(LONGEST_S)
                # whatever others found, it runs
                stored = self.shared.workflow("w1")
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


Sharing.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestSharing = Sharing.TestCase
