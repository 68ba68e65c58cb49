"""Group commits and patience, on real stores, in virtual time."""

import threading

import numpy as np
import pytest

from fitcast.errors import InternalError, InvalidSweepError, StoreError
from fitcast.scheduler.kept.committer import Committer
from fitcast.scheduler.kept.results import ResultStore
from fitcast.trainer.sealing import new_key
from tests.polling import LONGEST_S
from tests.scheduler.kept.keeping import ended, numbers_of
from tests.scheduler.kept.virtual_time import VirtualTime


class Told:
    """Keeps what is told of commits, and waits for it."""

    def __init__(self):
        self.of = {}
        self.threads = set()
        self._changed = threading.Condition()

    def then(self, name, do=lambda: None):
        def told(what):
            do()
            with self._changed:
                self.of.setdefault(name, []).append(what)
                self.threads.add(threading.current_thread().name)
                self._changed.notify_all()

        return told

    def wait(self, *names):
        with self._changed:
            assert self._changed.wait_for(lambda: set(names) <= set(self.of), LONGEST_S)
        assert all(len(what) == 1 for what in self.of.values())  # each once
        return [self.of[name][0] for name in names]


class Stores:
    """Stores on this machine whose folder can be made impossible, and possible again."""

    def __init__(self, folder):
        self.folder = folder
        self.key = new_key()

    def store(self, name):
        return ResultStore(str(self.folder / name), self.key, name)

    def block(self, name):
        (self.folder / name).write_bytes(b"in the way")
        return self.store(name)

    def free(self, name):
        (self.folder / name).unlink()

    def files(self, name):
        return list((self.folder / name / "results").iterdir())


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def stores(tmp_path):
    return Stores(tmp_path)


@pytest.fixture
def time():
    return VirtualTime()


@pytest.fixture
def troubles():
    return []


@pytest.fixture
def committer(time, troubles):
    made = Committer(
        lambda *trouble: troubles.append(trouble), apart_s=0, clock=time.clock, wait=time.wait
    )
    yield made
    made.close(LONGEST_S)


class Gate:
    """Holds the committer's thread in what it tells, until it is opened."""

    def __init__(self):
        self._reached, self._open = threading.Event(), threading.Event()

    def __call__(self):
        self._reached.set()
        assert self._open.wait(LONGEST_S)

    def reached(self):
        assert self._reached.wait(LONGEST_S)

    def open(self):
        self._open.set()


def test_commits_are_told_on_the_committers_thread(committer, stores, told, troubles):
    store = stores.store("w")
    committer.commit(store, [ended(0), ended(1)], told.then("a"))
    (kept,) = told.wait("a")
    assert numbers_of(kept) == [0, 1]
    assert store.load()[0] == kept
    assert told.threads == {"fitcast-committer"}
    assert troubles == []


def test_what_waits_of_a_workflow_goes_into_one_file(committer, stores, told):
    store, other, gate = stores.store("w"), stores.store("v"), Gate()
    committer.commit(store, [ended(0)], told.then("first", gate))
    gate.reached()
    for number in range(1, 51):
        committer.commit(store, [ended(number)], told.then(number))
    committer.commit(other, [ended(99)], told.then("other"))
    gate.open()
    all_kept = told.wait(*range(1, 51))
    assert [numbers_of(kept) for kept in all_kept] == [[number] for number in range(1, 51)]
    told.wait("other")
    assert len(stores.files("w")) == 2
    assert len(stores.files("v")) == 1
    assert numbers_of(store.load()[0]) == list(range(51))


def test_commits_begin_some_time_apart(stores, told, time):
    committer = Committer(print, apart_s=0.5, clock=time.clock, wait=time.wait)
    store = stores.store("w")

    def more():
        committer.commit(store, [ended(2)], told.then(2))

    time.at_wait[1] = more
    second = store, [ended(1)], told.then(1)
    committer.commit(store, [ended(0)], told.then(0, lambda: committer.commit(*second)))
    told.wait(0, 1, 2)
    assert time.waits_s == [0.5]  # the first didn't wait; the others did, and went together
    assert len(stores.files("w")) == 2
    committer.close(LONGEST_S)


def test_large_results_go_into_several_files(committer, stores, told, monkeypatch):
    monkeypatch.setattr("fitcast.scheduler.kept.committer._GROUP_BYTES", 5000)
    store, gate = stores.store("w"), Gate()
    committer.commit(store, [ended(0)], told.then("first", gate))
    gate.reached()
    for number in range(1, 7):
        committer.commit(store, [ended(number, rows=250)], told.then(number))  # 2,000 bytes
    committer.commit(store, [ended(7, rows=5000)], told.then(7))
    gate.open()
    told.wait(*range(1, 8))
    assert len(stores.files("w")) == 1 + 3 + 1
    assert numbers_of(store.load()[0]) == list(range(8))


def test_a_full_disk_is_told_once_and_tried_again(committer, stores, told, time, troubles):
    time.at_wait[4] = lambda: stores.free("w")
    store = stores.block("w")
    committer.commit(store, [ended(0)], told.then("a"))
    (kept,) = told.wait("a")
    assert numbers_of(kept) == [0]
    assert time.waits_s == [1.0, 2.0, 4.0, 8.0]
    (workflow_id, text), over = troubles
    assert workflow_id == "w"
    assert "results can't be kept" in text
    assert over == ("w", "")
    assert store.load() == (kept, [])


def test_a_second_trouble_is_told_again_and_begins_with_short_pauses(
    committer, stores, told, time, troubles
):
    time.at_wait[2] = lambda: stores.free("w")
    store = stores.block("w")
    committer.commit(store, [ended(0)], told.then("a"))
    told.wait("a")
    store.remove()
    (stores.folder / "w").rmdir()
    stores.block("w")
    time.at_wait[3] = lambda: stores.free("w")
    committer.commit(store, [ended(1)], told.then("b"))
    told.wait("b")
    assert time.waits_s == [1.0, 2.0, 1.0]
    assert [bool(text) for _, text in troubles] == [True, False, True, False]


def test_patience_has_an_end(stores, told, time, troubles):
    committer = Committer(
        lambda *trouble: troubles.append(trouble),
        patience_s=100,
        apart_s=0,
        clock=time.clock,
        wait=time.wait,
    )
    store = stores.block("w")
    committer.commit(store, [ended(0)], told.then("a"))
    (error,) = told.wait("a")
    assert isinstance(error, StoreError)
    assert time.waits_s == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    committer.close(LONGEST_S)
    assert [bool(text) for _, text in troubles] == [True, False]
    stores.free("w")
    assert store.load() == ([], [])


def test_a_workflow_whose_disk_is_full_holds_up_no_other(committer, stores, told, time):
    blocked, other = stores.block("w"), stores.store("v")
    time.at_wait[2] = lambda: committer.commit(other, [ended(1)], told.then("other"))
    time.at_wait[3] = lambda: committer.commit(blocked, [ended(2)], told.then("b"))
    time.at_wait[5] = lambda: stores.free("w")
    committer.commit(blocked, [ended(0)], told.then("a", lambda: told.wait("other")))
    a, b, _ = told.wait("a", "b", "other")
    assert numbers_of(a) + numbers_of(b) == [0, 2]
    assert len(stores.files("w")) == 1
    assert numbers_of(other.load()[0]) == [1]


def test_what_waits_of_a_workflow_can_be_given_up(committer, stores, told, time, troubles):
    blocked = stores.block("w")
    time.at_wait[3] = lambda: committer.give_up("w")
    committer.give_up("w")  # nothing waits: nothing happens
    committer.commit(blocked, [ended(0)], told.then("a"))
    (error,) = told.wait("a")
    assert isinstance(error, StoreError)
    assert "given up" in str(error)
    assert len(time.waits_s) == 3
    stores.free("w")
    committer.commit(blocked, [ended(1)], told.then("b"))
    (kept,) = told.wait("b")
    assert numbers_of(kept) == [1]
    assert [bool(text) for _, text in troubles] == [True, False]


def test_what_is_being_committed_while_it_is_given_up_is_told_as_kept(committer, stores, told):
    store, gate = stores.store("w"), Gate()
    committer.commit(store, [ended(0)], told.then("a", gate))
    gate.reached()
    committer.commit(store, [ended(1)], told.then("b"))
    committer.give_up("w")
    gate.open()
    kept, error = told.wait("a", "b")
    assert numbers_of(kept) == [0]
    assert isinstance(error, StoreError)
    assert numbers_of(store.load()[0]) == [0]


def test_a_result_that_cannot_be_kept_at_all_harms_no_other(committer, stores, told):
    store, gate = stores.store("w"), Gate()
    committer.commit(store, [ended(0)], told.then("first", gate))
    gate.reached()
    odd = {
        1: ended(1, predictions=np.zeros(3, dtype=[("a", float)])),
        3: ended(3, outcome="no such outcome"),
    }
    for number in range(1, 5):
        committer.commit(store, [odd.get(number, ended(number))], told.then(number))
    gate.open()
    plain, kept, fault, last = told.wait(1, 2, 3, 4)
    assert isinstance(plain, InvalidSweepError)
    assert isinstance(fault, InternalError)
    assert numbers_of(kept) == [2]
    assert numbers_of(last) == [4]
    assert numbers_of(store.load()[0]) == [0, 2, 4]


def test_a_listener_with_a_fault_stops_nothing(stores, told, time):
    def fails(*_):
        raise ZeroDivisionError

    committer = Committer(fails, apart_s=0, clock=time.clock, wait=time.wait)
    time.at_wait[1] = lambda: stores.free("w")
    committer.commit(stores.block("w"), [ended(0)], fails)
    committer.commit(stores.store("v"), [ended(1)], told.then("b"))
    told.wait("b")
    committer.close(LONGEST_S)
    assert len(stores.files("w")) == 1


def test_closing_commits_what_waits(committer, stores, told):
    store, gate = stores.store("w"), Gate()
    committer.commit(store, [ended(0)], told.then("a", gate))
    gate.reached()
    committer.commit(store, [ended(1)], told.then("b"))
    closing = threading.Thread(target=committer.close, args=(LONGEST_S,))
    closing.start()
    gate.open()
    closing.join(LONGEST_S)
    told.wait("a", "b")
    assert numbers_of(store.load()[0]) == [0, 1]
    committer.commit(store, [ended(2)], told.then("late"))
    (error,) = told.wait("late")
    assert "being closed" in str(error)


def test_closing_tries_once_more_what_failed(stores, told, time, troubles):
    committer = Committer(
        lambda *trouble: troubles.append(trouble), apart_s=0, clock=time.clock, wait=time.wait
    )
    closers = []

    def close():
        closers.append(threading.Thread(target=committer.close, args=(LONGEST_S,)))
        closers[0].start()

    time.at_wait[2] = close
    committer.commit(stores.block("w"), [ended(0)], told.then("a"))
    (error,) = told.wait("a")
    closers[0].join(LONGEST_S)
    assert isinstance(error, StoreError)
    assert [bool(text) for _, text in troubles] == [True, False]


def test_closing_waits_no_longer_than_it_may(stores, told):
    committer, gate = Committer(print), Gate()
    committer.commit(stores.store("w"), [ended(0)], told.then("a", gate))
    gate.reached()
    committer.commit(stores.store("w"), [ended(1)], told.then("b"))
    committer.close(0.0)
    (error,) = told.wait("b")
    assert "didn't answer" in str(error)
    gate.open()
    (kept,) = told.wait("a")
    assert numbers_of(kept) == [0]
    committer.close(LONGEST_S)
    assert numbers_of(stores.store("w").load()[0]) == [0]


def test_one_that_was_never_used_closes(committer):
    committer.close(0.0)
    committer.close(0.0)
