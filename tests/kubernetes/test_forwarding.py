"""Ports that are forwarded to pods through the API server, and what may be done with it."""

import os
import socket
import threading

import pytest

from fitcast import errors
from fitcast.scheduler.backends.kubernetes.api import KubernetesApi
from fitcast.scheduler.backends.kubernetes.pod_status import is_ready
from tests.emulated_cluster.cluster import EmulatedCluster, Node
from tests.polling import LONGEST_S

ECHO = """
import os, socketserver
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)
socketserver.ThreadingTCPServer((os.environ["IP"], 7000), Echo).serve_forever()
"""


@pytest.fixture(scope="module")
def emulated(tmp_path_factory):
    with EmulatedCluster(tmp_path_factory.mktemp("c"), (Node("one"),), operator=False) as cluster:
        yield cluster


@pytest.fixture
def api(emulated):
    connected = KubernetesApi(kubeconfig=str(emulated.kubeconfig))
    yield connected
    connected.close()


@pytest.fixture
def echo(emulated):
    """Return the name of a pod that answers what it is told, on port 7000."""
    ip = {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    container = {
        "name": "echo",
        "command": ["python", "-c", ECHO],
        "env": [ip],
        "readinessProbe": {"tcpSocket": {"port": 7000}},
    }
    pod = {"metadata": {"name": "echo"}, "spec": {"containers": [container]}}
    emulated.call(lambda: emulated.store.create("pods", emulated.namespace, pod))

    emulated.wait(lambda: is_ready(emulated.objects("pods")[0]), "the pod to listen")
    yield "echo"
    if emulated.names("pods"):
        emulated.delete("pods", "echo")
    emulated.until_nothing_is_left()


def test_what_goes_in_comes_out_over_many_connections(api, echo):
    port = api.forward(echo, 7000)
    sent = [os.urandom(3_000_000 + number) for number in range(3)]
    got = [b""] * 3

    def talk(number):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            sender = threading.Thread(target=connection.sendall, args=(sent[number],))
            sender.start()
            while len(got[number]) < len(sent[number]):
                got[number] += connection.recv(2**20)
            sender.join()

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONGEST_S)
    assert got == sent
    api.end_forward(port)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_pod_that_goes_ends_its_connections_and_is_not_asked_for_on_and_on(emulated, api, echo):
    port = api.forward(echo, 7000)
    with socket.create_connection(("127.0.0.1", port), timeout=LONGEST_S) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        emulated.kill(echo)
        assert connection.recv(1) == b""
    emulated.delete("pods", echo)
    emulated.until_nothing_is_left()
    before = emulated.requests
    for asked in range(1, 21):
        with socket.create_connection(("127.0.0.1", port), timeout=LONGEST_S) as connection:
            assert connection.recv(1) == b""
        assert emulated.requests - before == asked


def test_a_pod_that_is_not_there(api):
    with pytest.raises(errors.ClusterError, match="404"):
        api.forward("nobody", 7000)


def test_a_right_to_forward_that_is_missing_is_named(emulated, api, echo):
    emulated.deny("get", "pods/portforward")
    try:
        with pytest.raises(errors.ClusterAccessError, match="you may not get pods/portforward"):
            api.forward(echo, 7000)
    finally:
        emulated.allow("get", "pods/portforward")


def test_nothing_is_allowed_but_what_the_role_lists(api, echo):
    with pytest.raises(errors.ClusterAccessError, match="you may not patch pods"):
        api.patch("pods", echo, {"metadata": {"labels": {"a": "b"}}})
    with pytest.raises(errors.ClusterAccessError, match="you may not list secrets"):
        api.find("secrets")
