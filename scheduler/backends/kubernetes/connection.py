"""The connection to a workflow's scheduler: its client of Dask, its dataset, its ready workers.

Not in: how the scheduler comes about, and when it is to be replaced
(:mod:`fitcast.scheduler.backends.kubernetes.cluster`).
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

from fitcast.errors import BackendError
from fitcast.scheduler.backends.dask_config import dask_config
from fitcast.scheduler.backends.kubernetes import objects, pod_status
from fitcast.scheduler.backends.kubernetes.api import KubernetesApi, Object
from fitcast.scheduler.backends.kubernetes.certificates import Identity
from fitcast.trainer.sealing import SealedDataset

CALL_S = 20.0
"""A scheduler that takes longer to answer counts as gone."""

_CONNECT_S = 30.0


class WorkerInfo(TypedDict):
    """What a worker that is ready says of itself."""

    name: str  # of its Deployment
    pool: str
    machine_speed: float  # as `fitcast.trainer.machine_speed` has it


class _ReadyWorkers(TypedDict):
    """What a scheduler says of its workers that are ready."""

    version: int  # the higher, the newer
    workers: dict[str, WorkerInfo]  # by address


class SchedulerLink:
    """A connection to a scheduler, made anew when that is another one.

    Parameters
    ----------
    api : KubernetesApi
        Leads to it.
    names : ResourceNames
        Whose scheduler it is.
    identity : Identity
        The client's certificate.
    sealed : SealedDataset
        The dataset.
    sends : bool
        Whether it is sent to the scheduler.
    forwarded : bool
        Whether the way there is a forwarded port.
    on_ready : callable
        ``on_ready(came)``, from any thread, when workers became ready or went; with those that
        came.
    """

    def __init__(
        self,
        api: KubernetesApi,
        names: objects.ResourceNames,
        identity: Identity,
        sealed: SealedDataset,
        *,
        sends: bool,
        forwarded: bool,
        on_ready: Callable[[list[WorkerInfo]], None],
    ) -> None:
        self.dask: Any = None
        self._api, self._names = api, names
        self._identity, self._sealed = identity, sealed
        self._sends, self._forwarded = sends, forwarded
        self._on_ready = on_ready
        self._forward: int | None = None
        self._life = ""
        self._comm: Any = None  # of the client of Dask, its only one
        self._version = -1  # of the workers that are known
        self._lock = threading.Lock()
        self._connecting: tuple[asyncio.AbstractEventLoop, asyncio.Future[Any]] | None = None
        self._is_interrupted = False
        self._ready: dict[str, WorkerInfo] = {}  # by address
        self._before: dict[str, WorkerInfo] = {}  # the same of the last scheduler

    def is_well(self, schedulers: list[Object]) -> bool:
        """Tell whether the scheduler that it leads to is one of these pods, and answers.

        A client of Dask that lost its connection makes another by itself, but hears no more of what
        it had sent: that counts as lost.
        """
        same = any(pod_status.life_of(pod) == self._life for pod in schedulers)
        client = self.dask
        return (
            same
            and client is not None
            and client.status == "running"
            and client.scheduler_comm is self._comm
        )

    def ready(self, dask: Any = None) -> dict[str, WorkerInfo]:
        """Return the workers that are ready, by address, as a client of Dask knows them."""
        with self._lock:
            # Whoever still holds the last client hasn't been told yet that it is gone.
            return dict(self._ready if dask in (None, self.dask) else self._before)

    def connect(self, scheduler: Object) -> None:
        """Connect to a scheduler's pod, send it the dataset, and subscribe to its workers.

        Raises
        ------
        BackendError
            It can't be reached, or `interrupt` was called.
        """
        import dask

        from fitcast.scheduler.worker.sealed_transfer import TOPIC, send

        address = self._address(scheduler)
        # It logs at length about schedulers that are gone, which is ours to deal with.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        client: Any = None
        try:
            with dask.config.set(dask_config()):
                client = _client_type()(
                    address,
                    interruptible=self._interruptible,
                    security=_security(self._identity),
                    set_as_default=False,
                    timeout=_CONNECT_S,
                )
            self.dask, self._comm, self._version = client, client.scheduler_comm, -1
            client.subscribe_topic(TOPIC, lambda event: self._note(client, event[1]))
            if self._sends:
                path = Path(self._sealed.uri)
                sending = partial(send, client.scheduler, self._sealed.dataset_id, path)
                client.sync(self._interruptible, sending)
            known = client.sync(
                self._interruptible, client.scheduler.fitcast_workers, callback_timeout=CALL_S
            )
        except (OSError, TimeoutError, BackendError) as error:
            with self._lock:
                self.dask, self._ready = None, {}
            why = repr(error.__cause__ or error)
            if self._forward is not None:
                why = self._api.forward_trouble(self._forward) or why
            self._let_go(client, 1.0)
            if isinstance(error, BackendError):
                raise
            raise BackendError(
                f"the workflow's scheduler can't be reached at {address}: {why}"
            ) from error
        self._life = pod_status.life_of(scheduler)
        self._note(client, known)

    def interrupt(self) -> None:
        """Let `connect` fail, now and from now on; may be called from any thread."""
        with self._lock:
            self._is_interrupted = True
            connecting = self._connecting
        if connecting is not None:
            loop, step = connecting
            with suppress(RuntimeError):  # the loop is over, and the step with it
                loop.call_soon_threadsafe(step.cancel)

    async def _interruptible(self, step: Callable[[], Awaitable[Any]]) -> Any:
        """Await a step of connecting; raise OSError if that is interrupted."""
        awaited = asyncio.ensure_future(step())
        with self._lock:
            self._connecting = asyncio.get_running_loop(), awaited
            if self._is_interrupted:
                awaited.cancel()
        try:
            return await awaited
        except asyncio.CancelledError:
            if self._is_interrupted:
                raise OSError("the workflow was given up") from None
            raise
        finally:
            with self._lock:
                self._connecting = None

    def disconnect(self) -> None:
        """Close the connection."""
        with self._lock:
            client, self.dask = self.dask, None
            if client is not None:
                self._before, self._ready = self._ready, {}
        self._let_go(client, 5.0)

    def retire(self, addresses: list[str]) -> None:
        """Let workers take no more fits; they end when their pods are deleted.

        A worker that closed itself would be started again meanwhile.
        """
        with suppress(Exception):
            self.dask.sync(
                self.dask.scheduler.retire_workers,
                workers=addresses,
                close_workers=False,
                remove=False,
                callback_timeout=CALL_S,
            )

    def service_address(self) -> str:
        """Return where the scheduler's Service is, for those inside the cluster."""
        service = self._api.get("services", self._names.scheduler)
        if service is None:
            raise BackendError(
                f"the Dask operator made no Service {self._names.scheduler!r}: is it running?"
            )
        ip = service["spec"]["clusterIP"]
        host = f"[{ip}]" if ":" in ip else ip
        return f"tls://{host}:{objects.SCHEDULER_PORT}"

    def _address(self, scheduler: Object) -> str:
        if not self._forwarded:
            return self.service_address()
        self._end_forward()
        name = scheduler["metadata"]["name"]
        self._forward = self._api.forward(name, objects.SCHEDULER_PORT)
        return f"tls://127.0.0.1:{self._forward}"

    def _let_go(self, client: Any, within_s: float) -> None:
        """Close a client of Dask, if there is one, and the way to it."""
        if client is not None:
            with suppress(Exception):
                client.close(timeout=within_s)
            client.status = (
                "closed"  # else it tries again when it is collected, and logs that it failed
            )
        self._end_forward()

    def _end_forward(self) -> None:
        forward, self._forward = self._forward, None
        if forward is not None:
            self._api.end_forward(forward)

    def _note(self, client: Any, news: _ReadyWorkers) -> None:
        with self._lock:
            if client is not self.dask or news["version"] <= self._version:
                return
            self._version, ready = news["version"], news["workers"]
            came = [one for address, one in ready.items() if address not in self._ready]
            self._ready = dict(ready)
        self._on_ready(came)


def _client_type() -> Any:
    from distributed import Client

    from fitcast.scheduler.worker.steady_clock import hold_steady

    class InterruptibleClient(Client):  # type: ignore[misc]
        """A client of Dask whose connecting can be interrupted."""

        def __init__(self, address: str, *, interruptible: Any, **given: Any) -> None:
            self._interruptible = interruptible
            try:
                super().__init__(address, **given)
            except BaseException:
                self._loop_runner.stop()
                raise

        async def _start(self, *args: Any, **given: Any) -> Any:
            hold_steady(self.loop)
            try:
                return await self._interruptible(partial(super()._start, *args, **given))
            except OSError:
                await self._close()  # it did that itself, unless it was interrupted
                raise

    return InterruptibleClient


def _security(identity: Identity) -> Any:
    from distributed import Security

    return Security(
        require_encryption=True,
        tls_ca_file=identity.authority,
        tls_client_cert=identity.certificate,
        tls_client_key=identity.key,
    )
