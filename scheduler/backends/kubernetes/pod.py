"""What runs in a pod: a workflow's Dask scheduler, or a worker under its nanny.

    python -m fitcast.scheduler.backends.kubernetes.pod

The environment says which (:mod:`fitcast.scheduler.backends.kubernetes.objects`). SIGTERM ends it
in good order; a worker whose scheduler is gone ends, and its pod starts it again.
"""

import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask
from distributed import Security

from fitcast.errors import BackendError
from fitcast.scheduler.backends.dask_config import dask_config
from fitcast.scheduler.backends.dask_servers import PrivateNanny, PrivateScheduler, PrivateWorker
from fitcast.scheduler.backends.kubernetes.objects import SCHEDULER_PORT
from fitcast.scheduler.worker.plugin import FitWorker
from fitcast.scheduler.worker.sealed_transfer import Receiver, SealedSource
from fitcast.scheduler.worker.steady_clock import hold_steady
from fitcast.trainer.machine_speed import machine_speed

log = logging.getLogger(__name__)

SILENT_AFTER_S = "30s"
"""A worker without a sign of life for so long counts as lost."""

_CONFIG = dask_config() | {"distributed.scheduler.worker-ttl": SILENT_AFTER_S}


class PodWorker(FitWorker):
    """A worker that gets its dataset over the network before fits are sent to it."""

    def __init__(self, env: dict[str, str]) -> None:
        super().__init__(env["FITCAST_KEY_DIR"], (), int(env["FITCAST_WORKER_MEMORY_BYTES"]))
        self._dataset_id = env["FITCAST_DATASET_ID"]
        self._uri = env.get("FITCAST_DATASET_URI", "")
        self._path = Path(env["FITCAST_DATA_DIR"]) / f"{self._dataset_id}.sealed"
        self._info = {"pool": env["FITCAST_WORKER_POOL"], "name": env["DASK_WORKER_NAME"]}
        self._receiving: asyncio.Task[None] | None = None

    def setup(self, worker: Any) -> None:
        """Start the fork server, and getting the dataset."""
        super().setup(worker)
        self._receiving = asyncio.get_running_loop().create_task(self._get_ready(worker))

    async def _get_ready(self, worker: Any) -> None:
        """Get the dataset and report it; end the pod if that can't be: its status then says why."""
        try:
            await self._receive(worker)
        except Exception as error:
            log.exception("the worker can't get ready")
            await worker.close(nanny=True, reason=str(error))

    async def _receive(self, worker: Any) -> None:
        receiver = Receiver(worker, self._path)
        while worker.status.name != "running":  # known to the scheduler
            await asyncio.sleep(0.05)
        if not self._uri:
            await receiver.receive()
        assert self.runner is not None
        cache = Path(tempfile.gettempdir()) / "machine_speed.json"
        _, speed = await asyncio.gather(
            asyncio.to_thread(self.runner.wait_ready), asyncio.to_thread(machine_speed, cache)
        )
        await receiver.ready(self._info | {"machine_speed": speed})

    def dataset(self, dataset_id: str) -> tuple[str, Path]:
        """Return where the sealed dataset lies, and its key."""
        if dataset_id != self._dataset_id:
            raise BackendError("this worker belongs to another workflow")
        return self._uri or str(self._path), Path(self.key_dir) / "dataset.key"


class _PodNanny(PrivateNanny):
    """A nanny that knows why its worker wants to end."""

    why_closed = ""

    def close_gracefully(self, reason: str = "") -> None:
        """Start the worker no more once it is gone."""
        self.why_closed = reason
        super().close_gracefully(reason=reason)


def security(folder: Path) -> Security:
    """Return Dask's TLS settings for the certificate in a mounted Secret."""
    certificate, key = str(folder / "tls.crt"), str(folder / "tls.key")
    return Security(
        require_encryption=True,
        tls_ca_file=str(folder / "ca.crt"),
        tls_scheduler_cert=certificate,
        tls_scheduler_key=key,
        tls_worker_cert=certificate,
        tls_worker_key=key,
        tls_client_cert=certificate,
        tls_client_key=key,
    )


def listening(env: Mapping[str, str]) -> dict[str, str]:
    """Return where a scheduler listens, and which of its addresses it announces.

    A forwarded port leads to the loopback of a pod, all else to its address.
    """
    ip = env["FITCAST_POD_IP"]
    everywhere, own = ("::", f"[{ip}]") if ":" in ip else ("0.0.0.0", ip)  # noqa: S104
    return {
        "host": env.get("FITCAST_LISTEN_ON", everywhere),
        "contact_address": f"tls://{own}:{SCHEDULER_PORT}",
    }


async def _serve(env: dict[str, str]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    common: dict[str, Any] = {
        "protocol": "tls",
        "security": security(Path(env["FITCAST_TLS_DIR"])),
    }
    server: Any
    if env["FITCAST_ROLE"] == "scheduler":
        server = await PrivateScheduler(
            port=SCHEDULER_PORT, dashboard=False, **listening(env), **common
        )
        server.add_plugin(SealedSource(server, Path(env["FITCAST_DATA_DIR"])))
    else:
        server = await _PodNanny(
            env["FITCAST_SCHEDULER"],
            host=env["FITCAST_POD_IP"],
            name=env["DASK_WORKER_NAME"],
            nthreads=int(env["FITCAST_WORKER_CPUS"]) + 1,
            memory_limit=0,
            dashboard=False,
            local_directory=env["TMPDIR"],
            config=_CONFIG,
            worker_class=PrivateWorker,
            plugins=(PodWorker(env),),
            death_timeout=60,
            **common,
        )
    hold_steady(server.loop)
    stopped = asyncio.create_task(stop.wait())
    ended = asyncio.create_task(server.finished())
    await asyncio.wait({stopped, ended}, return_when=asyncio.FIRST_COMPLETED)
    if not stop.is_set():  # to be started again; the last line goes into the pod's status
        log.error(getattr(server, "why_closed", "") or "the connection to the scheduler is gone")
        return 1
    await server.close(timeout=5)
    return 0


def main() -> None:
    """Be what the environment says until a signal ends it."""
    # Readiness probes open a connection and say nothing.
    logging.getLogger("distributed.comm.tcp").setLevel(logging.ERROR)
    with dask.config.set(_CONFIG):
        sys.exit(asyncio.run(_serve(dict(os.environ))))


if __name__ == "__main__":
    # Under its own name: the worker's process gets classes of this module, and no main module.
    from fitcast.scheduler.backends.kubernetes import pod

    pod.main()
