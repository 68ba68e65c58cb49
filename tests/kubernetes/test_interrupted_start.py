"""A workflow's cluster that is given up while it is made: at once, and nothing of it stays."""

import os
import socket
import threading
from contextlib import closing

import pytest

from fitcast import KubernetesBackend
from fitcast.errors import BackendError
from fitcast.scheduler.backends.kubernetes.objects import SCHEDULER_PORT
from fitcast.scheduler.backends.kubernetes.scheduler_pod import COMPONENT
from tests.emulated_cluster.cluster import EmulatedCluster, Node
from tests.emulated_cluster.in_memory_api import NAMESPACE, InMemoryApi
from tests.kubernetes.conftest import SMALL
from tests.kubernetes.workflow_clusters import Heard, workers_on

ADDRESS = f"127.241.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"
CREATED = ("daskclusters", "networkpolicies", "secrets", "secrets")


@pytest.fixture
def silent():
    """A scheduler that takes connections and never says a word; returns what notes the first."""
    connected = threading.Event()
    with socket.create_server((ADDRESS, SCHEDULER_PORT)) as server:

        def accept():
            with closing(server.accept()[0]):
                connected.set()
                done.wait(60)

        done = threading.Event()
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield connected
        done.set()


def operator(api, kind, body):
    """Make a scheduler that is ready of every cluster."""
    if kind != "daskclusters":
        return
    name = f"{body['metadata']['name']}-scheduler"
    owner = {"uid": body["metadata"]["uid"]}
    metadata = {
        "name": name,
        "labels": body["metadata"]["labels"] | COMPONENT,
        "ownerReferences": [owner],
    }
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    for made, more in (
        ("deployments", {}),
        ("pods", {"spec": {}, "status": ready}),
        ("services", {"spec": {"clusterIP": ADDRESS}}),
    ):
        api.store.create(made, NAMESPACE, {"metadata": metadata} | more)


def is_over():
    return not any(one.name in ("fitcast-cluster", "fitcast-pods") for one in threading.enumerate())


@pytest.mark.parametrize("number", range(7))
def test_interrupted_at_any_call_a_start_raises_and_nothing_stays(number, sealed, tmp_path):
    api = InMemoryApi(operator)
    workers = workers_on(api, sealed)
    api.before = lambda verb, kind: len(api.calls) == number + 1 and workers.interrupt()
    with pytest.raises(BackendError, match="given up"):
        workers.start(tmp_path, Heard())
    workers.close()
    assert len(api.calls) > number
    assert api.calls[-1] == ("delete", "daskclusters")
    assert api.left() == []
    assert is_over()


def test_interrupted_while_it_connects_a_start_raises_and_nothing_stays(silent, sealed, tmp_path):
    api = InMemoryApi(operator)
    workers = workers_on(api, sealed)

    def interrupt():
        assert silent.wait(60)
        workers.interrupt()

    other = threading.Thread(target=interrupt)
    other.start()
    with pytest.raises(BackendError, match="given up"):
        workers.start(tmp_path, Heard())
    workers.close()
    other.join(60)
    assert len(api.calls) == 10  # no call is left out above
    assert api.left() == []
    assert is_over()  # though the scheduler still says nothing


@pytest.mark.parametrize("number", range(len(CREATED)))
def test_what_is_on_its_way_when_all_is_deleted_goes_too(number, sealed, tmp_path):
    api = InMemoryApi(operator)
    workers = workers_on(api, sealed)
    on_its_way, arrives, deletes = threading.Event(), threading.Event(), threading.Event()

    def before(verb, kind):
        if len(api.calls) == number + 1:
            on_its_way.set()
            assert arrives.wait(60)
        elif verb == "delete":
            deletes.set()

    def interrupt():
        assert on_its_way.wait(60)
        workers.interrupt()

    api.before = before
    other = threading.Thread(target=interrupt)
    other.start()
    with pytest.raises(BackendError, match="given up"):
        workers.start(tmp_path, Heard())  # though the server hasn't answered yet
    other.join(60)
    closing_it = threading.Thread(target=workers.close)
    closing_it.start()
    assert not deletes.wait(0.2)
    arrives.set()
    closing_it.join(60)
    closed = ["daskworkergroups", "daskworkergroups", "daskclusters"]  # the operator made no group
    assert [kind for verb, kind in api.calls] == [*CREATED[: number + 1], *closed]
    assert api.left() == []


@pytest.mark.parametrize("made", ["before", "never", "afterwards"])
def test_the_operators_own_group_goes_with_its_cluster(made, sealed, tmp_path):
    def makes_its_group(api, kind, body):
        operator(api, kind, body)
        if made == "before" and kind == "daskclusters":
            names = workers.names
            spec = {"cluster": names.cluster}
            without_owner = {"metadata": {"name": names.default_group}, "spec": spec}
            api.store.create("daskworkergroups", NAMESPACE, without_owner)

    api = InMemoryApi(makes_its_group)
    workers = workers_on(api, sealed)

    def before(verb, kind):
        if kind == "secrets":
            workers.interrupt()
        if verb == "delete" and made == "afterwards":  # it makes none where one is
            assert api.get("daskworkergroups", workers.names.default_group) is not None

    api.before = before
    with pytest.raises(BackendError, match="given up"):
        workers.start(tmp_path, Heard())
    workers.close()
    assert api.left() == []


def test_a_start_after_an_interrupt_asks_for_nothing(sealed, tmp_path):
    api = InMemoryApi(operator)
    workers = workers_on(api, sealed)
    workers.interrupt()
    with pytest.raises(BackendError, match="given up"):
        workers.start(tmp_path, Heard())
    assert api.calls == []


def test_a_server_that_is_away_holds_up_no_start_that_is_interrupted(sealed, tmp_path):
    with EmulatedCluster(tmp_path, (Node("one"),), operator=False) as cluster:
        backend = KubernetesBackend([SMALL], **cluster.settings)
        workers = backend.for_workflow(*sealed)
        asks = threading.Event()
        create = backend._api.create

        def noted(*args, **given):
            asks.set()
            return create(*args, **given)

        backend._api.create = noted
        cluster.stop_api()

        def interrupt():
            assert asks.wait(60)
            workers.interrupt()

        other = threading.Thread(target=interrupt)
        other.start()
        try:
            with pytest.raises(BackendError, match="given up"):
                workers.start(tmp_path, Heard())
        finally:
            cluster.start_api()
        other.join(60)
        workers.close()
        backend.close()
        assert is_over()
        assert cluster.left() == []
