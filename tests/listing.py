"""Listing files in folders that others make and remove meanwhile.

`Path.glob` and `Path.rglob` raise there up to Python 3.12.
"""

import fnmatch
import os
from pathlib import Path


def files_matching(root: Path, pattern: str) -> list[Path]:
    """Return the files at any depth whose paths below the root match, sorted."""
    found = [
        Path(folder, name)
        for folder, _, names in os.walk(root)  # which passes over folders that are gone
        for name in names
    ]
    return sorted(p for p in found if fnmatch.fnmatchcase(str(p.relative_to(root)), pattern))
