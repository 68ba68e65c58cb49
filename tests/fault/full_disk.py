"""Sweeps on a disk that is full, in a mount of its own: ``python -m tests.fault.full_disk``.

Run under ``unshare --mount --map-root-user``, so that a small file system can be mounted without
leave; it goes with the process. Prints what happened as JSON.
"""

# ruff: noqa: T201 - its parent reads what it prints

import json
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from fitcast import Client, LocalBackend, Pool, Sweep, errors
from fitcast.scheduler.session.remote.calls import BrokerCalls
from tests.brokers import broker
from tests.fault.estimators import Lingers
from tests.leases import sealed_datasets
from tests.polling import wait_for

MIB = 2**20


def mounted(folder: Path, size_bytes: int) -> Path:
    folder.mkdir()
    options = f"size={size_bytes},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)
    return folder


def filled(disk: Path) -> Path:
    """Write until nothing more fits."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (MIB, 4096):  # the last page too
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    return ballast


def sweep(rows: int) -> Sweep:
    X = np.random.default_rng(0).normal(size=(rows, 8))
    return Sweep({"m": (Lingers(), {"depth": [2, 3]})}, X, (X[:, 0] > 0).astype(int), cv=3)


def backend() -> LocalBackend:
    return LocalBackend([Pool("p", cpus=1, memory_bytes=600 * MIB)])


def apart(folder: Path) -> dict[str, object]:
    """Two small disks: one for datasets, one for MLflow that fills up and has room again later."""
    home, disk = mounted(folder / "home", 2 * MIB), mounted(folder / "store", 64 * MIB)
    told: dict[str, object] = {}
    with Client(backend(), home=home, tracking_uri=f"sqlite:///{disk}/mlflow.db") as client:
        large = client.submit(sweep(100_000))
        try:
            large.result(60)
        except errors.FitcastError as error:
            told["refused"] = str(error)
        told["state"] = large.state
        told["left"] = [str(path) for path in sealed_datasets(home)]
        first = client.submit(sweep(500))
        first.result(60)
        told["flushed first"] = client.flush(60)
        ballast = filled(disk)
        second = client.submit(sweep(500))
        told["same"] = second.result(60).best_score_ == first.result().best_score_
        told["outcomes"] = [*first.fits["outcome"], *second.fits["outcome"]]
        told["flushed while full"] = client.flush(3)
        told["troubles"] = list(client.troubles)
        ballast.unlink()
        told["flushed later"] = client.flush(60)
        told |= stored(client)
    return told


def everything(folder: Path) -> dict[str, object]:
    """A home whose disk is full to the last byte while a sweep runs."""
    home = mounted(folder / "small", 64 * MIB)
    told: dict[str, object] = {}
    with Client(backend(), home=home) as client:
        client.submit(sweep(500)).result(60)
        client.flush(60)
        running = client.submit(
            Sweep(Lingers(linger_s=0.3), *_data(), cv=4, refit=False, name="running")
        )
        assert wait_for(lambda: running.counts()[1])
        ballast = filled(home)
        told["held up"] = wait_for(lambda: any("can't be kept" in note for note in running.notes))
        told["troubles"] = list(client.troubles)
        refused = client.submit(sweep(5000))
        try:
            refused.result(60)
        except errors.FitcastError as error:
            told["refused"] = str(error)
        told["over while full"] = running.is_over
        ballast.unlink()
        told["running"] = list(running.wait(60).fits["outcome"])
        told["flushed later"] = client.flush(60)
        told |= stored(client)
    return told


def platform(folder: Path) -> dict[str, object]:
    """A broker under whose uploads and results the disk is full for a while."""
    home = folder / "home"
    home.mkdir(mode=0o700)
    disk = mounted(home / "workflows", 32 * MIB)
    told: dict[str, object] = {}
    pools = [Pool("p", cpus=1, memory_bytes=600 * MIB)]
    with (
        broker(home, pools) as there,
        Client(there.url, token=there.token("ann"), home=folder / "client") as client,
    ):
        running = client.submit(
            Sweep(Lingers(linger_s=0.3), *_data(), cv=4, refit=False, name="running")
        )
        assert wait_for(lambda: running.counts()[1])
        ballast = filled(disk)
        told["held up"] = wait_for(lambda: any("can't be kept" in note for note in running.notes))
        told["over while full"] = running.is_over
        refusals: list[str] = []
        send = BrokerCalls.send

        def noted(*how: Any) -> int:  # the first refusal makes room
            try:
                return send(*how)
            except errors.StoreError as error:
                refusals.append(str(error))
                ballast.unlink(missing_ok=True)
                raise

        BrokerCalls.send = noted  # type: ignore[method-assign]
        ballast.unlink()
        with ballast.open("wb") as file:  # room for what is announced, but not for the data
            file.truncate(0)
            _, _, free = shutil.disk_usage(disk)
            file.write(bytes(max(0, free - 256 * 1024)))
        late = client.submit(sweep(20_000))
        told["refused"] = refusals
        told["late"] = late.wait(100).state
        told["running"] = list(running.wait(100).fits["outcome"])
    return told


def stored(client: Client) -> dict[str, object]:
    records, _ = client._platform.engine._store.read()
    ids = {record.record_id for record in records}
    ours = [record.record_id for run in client.workflows() for record in run.records]
    return {"missing": len(set(ours) - ids), "doubled": len(records) - len(ids)}


def _data() -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(0).normal(size=(500, 8))
    return X, (X[:, 0] > 0).astype(int)


if __name__ == "__main__":
    cases = {"apart": apart, "everything": everything, "platform": platform}
    print(json.dumps(cases[sys.argv[1]](Path(sys.argv[2]))), flush=True)
