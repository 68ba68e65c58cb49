"""Backends for tests: this machine's, with moments at which a test can hold them up."""

import threading
from pathlib import Path

from fitcast import LocalBackend
from fitcast.errors import BackendError

WITHIN_S = 90.0  # only decides failure


class Gate:
    """A place where somebody is held until a test lets them go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def hold(self) -> None:
        self.reached.set()
        assert self.opened.wait(WITHIN_S)

    def wait(self) -> None:
        assert self.reached.wait(WITHIN_S)


class SlowToExplain(LocalBackend):
    """Can't tell why workers are gone before a gate is open."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.gate = Gate()
        self.asked: list[str] = []

    def why_lost(self, addresses):
        self.asked += addresses
        self.gate.hold()
        return super().why_lost(addresses)


class OwnWorkers(LocalBackend):
    """Gives each workflow workers of its own, as Kubernetes does."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.given: list[_Own] = []
        self.trouble_at_start: Exception | None = None
        self.start_gate: Gate | None = None

    def shared(self):
        return None

    def for_workflow(self, sealed, key):
        own = _Own(self, sealed, key)
        self.given.append(own)
        return own


class _Own(LocalBackend):
    def __init__(self, backend, sealed, key) -> None:
        super().__init__(backend.pools)
        self._backend, self._dataset, self._key = backend, sealed, key
        self.interrupted = threading.Event()
        self.started = self.closed = False

    def start(self, key_dir, listener):
        self.started = True
        if self._backend.trouble_at_start is not None:
            raise self._backend.trouble_at_start
        if self._backend.start_gate is not None:
            self._backend.start_gate.reached.set()
            assert self.interrupted.wait(WITHIN_S)
            raise BackendError("the cluster was closed while it was made")
        for ending, content in ((".key", self._key), (".uri", self._dataset.uri.encode())):
            path = Path(key_dir) / f"{self._dataset.dataset_id}{ending}"
            path.touch(mode=0o600)
            path.write_bytes(content)
        return super().start(key_dir, listener)

    def interrupt(self):
        self.interrupted.set()

    def close(self):
        self.closed = True
        super().close()
