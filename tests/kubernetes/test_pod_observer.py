"""Why workers are gone, by their pods: told soon, and with few lists, however many ask."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitcast.errors import ClusterUnreachableError
from fitcast.history.records import Outcome
from fitcast.scheduler.backends.kubernetes.pod_observer import LIST_EVERY_S, PodObserver
from fitcast.scheduler.backends.protocol import STATUS_WITHIN_S, WorkerLoss

UNKNOWN = WorkerLoss()
DELETED = WorkerLoss(Outcome.PREEMPTED, "its pod was deleted")
KILLED = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
FAILED = {"terminated": {"reason": "Error", "exitCode": 1}}


class VirtualTime(threading.Condition):
    """Time that passes only while somebody waits."""

    def __init__(self):
        super().__init__()
        self.now_s = 100.0

    def __call__(self):
        return self.now_s

    def wait(self, timeout=None):
        self.now_s += timeout


class Cluster:
    """Pods of workers, each with a worker that is ready, and a list of them that is counted."""

    def __init__(self, count, time):
        self.pods = {f"w{number}": pod(number) for number in range(count)}
        self.ready = {
            f"tls://10.0.0.{number}:4000": {"name": f"w{number}", "pool": "p", "machine_speed": 1.0}
            for number in range(count)
        }
        self.addresses = list(self.ready)
        self.listed_s = []
        self.changes = []  # (when, what to do)
        self.time = time
        self.observer = PodObserver(
            self.list, lambda: self.ready, clock=self.time, changed=self.time
        )
        self.observe()
        self.listed_s.clear()

    def observe(self):
        """Observe the pods a moment later."""
        self.time.now_s += LIST_EVERY_S
        return self.observer.observe()

    def list(self, within_s):
        self.listed_s.append(self.time())
        for at_s, change in self.changes:
            if at_s <= self.time():
                change()
        return list(self.pods.values())


def pod(number, restarts=0, **container):
    status = {"restartCount": restarts} | container
    return {
        "metadata": {"name": f"w{number}", "uid": f"u{number}"},
        "status": {"podIP": f"10.0.0.{number}", "containerStatuses": [status]},
    }


@pytest.fixture
def cluster():
    return Cluster(8, VirtualTime())


def test_eight_workers_of_which_nothing_is_known_cost_ten_lists_and_two_seconds(cluster):
    cluster.ready.clear()
    began_s = cluster.time()
    assert cluster.observer.why_lost(cluster.addresses) == dict.fromkeys(cluster.addresses, UNKNOWN)
    assert cluster.time() - began_s == pytest.approx(STATUS_WITHIN_S)
    assert len(cluster.listed_s) <= STATUS_WITHIN_S / LIST_EVERY_S + 1
    assert all(b - a >= LIST_EVERY_S - 1e-9 for a, b in pairwise(cluster.listed_s))


@given(st.lists(st.floats(0.0, 3.0) | st.none(), min_size=1, max_size=8), st.booleans())
def test_each_is_explained_once_its_pod_is_gone_and_lists_keep_their_distance(gone_s, is_away):
    cluster = Cluster(len(gone_s), VirtualTime())
    began_s = cluster.time()
    known_by = began_s + STATUS_WITHIN_S - LIST_EVERY_S  # the last list may be that old
    for name, at_s in zip(list(cluster.pods), gone_s, strict=True):
        if at_s is not None:
            cluster.changes.append((began_s + at_s, lambda n=name: cluster.pods.pop(n, None)))
    if is_away:
        cluster.changes.insert(0, (began_s, lambda: fail_once(cluster)))
    losses = cluster.observer.why_lost(cluster.addresses)
    assert cluster.time() <= began_s + STATUS_WITHIN_S + 1e-9
    assert all(b - a >= LIST_EVERY_S - 1e-9 for a, b in pairwise(cluster.listed_s))
    for address, at_s in zip(cluster.addresses, gone_s, strict=True):
        if at_s is None or at_s > STATUS_WITHIN_S:
            assert losses[address] == UNKNOWN
        elif began_s + at_s <= known_by:
            assert losses[address] == DELETED


def fail_once(cluster):
    if len(cluster.listed_s) == 1:
        raise ClusterUnreachableError("away for a moment")


def test_threads_that_ask_at_once_share_one_list():
    cluster = Cluster(8, VirtualTime())
    cluster.time.now_s += LIST_EVERY_S
    together, everybody_asks = threading.Barrier(8), threading.Event()

    def list_pods(within_s):
        assert everybody_asks.wait(60)
        return cluster.list(within_s)

    observer = cluster.observer
    observer._list_pods = list_pods
    observer._changed = threading.Condition()  # those who wait for a list wait for it really
    cluster.pods.clear()

    def ask(address):
        together.wait(60)
        return observer.why_lost([address])

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, address) for address in cluster.addresses]
        everybody_asks.set()
        losses = [one.result(60) for one in asked]
    assert losses == [{address: DELETED} for address in cluster.addresses]
    assert len(cluster.listed_s) == 1


def test_a_container_that_was_started_again_is_waited_for_no_longer(cluster):
    cluster.pods["w0"] = pod(0, restarts=1, lastState=FAILED)
    cluster.pods["w1"] = pod(1, restarts=1, lastState=KILLED)
    first, second, *_ = cluster.addresses
    losses = cluster.observer.why_lost([first, second])
    assert losses[first] == UNKNOWN
    assert losses[second].outcome is Outcome.OUT_OF_MEMORY
    assert len(cluster.listed_s) == 1


def test_how_the_life_before_ended_is_not_held_against_a_worker():
    cluster = Cluster(1, VirtualTime())
    (before,) = cluster.addresses
    now = before.replace(":4000", ":4001")  # the next worker in the same pod
    cluster.pods["w0"] = pod(0, restarts=1, lastState=KILLED)
    cluster.ready[now] = cluster.ready.pop(before)
    cluster.observe()
    cluster.pods["w0"] = pod(0, restarts=1, state=FAILED, lastState=KILLED)
    assert cluster.observer.why_lost([before, now]) == {
        before: WorkerLoss(
            Outcome.OUT_OF_MEMORY, "its container was ended out of memory (OOMKilled)"
        ),
        now: UNKNOWN,
    }


def test_workers_whose_pods_nobody_saw_are_not_waited_for(cluster):
    assert cluster.observer.why_lost(["tls://10.9.9.9:1"]) == {"tls://10.9.9.9:1": UNKNOWN}
    assert cluster.listed_s == []


def test_nobody_waits_once_it_is_closed(cluster):
    cluster.observer.close()
    assert cluster.observer.why_lost(cluster.addresses)[cluster.addresses[0]] == UNKNOWN
    assert cluster.listed_s == []


def test_a_list_that_fails_is_the_failure_of_who_asked_for_it(cluster):
    cluster.changes.append((0.0, lambda: fail_once(cluster)))
    with pytest.raises(ClusterUnreachableError):
        cluster.observe()
    assert set(cluster.observe()) == set(cluster.pods)
