"""Which installed libraries a fit needs beyond those that every fork server has imported.

In: finding their names, in a pickled job and after a fit; what counts as installed. Not in: who
imports them ahead of the fits (:mod:`fitcast.trainer.attempt.branches`).

A user's own module is never among them. It may do anything when it is imported: start threads, open
files, read data, fail. That belongs into the fit's own process, with its limits, log and end.
"""

import os
import pickletools
import sys
import sysconfig
from collections.abc import Collection, Iterable
from contextlib import suppress
from types import ModuleType

COMMON = frozenset(
    {
        *("numpy", "scipy", "pandas", "sklearn", "joblib", "cloudpickle", "threadpoolctl"),
        *("xgboost", "lightgbm", "fitcast", "dateutil", "six", "narwhals", "pyarrow"),
    }
)
"""Libraries that the fork server has, or that come with these."""

MANY = 30
"""So many further modules of the common libraries, or more, are worth importing ahead."""

MOST = 4_000
_LARGEST_PICKLE = 8 * 2**20  # looking into a larger one takes too long

_FOLDERS = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
_PLACES = tuple(
    os.path.join(os.path.realpath(folder), "")  # noqa: PTH118
    for key in ("purelib", "platlib")
    if (folder := sysconfig.get_path(key))
)


def is_installed(file: str) -> bool:
    """Tell whether a module's file lies where packages are installed."""
    return any(part in file for part in _FOLDERS) or file.startswith(_PLACES)


def named_in(pickled: bytes) -> tuple[str, ...]:
    """Return the installed libraries that a pickle names, as far as they are imported here."""
    names: set[str] = set()
    if len(pickled) > _LARGEST_PICKLE:
        return ()
    with suppress(Exception):
        for _, argument, _ in pickletools.genops(pickled):
            if isinstance(argument, str) and len(argument) < 200:
                names.update(argument.split(" ") if " " in argument else (argument,))
    return tuple(sorted(_worth(name for name in names if name in sys.modules)))


def imported_since(before: Collection[str]) -> tuple[str, ...]:
    """Return the installed libraries that were imported since, in order; none if hardly any."""
    return tuple(_worth(name for name in list(sys.modules) if name not in before))[:MOST]


def _worth(names: Iterable[str]) -> list[str]:
    found = [name for name in names if _is_installed_module(sys.modules.get(name))]
    own = [name for name in found if name.partition(".")[0] not in COMMON]
    return found if own or len(found) >= MANY else []


def _is_installed_module(module: object) -> bool:
    # vars, not getattr: a lazy package would be made to import things
    file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
    return isinstance(file, str) and is_installed(file)
