"""Which folders in memory a process holds."""

import json
from contextlib import suppress
from pathlib import Path

from fitcast.history.locked_folders import MARKER, memory_root
from fitcast.scheduler.session.leases import PREFIX
from tests.listing import files_matching


def leases_of(pid: int) -> set[Path]:
    """Return the folders for keys that a process made; others make theirs at the same time."""
    found = set()
    for folder in memory_root().glob(f"{PREFIX}*"):
        with suppress(OSError, ValueError):  # being made, gone meanwhile
            if json.loads((folder / MARKER).read_text())["pid"] == pid:
                found.add(folder)
    return found


def sealed_datasets(home: Path) -> list[Path]:
    """Return the sealed datasets below a home."""
    return files_matching(home / "workflows", "*/dataset.sealed")
