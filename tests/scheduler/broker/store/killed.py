"""A replica's whole life with a few workflows, killed at a commit."""

import json
import os
import signal

from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.resources import Resources
from fitcast.scheduler.broker.store import BrokerStore
from tests.scheduler.broker.submissions import progress, submission

REPLICA = "killed"


def life(store, told):
    """Do all that a store can do, and tell of each thing once it is done."""
    user = store.add_user("ana")
    told("user", "ana")
    _, secret = store.create_token("ana")
    told("token", secret)
    for name in ("done", "lost", "given-back", "cancelled", "waits"):
        store.add(user.user_id, submission(name, idempotency_key=name))
        told("added", name)
        store.note_received(name, "dataset", 0, 60)
        told("received", name)
        store.note_received(name, "dataset", 60, 40)
        store.note_received(name, "sweep", 0, 10)
        store.accept(name)
        told("accepted", name)
    fences = {}
    for name in ("done", "lost", "given-back", "cancelled"):
        fences[name] = store.claim(name, REPLICA, -1.0).fence
        told("claimed", name)
    store.renew(REPLICA, -1.0, {name: (fence, progress(3)) for name, fence in fences.items()})
    store.charge(user.user_id, Resources(10.0), 3600.0)
    told("charged", 10.0)
    store.give_back("given-back", fences["given-back"])
    store.ask_cancel("cancelled")
    told("asked", "cancelled")
    store.end("cancelled", fences["cancelled"], State.CANCELLED)
    store.end("done", fences["done"], State.SUCCEEDED)
    told("ended", "done")
    store.remove("cancelled")
    told("removed", "cancelled")
    store.note_audit("ana", "everything", "", "ok")


def dies_at(url, commit, after):
    """Live in a process that kills itself at its n-th commit; return what it told."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            store = BrokerStore(url)
            _deadly(store, commit, after)
            life(store, lambda *what: os.write(writing, json.dumps(what).encode() + b"\n"))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = [json.loads(line) for line in pipe]
    _, status = os.waitpid(pid, 0)
    return told, os.WIFSIGNALED(status)


def _deadly(store, commit, after):
    dialect = store._database.engine.dialect
    really, count = dialect.do_commit, 0

    def do_commit(connection):
        nonlocal count
        count += 1
        if count == commit and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        really(connection)
        if count == commit and after:
            os.kill(os.getpid(), signal.SIGKILL)

    dialect.do_commit = do_commit
