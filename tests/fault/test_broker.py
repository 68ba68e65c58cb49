"""The broker in trouble: killed, ended, stopped, without its database; workflows come through.

With real processes: `fitcast serve`, PostgreSQL. Beside them, in this process, what can't be opened
and what is cancelled at an awkward time.
"""

import os
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier

from fitcast import Client, Sweep, errors
from fitcast.history.file_locks import locked
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.store import BrokerStore
from fitcast.scheduler.session.remote import uploading
from fitcast.scheduler.session.remote.calls import BrokerCalls
from tests.brokers import Served, broker, no_broker_variables
from tests.cut_line import CutLine
from tests.gated import DEPTHS, FITS, FOLDS, Gated, X, Y, sweep
from tests.polling import LONGEST_S, wait_for
from tests.ports import free_port
from tests.postgres_server import PostgresServer, why_not
from tests.scheduler.broker.submissions import submission


@pytest.fixture(autouse=True)
def no_platform(monkeypatch):
    no_broker_variables(monkeypatch)


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"


@pytest.fixture
def home(tmp_path):
    return tmp_path / "platform"


@pytest.fixture(scope="module")
def postgres():
    if why_not():
        pytest.skip(why_not())
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def database(postgres):
    name = postgres.new_database()
    yield postgres.url(name)
    postgres.drop(name)


class Platform:
    """The platform's database, and clients of its users."""

    def __init__(self, home, url=None):
        self._home = home
        (home / "broker").mkdir(parents=True)
        for folder in (home, home / "broker"):
            folder.chmod(0o700)
        self.file = home / "broker" / "broker.db"
        self.store = BrokerStore(url or f"sqlite:///{self.file}").open()
        self._clients = []

    def client(self, served, user="ann"):
        if user not in {known.name for known in self.store.users()}:
            self.store.add_user(user)
        token = self.store.create_token(user, "test", frozenset({"read", "submit"}))[1]
        client = Client(served.url, token=token, home=self._home.with_name(f"client-{user}"))
        self._clients.append(client)
        return client

    def row(self, workflow):
        return self.store.get(workflow.id)

    def opened(self, workflow):
        """Return how many processes have had a workflow."""
        return int((self._home / "workflows" / workflow.id / "opened").read_text())

    def close(self):
        for client in self._clients:
            client.close()
        self.store.close()


@pytest.fixture
def platform(home):
    with closing(Platform(home)) as made:
        yield made


def begun(client, gate):
    """Return a workflow that runs, with a fit that is done and others that wait."""
    workflow = client.submit(sweep(gate, free=1))
    assert wait_for(lambda: workflow.state == "running" and workflow.counts()[0] >= 1)
    return workflow


def check_result(result):
    theirs = GridSearchCV(Gated(), {"depth": list(DEPTHS)}, cv=FOLDS).fit(X, Y)
    for name, values in theirs.cv_results_.items():
        if "test_score" in name:
            np.testing.assert_array_equal(result.cv_results_[name], values)
    assert result.best_params_["depth"] == theirs.best_params_["depth"]


def check_undisturbed(workflow, before=frozenset()):
    """Check that it came to what scikit-learn says, and that no fit ran again that had a result."""
    check_result(workflow.result(timeout_s=LONGEST_S))
    done = [record for record in workflow.records if record.outcome == "succeeded"]
    assert len({(one.candidate_index, one.fold) for one in done}) == len(done) == FITS + 1
    assert before <= {one.record_id for one in done}


def done_of(workflow):
    return {one.record_id for one in workflow.records if one.outcome == "succeeded"}


# -- the process ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_kill_in_the_middle_of_two_users_workflows(home, gate, platform):
    with Served(home, free_port()) as served, ThreadPoolExecutor(2) as waiting:
        clients = [platform.client(served, user) for user in ("ann", "bob")]
        first = begun(clients[0], gate)
        # the second finds both workers taken by fits that wait: it is taken, and none of its runs
        second = clients[1].submit(sweep(gate, free=1))
        assert wait_for((home / "workflows" / second.id / "opened").exists)
        assert platform.row(second).state is State.RUNNING
        workflows = [first, second]
        before = [done_of(workflow) for workflow in workflows]
        results = [
            waiting.submit(client.workflow(workflow.id).result, LONGEST_S)
            for client, workflow in zip(clients, workflows, strict=True)
        ]
        served.kill()  # leaves no process
        gate.touch()
        served.start()
        for workflow, known, result in zip(workflows, before, results, strict=True):
            check_result(result.result(LONGEST_S))
            check_undisturbed(workflow, known)
            assert platform.opened(workflow) == 2
    assert {row.state for row in platform.store.workflows()} == {State.SUCCEEDED}


@pytest.mark.slow
def test_sigterm_gives_back_at_once_and_another_goes_on(home, gate, platform):
    port, patient = free_port(), {"BROKER_LEASE_S": 3600}
    with Served(home, port, **patient) as served:
        workflow = begun(platform.client(served), gate)
        before = done_of(workflow)
        served.end()
        assert platform.row(workflow).state is State.QUEUED
        gate.touch()
        served.start()
        check_undisturbed(workflow, before)


def large_sweep():
    data = make_classification(20_000, 8, random_state=0)
    return Sweep({"tree": (DecisionTreeClassifier(random_state=0), {"max_depth": [2]})}, *data)


@pytest.mark.slow
def test_a_kill_during_an_upload_costs_a_piece(home, platform, monkeypatch):
    blocks = []
    with Served(home, free_port()) as served:
        client = platform.client(served)

        def piece(path, offset):
            with path.open("rb") as file:
                file.seek(offset)
                for _ in range(8):
                    blocks.append(offset)
                    if len(blocks) == 12:  # within the second piece
                        served.kill()
                        starting.start()
                    if data := file.read(2**16):
                        yield data

        starting = threading.Thread(target=served.start)
        monkeypatch.setattr(uploading, "_piece", piece)
        workflow = client.submit(large_sweep())
        starting.join()
        assert workflow.result(timeout_s=LONGEST_S).best_score_ > 0.5
        assert len(set(blocks)) > 2


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_between_announcement_and_commit(home, platform, monkeypatch, when):
    commit, calls = BrokerCalls.commit, []
    with Served(home, free_port()) as served:

        def interrupted(self, workflow_id):
            calls.append(workflow_id)
            if when == "after":
                commit(self, workflow_id)  # its answer is lost
            served.kill()
            served.start()
            return commit(self, workflow_id)

        monkeypatch.setattr(BrokerCalls, "commit", interrupted)
        workflow = platform.client(served).submit(sweep())
        check_undisturbed(workflow)
        assert calls == [workflow.id]
        assert [row.workflow_id for row in platform.store.workflows()] == [workflow.id]


# -- several replicas ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_replica_is_killed_and_the_other_goes_on(home, gate, database):
    with (
        closing(Platform(home, database)) as platform,
        Served(home, free_port(), BROKER_DATABASE=database) as first,
    ):
        workflow = begun(platform.client(first), gate)
        before = done_of(workflow)
        with Served(home, free_port(), BROKER_DATABASE=database) as second:
            first.kill()
            gate.touch()
            check_undisturbed(platform.client(second).workflow(workflow.id), before)
            assert platform.row(workflow).state is State.SUCCEEDED


@pytest.mark.slow
def test_a_replica_that_stands_still_is_waited_for_and_writes_over_nothing(home, gate, database):
    with (
        closing(Platform(home, database)) as platform,
        Served(home, free_port(), BROKER_DATABASE=database) as first,
    ):
        workflow = begun(platform.client(first), gate)
        before = done_of(workflow)
        with Served(home, free_port(), BROKER_DATABASE=database) as second:
            first.send(signal.SIGSTOP)
            seen = platform.client(second).workflow(workflow.id)
            assert wait_for(lambda: any("another replica" in note for note in seen.notes))
            assert not seen.is_over
            gate.touch()
            first.send(signal.SIGCONT)
            check_undisturbed(seen, before)
            assert platform.row(workflow).error == ""


@pytest.mark.slow
def test_a_replica_that_alone_lost_the_database_gives_up_what_another_may_run(
    home, gate, postgres, database
):
    line = CutLine(postgres.folder)
    url = database.replace(str(postgres.folder), str(line.folder))
    try:
        with (
            closing(Platform(home, database)) as platform,
            Served(home, free_port(), BROKER_DATABASE=url) as first,
        ):
            workflow = begun(platform.client(first), gate)
            before = done_of(workflow)
            had_it = platform.row(workflow)
            with Served(home, free_port(), BROKER_DATABASE=database) as second:
                line.cut()
                seen = platform.client(second).workflow(workflow.id)
                # while the gate is shut nothing ends by itself: it is given up, and gone on with
                assert wait_for(lambda: platform.opened(workflow) == 2)
                assert wait_for(lambda: seen.state == "running" and seen.counts()[1] > 0)
                has_it = platform.row(workflow)
                assert has_it.replica != had_it.replica
                assert has_it.fence > had_it.fence
                assert httpx.get(f"{first.url}/readyz").status_code == 503
                line.mend()
                assert wait_for(lambda: httpx.get(f"{first.url}/readyz").status_code == 200)
                gate.touch()
                check_undisturbed(seen, before)
                assert platform.opened(workflow) == 2
                assert platform.row(workflow).state is State.SUCCEEDED
                # the one that was cut off is of use again
                check_undisturbed(platform.client(first).submit(sweep()))
    finally:
        line.remove()


# -- the database --------------------------------------------------------------------------------


def outlasted(leases):
    """Wait until so many leases of 2 s would have lapsed."""
    until_s = time.monotonic() + 2.0 * leases
    return wait_for(lambda: time.monotonic() > until_s)


@pytest.mark.slow
def test_what_runs_goes_on_while_postgresql_is_away(home, gate, postgres, database):
    with (
        closing(Platform(home, database)) as platform,
        Served(home, free_port(), BROKER_DATABASE=database) as served,
    ):
        client = platform.client(served)
        workflow = begun(client, gate)
        before = done_of(workflow)
        token = platform.store.create_token("ann", "test", frozenset({"read"}))[1]
        postgres.stop()
        answer = httpx.get(f"{served.url}/v1/about", headers={"Authorization": f"Bearer {token}"})
        ready = httpx.get(f"{served.url}/readyz").status_code
        gate.touch()
        outlasted(2)
        postgres.start()
        assert (answer.status_code, ready) == (503, 503)
        assert float(answer.headers["Retry-After"]) > 0
        check_undisturbed(workflow, before)
        assert platform.opened(workflow) == 1
        assert platform.row(workflow).state is State.SUCCEEDED


@pytest.mark.slow
def test_what_runs_goes_on_while_sqlite_is_locked(home, gate, platform):
    with Served(home, free_port()) as served:
        workflow = begun(platform.client(served), gate)
        with closing(sqlite3.connect(platform.file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            outlasted(2)
            gate.touch()
            outlasted(3)
            other.execute("ROLLBACK")
        check_undisturbed(workflow)
        assert platform.opened(workflow) == 1


# -- in this process: what can't be opened, and awkward times -------------------------------------


class Unopenable(DecisionTreeClassifier):
    """Opened nowhere but where it was made."""

    def __reduce__(self):
        return _opened_in, (os.getpid(),)


def _opened_in(pid):
    if os.getpid() != pid:
        raise RuntimeError("not here")
    return Unopenable()


@pytest.mark.slow
def test_awkward_times(tmp_path, gate):
    with (
        broker(tmp_path / "home", lease_s=2.0) as there,
        Client(there.url, token=there.token("ann"), home=tmp_path) as client,
    ):
        root = there.home / "workflows"

        # held by a process that was lost: it waits, says so, and goes on; others pass it
        running = begun(client, gate)
        there.engine.interrupt(running.id)
        lock = locked(root / running.id / "lock", LONGEST_S)
        assert wait_for(lambda: any("another replica" in note for note in running.notes))
        assert not running.is_over
        assert client.submit(sweep()).wait(LONGEST_S).state == "succeeded"
        os.close(lock)
        assert wait_for(lambda: running.state == "running")
        with pytest.raises(errors.SubmissionError, match="cancel it first"):
            client.remove(running.id)

        # a key that can't be had for now
        keys = there.home / "broker" / "keys.json"
        keys.rename(keys.with_suffix(".away"))
        # (a submission needs it too: it is refused and leaves nothing)
        with pytest.raises(errors.BrokerError):
            client.submit(sweep())
        keys.with_suffix(".away").rename(keys)

        running.cancel()
        assert running.wait(LONGEST_S).state == "cancelled"
        gate.touch()

        # an estimator that opens nowhere ends its workflow alone
        grid = {"tree": (Unopenable(), {"max_depth": [1]})}
        with pytest.raises(errors.FitcastError):
            client.submit(Sweep(grid, X, Y, cv=2)).result(LONGEST_S)
        assert client.submit(sweep()).wait(LONGEST_S).state == "succeeded"


def test_an_end_that_the_queue_was_not_told_is_found(tmp_path):
    with (
        broker(tmp_path / "home", lease_s=2.0) as there,
        Client(there.url, token=there.token("ann"), home=tmp_path) as client,
    ):
        end, told = there.store.end, []

        def lost(*how):
            told.append(how)
            if len(told) == 1:
                raise errors.LostLeaseError("as if another replica had been faster")
            return end(*how)

        there.store.end = lost
        workflow = client.submit(sweep())
        check_undisturbed(workflow)
        assert len(told) == 2
        assert there.store.get(workflow.id).state is State.SUCCEEDED


def test_cancels_at_awkward_times(tmp_path, gate):
    with (
        broker(tmp_path / "home", running=1) as there,
        Client(there.url, token=there.token("ann"), home=tmp_path) as client,
    ):
        resume, opening, goes_on = there.engine.resume, threading.Event(), threading.Event()

        def slow(*which, **how):
            opening.set()
            goes_on.wait(LONGEST_S)
            return resume(*which, **how)

        there.engine.resume = slow
        first = client.submit(sweep(gate))
        assert opening.wait(LONGEST_S)
        queued = client.submit(sweep(gate))
        queued.cancel()
        assert there.store.get(queued.id).state is State.CANCELLED
        first.cancel()  # while it is opened
        assert there.store.get(first.id).state is State.RUNNING
        goes_on.set()
        assert first.wait(LONGEST_S).state == "cancelled"
        assert queued.wait(LONGEST_S).state == "cancelled"
        for workflow in (first, queued):
            client.remove(workflow.id)

        # one that was only announced
        there.store.add(there.store.user("ann").user_id, submission("announced"))
        client.remove("announced")
        assert there.store.workflows() == []
        assert list((there.home / "workflows").iterdir()) == []
