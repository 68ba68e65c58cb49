"""Where secrets could lie: files, processes; and looking for them there."""

import os
from pathlib import Path

import cloudpickle
import pandas as pd
import psutil


def files_below(*roots: Path) -> dict[str, bytes]:
    """Return what lies in files below these folders, by path."""
    found = {}
    for root in roots:
        for folder, _, names in os.walk(root):
            for path in (Path(folder, name) for name in names):
                try:
                    if path.is_file():
                        found[str(path)] = path.read_bytes() + _unpacked(path)
                except OSError:  # gone meanwhile
                    continue
    return found


def _unpacked(path: Path) -> bytes:
    """Return what a packed file holds, as text."""
    return pd.read_parquet(path).to_csv().encode() if path.suffix == ".parquet" else b""


def processes() -> dict[str, bytes]:
    """Return environment and command line of each process below this one."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        for name in ("environ", "cmdline"):
            try:
                found[f"{name} of {process.pid}"] = Path(f"/proc/{process.pid}/{name}").read_bytes()
            except OSError:
                continue
    return found


def seen(places: dict[str, bytes], *secrets: bytes) -> list[str]:
    """Return the places that hold any of some secrets."""
    return [name for name, content in places.items() if any(s in content for s in secrets)]


def tasks_of_scheduler(dask_scheduler):
    """Return what Dask's scheduler holds of each task, and its events."""
    found = {
        f"task {key}": cloudpickle.dumps(task.run_spec)
        for key, task in dask_scheduler.tasks.items()
    }
    found["events"] = repr(dict(dask_scheduler._broker._topics)).encode()
    found["metrics"] = repr([one.metrics for one in dask_scheduler.workers.values()]).encode()
    return found


def tasks_of_worker(dask_worker):
    """Return what a worker of Dask's holds of its tasks, and their results."""
    held = {**dask_worker.state.tasks}
    return (
        b"".join(cloudpickle.dumps(task.run_spec) for task in held.values())
        + repr(dict(dask_worker.data)).encode()
    )
