"""Several replicas at one database: threads and processes, none ever has what another has."""

import json
import os
import random
import threading
from collections import Counter
from contextlib import suppress
from itertools import chain

import pytest
from sqlalchemy import event

from fitcast.errors import BrokerError, BrokerStoreError, IdempotencyError
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.quotas import Quota
from fitcast.scheduler.broker.store import BrokerStore
from tests.polling import wait_for
from tests.scheduler.broker.submissions import progress, queued, submission


def in_threads(*works):
    """Do several things at once; raise what any of them raised."""
    errors = []
    start = threading.Barrier(len(works))

    def run(work):
        try:
            start.wait()
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def in_processes(*works):
    """Do several things in processes of their own; return what each returned, as JSON has it."""
    pipes = []
    for work in works:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(reading)
                with os.fdopen(writing, "w") as pipe:
                    json.dump(work(), pipe)
                code = 0
            finally:
                os._exit(code)
        os.close(writing)
        pipes.append((pid, reading))
    results = []
    for pid, reading in pipes:
        with os.fdopen(reading) as pipe:
            told = pipe.read()
        assert os.waitpid(pid, 0)[1] == 0
        results.append(json.loads(told))
    return results


def claim_all(store, replica, workflow_ids, seed):
    ids = list(workflow_ids)
    random.Random(seed).shuffle(ids)
    won = []
    for workflow_id in ids:
        claimed = store.claim(workflow_id, replica, 60.0)
        if claimed is not None:
            assert claimed.replica == replica
            won.append(workflow_id)
    return won


def test_two_replicas_never_claim_the_same(database_url):
    with BrokerStore(database_url) as one, BrokerStore(database_url) as two:
        user_id = one.add_user("ana").user_id
        ids = [queued(one, user_id) for _ in range(40)]
        won = {}

        def claimer(store, replica, seed):
            won[replica] = claim_all(store, replica, ids, seed)

        in_threads(
            *[lambda s=s, n=n: claimer(s, f"r{n}", n) for n, s in enumerate([one, two, one, two])]
        )
        assert Counter(chain.from_iterable(won.values())) == Counter(ids)
        for replica, theirs in won.items():
            assert {w.workflow_id for w in one.running(replica)} == set(theirs)
        assert {w.fence for w in one.running()} == {1}


def test_processes_never_claim_the_same(database_url):
    with BrokerStore(database_url) as store:
        user_id = store.add_user("ana").user_id
        ids = [queued(store, user_id) for _ in range(40)]
        store.close()  # no connection is taken into another process

        def claimer(number):
            with BrokerStore(database_url) as own:
                return claim_all(own, f"r{number}", ids, number)

        won = in_processes(*[lambda n=n: claimer(n) for n in range(3)])
        assert Counter(chain.from_iterable(won)) == Counter(ids)


def test_a_lapsed_lease_is_taken_once(database_url):
    with BrokerStore(database_url) as one, BrokerStore(database_url) as two:
        user_id = one.add_user("ana").user_id
        ids = [queued(one, user_id) for _ in range(20)]
        for workflow_id in ids:
            one.claim(workflow_id, "lost", -1.0)
        taken = []
        in_threads(*[lambda s=s: taken.extend(s.take_lapsed()) for s in (one, two, one, two)])
        assert Counter(w.workflow_id for w in taken) == Counter(ids)


def test_one_renews_while_others_cancel_and_take(database_url):
    with BrokerStore(database_url) as one, BrokerStore(database_url) as two:
        user_id = one.add_user("ana").user_id
        ids = [queued(one, user_id) for _ in range(12)]
        fences = {i: one.claim(i, "r", 60.0).fence for i in ids}

        def renew():
            for done in range(10):
                told = {i: (fences[i], progress(done)) for i in ids}
                assert one.renew("r", 60.0, told) == set(ids)

        def cancel():
            for workflow_id in reversed(ids):
                two.ask_cancel(workflow_id)

        in_threads(renew, cancel, lambda: [two.take_lapsed() for _ in range(10)])
        assert all(w.cancel_asked and w.fits_done == 9 for w in one.running())


def test_the_same_request_at_once_makes_one_workflow(database_url):
    with BrokerStore(database_url) as one, BrokerStore(database_url) as two:
        user_id = one.add_user("ana").user_id
        made = []

        def submit(store):
            made.append(store.add(user_id, submission(idempotency_key="k")).workflow_id)

        in_threads(*[lambda s=s: submit(s) for s in (one, two) * 4])
        assert len(set(made)) == 1
        assert len(one.workflows()) == 1


def test_the_last_of_a_quota_is_taken_once(database_url):
    with BrokerStore(database_url) as one, BrokerStore(database_url) as two:
        user_id = one.add_user("ana", quota=Quota(queued_fits=30)).user_id
        refused = []

        def admits(_, holdings):
            if holdings.queued_fits >= 30:
                raise BrokerError("enough")

        def submit(store):
            try:
                store.add(user_id, submission(), admits)
            except BrokerError:
                refused.append(1)

        in_threads(*[lambda s=s: submit(s) for s in (one, two) * 4])
        assert (len(one.workflows()), len(refused)) == (3, 5)


def test_pieces_of_an_upload_at_once_are_taken_once(database_url):
    with BrokerStore(database_url) as one, BrokerStore(database_url) as two:
        one.add(one.add_user("ana").user_id, submission("w"))
        taken = []

        def send(store):
            with suppress(BrokerError):
                taken.append(store.note_received("w", "dataset", 0, 30))

        in_threads(*[lambda s=s: send(s) for s in (one, two) * 3])
        assert taken == [30]


def test_a_reader_misses_no_event(database_url):
    with BrokerStore(database_url) as one, BrokerStore(database_url) as two:
        user_id = one.add_user("ana").user_id
        seen, done = [], threading.Event()

        def submit(store):
            for _ in range(25):
                store.add(user_id, submission())

        def read():
            last = 0
            while True:
                stop = done.is_set()
                for told in two.events_after(last):
                    seen.append(told.seq)
                    last = told.seq
                if stop:
                    return

        def write():
            in_threads(*[lambda s=s: submit(s) for s in (one, two, one, two)])
            done.set()

        in_threads(read, write)
        assert seen == [told.seq for told in one.events_after(0)]
        assert len(seen) == 100


def test_writers_who_wait_share_a_commit_and_no_failure(store):
    user_id = store.add_user("ana").user_id
    store.add(user_id, submission(idempotency_key="k"))
    commits, failures = [], []
    database = store._database

    def other_body():
        try:
            store.add(user_id, submission(idempotency_key="k", request_sha256="other"))
        except IdempotencyError as error:
            failures.append(error)

    event.listen(database.engine, "commit", lambda _: commits.append(1))
    works = [lambda: store.add(user_id, submission())] * 8 + [other_body]
    threads = [threading.Thread(target=work) for work in works]

    def writes_long(_):
        for thread in threads:
            thread.start()
        assert wait_for(lambda: len(database._waiting) == len(works))

    database.write(writes_long)
    for thread in threads:
        thread.join()
    assert (len(commits), len(failures)) == (2, 1)
    assert len(store.workflows()) == 9


def test_a_fault_in_one_request_fails_that_alone(store):
    def faulty(writing):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store._database.write(faulty)
    user_id = store.add_user("ana").user_id
    assert store.get(queued(store, user_id)).state is State.QUEUED


def test_connections_that_were_cut_are_made_again(postgres_url, postgres_server):
    with BrokerStore(postgres_url) as store:
        user_id = store.add_user("ana").user_id
        cut = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'fitcast'"
        )
        for _ in range(3):
            queued(store, user_id)
            postgres_server.execute(cut)
            assert store.user("ana").user_id == user_id
            postgres_server.execute(cut)
        assert len(store.queued()) == 3


def test_what_was_accepted_outlives_a_crash_of_the_server(postgres_url, postgres_server):
    with BrokerStore(postgres_url) as store:
        user_id = store.add_user("ana").user_id
        workflow_id = queued(store, user_id)
        postgres_server.stop()
        try:
            with pytest.raises(BrokerStoreError, match="check that it runs"):
                store.get(workflow_id)
            with pytest.raises(BrokerStoreError, match="check that it runs"):
                store.claim(workflow_id, "r", 60.0)
        finally:
            postgres_server.start()
        assert store.get(workflow_id).state is State.QUEUED
        assert store.claim(workflow_id, "r", 60.0).fence == 1
