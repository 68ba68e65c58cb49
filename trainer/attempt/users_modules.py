"""The user's own modules inside a fit: they can be imported, whatever the worker finds on its disk.

Code of modules that aren't installed comes by value, with the values its globals had when the sweep
was submitted. By itself such a class or function has no module it could be found in: it couldn't be
pickled (a checkpoint), sent to a process of a ``Pool`` or inspected, and an import of its module
would make everything a second time. So the modules' source comes too, and in a fit each stands in
``sys.modules``: what came by value is found in it as it is, and only for what didn't is the source
run. ``__main__`` is one of them, without source: a script isn't run again.

In: those modules. Not in: which are sent (:mod:`fitcast.trainer.sweep.users_modules`).
"""

import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from importlib.abc import InspectLoader
from importlib.machinery import ModuleSpec
from pathlib import PurePath
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from cloudpickle import cloudpickle

MAIN = "__main__"
_MISSING = object()


class Source(NamedTuple):
    """The source of a module, and the names of the classes at its top level."""

    file: str  # where it lay when it was sent; "" for __main__
    is_package: bool
    text: str  # "" for __main__
    classes: list[str]


def packed(sources: Mapping[str, Source]) -> bytes:
    """Return the sources of modules, by name, as bytes; none for no modules."""
    return json.dumps(dict(sources)).encode() if sources else b""


def install(modules: bytes | memoryview) -> None:
    """Let the modules of :func:`packed` be imported in this process, which is a fit's."""
    known = _known()
    sources = json.loads(bytes(modules)) if len(modules) else {}
    for name, fields in sources.items():
        known.add(name, Source(*fields))


def _known() -> "_UsersModules":
    global _installed
    if _installed is None:
        _installed = _UsersModules()
    return _installed


_installed: "_UsersModules | None" = None


@dataclass(slots=True)
class _State:
    source: Source
    ran: bool = False


class _UsersModules(InspectLoader):
    """All of them in this process; also their loader, as `inspect` and tracebacks want it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._states: dict[str, _State] = {}
        self._functions: dict[str, dict[str, FunctionType]] = {}  # by module: came by value
        self._globals: dict[str, dict[int, dict[str, Any]]] = {}  # of those functions
        self._watch_functions()
        self.add(MAIN, Source("", False, "", []))

    def add(self, name: str, source: Source) -> None:
        """Let a module be imported; of one that is there already, its classes may be new."""
        if name in self._states:
            self._states[name].source = source
            return
        module = _UsersModule(name)
        module.__loader__ = self
        if source.file:
            spec = ModuleSpec(name, self, origin=source.file, is_package=source.is_package)
            spec.has_location = True
            module.__spec__ = spec
            module.__file__ = source.file
            module.__package__ = spec.parent
            if source.is_package:
                folder = str(PurePath(source.file).parent)
                spec.submodule_search_locations = module.__path__ = [folder]
        self._states[name] = _State(source)
        sys.modules[name] = module
        parent, _, last = name.rpartition(".")
        if parent in self._states:
            vars(sys.modules[parent])[last] = module
        for child in self._states:
            if child.rpartition(".")[0] == name:
                vars(module)[child.rpartition(".")[2]] = sys.modules[child]

    def get_source(self, fullname: str) -> str | None:
        state = self._states.get(fullname)
        return None if state is None else state.source.text or None

    def is_package(self, fullname: str) -> bool:
        return self._states[fullname].source.is_package

    def attribute(self, module: ModuleType, name: str) -> Any:
        """Return what a module has by a name that isn't in it yet; run its source if need be."""
        missing = AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        if name.startswith("__") and name != "__all__":  # asked of every module by many tools
            raise missing
        with self._lock:
            for held_name, value in self._by_value(module.__name__):
                if held_name == name:
                    setattr(module, name, value)
                    return value
            state = self._states[module.__name__]
            if state.ran or not state.source.file:
                raise missing
            try:
                self._run(module, state, state.source)
            except Exception as error:  # so that whoever only looks whether it is there goes on
                raise AttributeError(
                    f"{missing}: running {state.source.file} failed: {error!r}"
                ) from error
            value = vars(module).get(name, _MISSING)
        if value is _MISSING:
            raise missing
        return value

    def _run(self, module: ModuleType, state: _State, source: Source) -> None:
        state.ran = True  # before: it may import what imports it
        before = dict(vars(module))
        try:
            code = compile(source.text, source.file, "exec", dont_inherit=True)
            exec(code, vars(module))  # noqa: S102 - the user's own code, in the user's own fit
        except BaseException:
            state.ran = False
            vars(module).clear()
            vars(module).update(before)
            raise
        vars(module).update(self._by_value(module.__name__))

    def _by_value(self, module: str) -> Iterator[tuple[str, Any]]:
        """Yield what came by value of a module, by name."""
        for namespace in list(self._globals.get(module, {}).values()):
            for name, value in list(namespace.items()):
                if not name.startswith("__"):
                    yield name, value
        yield from list(self._functions.get(module, {}).items())
        tracked = getattr(cloudpickle, "_DYNAMIC_CLASS_TRACKER_BY_CLASS", {})
        for made in list(tracked):
            # What came by value doesn't know any more whether it was made in a function.
            if made.__module__ == module and made.__name__ in self._states[module].source.classes:
                yield made.__name__, made

    def _watch_functions(self) -> None:
        make: Callable[..., FunctionType] | None = getattr(cloudpickle, "_make_function", None)
        if make is None:
            return

        @wraps(make)  # under its name, by which pickles that are made here will refer to it
        def watched(
            code: CodeType, namespace: dict[str, Any], *rest: Any, **others: Any
        ) -> FunctionType:
            function = make(code, namespace, *rest, **others)
            module = namespace.get("__name__")
            if module in self._states:
                self._globals.setdefault(module, {})[id(namespace)] = namespace
                if "." not in code.co_qualname and code.co_name.isidentifier():
                    self._functions.setdefault(module, {}).setdefault(code.co_name, function)
            return function

        # Pickles name it, so that this one is called when they are opened.
        cloudpickle._make_function = watched


class _UsersModule(ModuleType):
    def __getattr__(self, name: str) -> Any:
        return _known().attribute(self, name)
