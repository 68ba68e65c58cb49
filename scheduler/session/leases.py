"""Folders that belong to one living process, and the sweep of those that a crash left.

Sealed datasets lie under the home folder, their keys in memory (``/dev/shm`` where there is one):
each client has one folder of either kind, named after its process, and removes it when it closes.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from uuid import uuid4

import psutil


def memory_root() -> Path:
    """Return a folder in memory that only this user may enter."""
    candidates = [Path("/dev/shm"), Path(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent"))]  # noqa: S108
    base = next((path for path in candidates if os.access(path, os.W_OK)), None)
    root = (base or Path(tempfile.gettempdir())) / f"fitcast-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    if root.stat().st_uid != os.getuid():
        raise PermissionError(f"{root} belongs to another user")
    return root


class Lease:
    """A folder of this process below `root`; `close` removes it."""

    def __init__(self, root: Path) -> None:
        sweep(root)
        me = psutil.Process()
        self.path = root / f"{me.pid}-{me.create_time():.2f}-{uuid4().hex[:8]}"
        self.path.mkdir(parents=True, mode=0o700)

    def close(self) -> None:
        """Remove the folder and all in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def sweep(root: Path) -> list[Path]:
    """Remove the folders of processes that are no more; return which."""
    removed = []
    for folder in root.glob("*-*-*") if root.is_dir() else ():
        pid, created, _ = folder.name.split("-", 2)
        try:
            process = psutil.Process(int(pid))
            alive = abs(process.create_time() - float(created)) < 1.0
            # Nobody may ever reap it: in containers the first process often doesn't.
            alive = alive and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            alive = False
        except (psutil.AccessDenied, ValueError):
            continue
        if not alive:
            with contextlib.suppress(OSError):
                shutil.rmtree(folder)
                removed.append(folder)
    return removed
