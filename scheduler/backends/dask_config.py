"""How Dask is configured where fits run: it carries tasks, and leaves memory and retries to us."""

from copy import deepcopy
from pathlib import Path
from typing import Any, Final

_CONFIG: Final[dict[str, Any]] = {
    # A dead worker's task comes back to us at once: we keep one own count per fit.
    "distributed.scheduler.allowed-failures": 0,
    # Dask doesn't see child processes; spilling and pausing would spoil the measurement.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.scheduler.work-stealing": False,
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.worker-ttl": None,  # a silent worker is ours to deal with
    # Nobody is shown names of tasks, logs and call stacks over plain HTTP.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    # Cores are for fits: Dask measures itself 50 times a second otherwise, in every server.
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.scheduler.active-memory-manager.start": False,
    # Locks in a folder that others may write to are opened through links that they put there.
    "distributed.worker.use-file-locking": False,
}


def dask_config(scratch: Path | None = None) -> dict[str, Any]:
    """Return the configuration; a copy, as Dask's schedulers add to lists that they find in it.

    Parameters
    ----------
    scratch : Path, optional
        A folder of this user alone for what Dask's servers write; see :func:`scratch_folder`.
        Left out, they use the system's folder for temporary files, which must be theirs alone.
    """
    config = deepcopy(_CONFIG)
    if scratch is not None:
        config["temporary-directory"] = str(scratch)
    return config


def scratch_folder(private: Path) -> Path:
    """Make a folder for what Dask's servers write, in one that this user alone may enter.

    Dask's own, in the folder for temporary files, is taken over from whoever made it.
    """
    scratch = private / "dask-scratch-space"  # a name to which Dask adds nothing
    scratch.mkdir(mode=0o700, exist_ok=True)
    return scratch
