"""A branch of the fork server: a process forked from it that has further libraries imported.

In: importing them, and whether what they left in the process may be forked. Not in: serving
requests (:mod:`fitcast.trainer.attempt.fork_server`), which branches a worker has
(:mod:`fitcast.trainer.attempt.branches`).

The branch tries the imports in a process of its own: whatever they do, the fork server isn't
touched. It forks fits only if the imports left no thread, no child and no open file.
"""

import importlib
import importlib.util
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from fitcast.trainer.attempt.messages import Branch, Branched
from fitcast.trainer.attempt.process_tree import children
from fitcast.trainer.imports import is_installed

_HARMLESS = frozenset({"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"})


def import_ahead(asked: Branch) -> Branched:
    """Import what is asked for, and tell how that went."""
    sys.path += [entry for entry in asked.sys_path if entry not in sys.path]
    files, began_s = _open_files(), time.process_time()
    installed: dict[str, bool] = {}
    for name in asked.modules:
        top = name.partition(".")[0]
        if top not in installed:
            installed[top] = _is_installed(top)
        if installed[top]:
            # what doesn't import is met by the fit that needs it, with a traceback
            with suppress(Exception):
                importlib.import_module(name)
    return Branched(cpu_s=time.process_time() - began_s, why_not=_why_not(files))


def _is_installed(name: str) -> bool:
    if name in sys.modules:
        return True  # by the fork server
    with suppress(Exception):
        found = importlib.util.find_spec(name)  # imports nothing, as it has no parent
        if found is not None:
            places: Sequence[str] = [found.origin or "", *(found.submodule_search_locations or ())]
            return any(is_installed(place) for place in places)
    return False


def _why_not(files: frozenset[str]) -> str:
    """Return why this process can't be forked safely; nothing if it can."""
    if len(os.listdir("/proc/self/task")) > 1 or threading.active_count() > 1:  # noqa: PTH208
        return "they start threads"
    if children(os.getpid()):
        return "they start processes"
    left = _open_files() - files
    return f"they leave files open ({min(left)})" if left else ""


def _open_files() -> frozenset[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115
            if target not in _HARMLESS and not target.startswith("/proc/"):
                found.add(f"{name} {target}")
    return frozenset(found)
