"""The life of this machine's workers, without a client."""

import threading

import pytest

from fitcast import LocalBackend, Pool
from fitcast.errors import BackendError, InvalidInputError
from fitcast.scheduler.backends import local

MIB = 2**20


class Heard:
    """Notes what a backend reports."""

    def __init__(self):
        self.lost = []

    def workers_changed(self):
        pass

    def workers_lost(self, error):
        self.lost.append(error)


@pytest.fixture
def backend():
    made = LocalBackend([Pool("small", 1, 300 * MIB)])
    yield made
    made.close()


def test_a_start_that_is_interrupted_raises_and_leaves_nothing(
    backend, tmp_path, monkeypatch, no_process_left
):
    makes, cluster_type = threading.Event(), local._cluster_type

    def noted():
        makes.set()
        return cluster_type()

    monkeypatch.setattr(local, "_cluster_type", noted)

    def interrupt():
        assert makes.wait(60)
        backend.interrupt()

    other = threading.Thread(target=interrupt)
    other.start()
    with pytest.raises(BackendError, match="given up"):
        backend.start(tmp_path, Heard())
    other.join(60)
    backend.close()
    assert backend._cluster is None


def test_a_start_after_an_interrupt_makes_nothing(backend, tmp_path, no_process_left):
    backend.interrupt()
    with pytest.raises(BackendError, match="given up"):
        backend.start(tmp_path, Heard())
    assert backend._cluster is None


def test_it_can_be_used_again_once_it_is_closed(backend, tmp_path, no_process_left):
    heard = Heard()
    for _ in range(2):
        dask = backend.start(tmp_path, heard)
        (worker,) = backend.present(dask)
        assert (worker.pool, worker.address[:6]) == ("small", "tls://")
        assert backend.why_lost([worker.address])[worker.address].reason == ""
        dask.close()
        backend.interrupt()
        backend.close()
        backend.interrupt()  # of a client that is closed twice
    assert heard.lost == []


def test_without_pools_it_is_the_machine_or_what_the_settings_allow_of_it(monkeypatch):
    (whole,) = LocalBackend().pools
    monkeypatch.setenv("FITCAST_CPUS", "1")
    monkeypatch.setenv("FITCAST_MEMORY_BYTES", str(2**28))
    (allowed,) = LocalBackend().pools
    assert (allowed.cpus, allowed.memory_bytes) == (1, 2**28)
    monkeypatch.setenv("FITCAST_CPUS", "100000")
    monkeypatch.setenv("FITCAST_MEMORY_BYTES", str(2**60))
    (beyond,) = LocalBackend().pools
    assert beyond.cpus == whole.cpus
    assert beyond.memory_bytes < 2**50
    monkeypatch.setenv("FITCAST_CPUS", "some")
    with pytest.raises(InvalidInputError, match="FITCAST_CPUS"):
        LocalBackend()
    assert LocalBackend([Pool("mine", 1, 2**28)]).pools == (Pool("mine", 1, 2**28),)
