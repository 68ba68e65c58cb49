# ruff: noqa: PTH114, PTH118, PTH119, PTH120 - for thousands of modules text is much faster
"""The user's own code, pickled by value: workers may not find the modules it is in.

In: which modules those are, pickling with them, a digest of what was pickled. Not in: what is
pickled (:mod:`fitcast.trainer.sweep.jobs`).
"""

import hashlib
import os
import re
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from types import ModuleType
from typing import Any, TypeAlias

import cloudpickle

Dumps: TypeAlias = Callable[[Any], bytes]

_RANDOM_NAME = re.compile(rb"[0-9a-f]{32}")  # uuid4().hex

_by_value_lock = threading.Lock()


@contextmanager
def users_code_by_value() -> Iterator[Dumps]:
    """Give a function that pickles anything, and the code of modules that aren't installed."""
    with _by_value() as either_way:
        yield lambda thing: either_way(lambda: _dumps(thing))


def digest_of(*things: Any) -> bytes:
    """Return a digest of things, and of the user's code in them; needs no memory for them.

    It stays the same for as long as nobody changes them. Of equal things it may differ.
    """
    with _by_value() as either_way:
        return either_way(lambda: _digest(things))


def pickled_size(thing: Any) -> tuple[int, bytes]:
    """Return the bytes of a thing's pickle and a digest of them; needs no memory for them."""
    with _by_value() as either_way:
        sink = _Hash()

        def pickled() -> bytes:
            nonlocal sink
            sink = _Hash()
            cloudpickle.dump(thing, sink, protocol=5)
            return sink.digest.digest()

        digest = either_way(pickled)
    return sink.size, digest


def the_same_anywhere(data: bytes) -> bytes:
    """Return a pickle without what is chance in it, for digests: it can't be opened any more.

    cloudpickle gives each class that it pickles by value a random name, once per process.
    """
    known: Any = getattr(cloudpickle.cloudpickle, "_DYNAMIC_CLASS_TRACKER_BY_ID", {})
    if not known:
        return data
    numbers: dict[bytes, bytes] = {}

    def numbered(found: re.Match[bytes]) -> bytes:
        name = found[0]
        if name.decode("ascii") not in known:  # somebody's own text
            return name
        return numbers.setdefault(name, b"class %d" % len(numbers))

    return _RANDOM_NAME.sub(numbered, data)


@contextmanager
def _by_value() -> Iterator[Callable[[Callable[[], bytes]], bytes]]:
    """Give a function that calls another with the user's modules by value, else without."""
    with _by_value_lock:  # cloudpickle's registry is global
        modules = _unregistered()
        _register(modules)

        def either_way(pickled: Callable[[], bytes]) -> bytes:
            with suppress(Exception):
                return pickled()
            # A module of theirs may hold what can't be pickled; the worker then has to import it.
            _unregister(modules)
            try:
                return pickled()
            finally:
                _register(modules)

        try:
            yield either_way
        finally:
            _unregister(modules)


def _dumps(thing: Any) -> bytes:
    data: bytes = cloudpickle.dumps(thing, protocol=5)
    return data


def _digest(things: tuple[Any, ...]) -> bytes:
    sink = _Hash()
    for thing in things:
        cloudpickle.dump(thing, sink, protocol=5)
    return sink.digest.digest()


class _Hash:
    """A file that keeps nothing but length and digest of what is written to it."""

    def __init__(self) -> None:
        self.digest = hashlib.blake2b(digest_size=16)
        self.size = 0

    def write(self, data: Any) -> None:
        self.digest.update(data)
        self.size += memoryview(data).nbytes


def users_modules() -> tuple[str, ...]:
    """Return the names of the modules that were imported from files that aren't installed."""
    return _users_modules(frozenset(sys.modules))


def _unregistered() -> list[ModuleType]:
    known = cloudpickle.list_registry_pickle_by_value()
    named = ((name, sys.modules.get(name)) for name in users_modules())
    return [m for name, m in named if isinstance(m, ModuleType) and name not in known]


def _register(modules: list[ModuleType]) -> None:
    for module in modules:
        cloudpickle.register_pickle_by_value(module)


def _unregister(modules: list[ModuleType]) -> None:
    for module in modules:
        cloudpickle.unregister_pickle_by_value(module)


@lru_cache(maxsize=1)
def _users_modules(loaded: frozenset[str]) -> tuple[str, ...]:
    found = []
    for name in loaded:
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None) if isinstance(module, ModuleType) else None
        if not isinstance(file, str) or name != getattr(module, "__name__", None):
            continue
        if _is_users(name, file):
            found.append(name)
    return tuple(found)


@lru_cache(maxsize=10_000)
def _is_users(name: str, file: str) -> bool:
    if name.split(".")[0] in {"fitcast", "__main__", "__mp_main__"} or not file.endswith(".py"):
        return False
    path = os.path.join(_real(os.path.dirname(file)), os.path.basename(file))
    if os.path.islink(path):
        path = os.path.realpath(path)
    return not any(part in path for part in _PACKAGES) and not path.startswith(_INSTALLED)


@lru_cache(maxsize=10_000)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


_PACKAGES = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
_INSTALLED = tuple(
    os.path.join(os.path.realpath(folder), "")
    for key in ("stdlib", "platstdlib", "purelib", "platlib")
    if (folder := sysconfig.get_path(key))
)
