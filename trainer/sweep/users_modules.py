"""Which of the user's modules go with a sweep, as source, so that fits can import them.

In: finding those that the pickled jobs mention, and what these use. Not in: which modules are the
user's (:mod:`fitcast.trainer.sweep.users_code`), what a fit makes of them
(:mod:`fitcast.trainer.attempt.users_modules`).
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from fitcast.trainer.attempt.users_modules import MAIN, Source, packed
from fitcast.trainer.sweep.users_code import users_modules

MOST_BYTES = 8 * 2**20
"""Of source that goes with a sweep; what a module only might need is left out first."""


def sources_for(pickles: Iterable[bytes]) -> bytes:
    """Return the source of the user's modules that pickles mention, and of those that these use.

    Modules of the same packages go with them, as far as there is room: a function may import them
    when it is called.
    """
    loaded = users_modules()
    names = {name: name.encode() for name in (*loaded, MAIN)}
    mentioned = {
        name for data in pickles for name, sought in names.items() if sought in data
    }  # one that only looks like it does no harm
    used = _with_what_they_use(mentioned, loaded)
    main = {MAIN: Source("", False, "", _classes(MAIN))} if MAIN in mentioned else {}
    packages = {name.partition(".")[0] for name in used}
    beside = [n for n in sorted(loaded) if n not in used and n.partition(".")[0] in packages]
    return packed(main | dict(_sources([*sorted(used), *beside])))


def _with_what_they_use(names: set[str], loaded: Iterable[str]) -> set[str]:
    loaded, found, new = set(loaded), set[str](), list(names)
    while new:
        name = new.pop()
        if name in found or name not in loaded:
            continue
        found.add(name)
        new.append(name.rpartition(".")[0])
        for value in list(vars(sys.modules[name]).values()):
            if isinstance(value, ModuleType):
                new.append(value.__name__)
            else:
                with suppress(Exception):
                    new.append(str(value.__module__))
    return found


def _sources(names: Iterable[str]) -> Iterator[tuple[str, Source]]:
    left = MOST_BYTES
    for name in names:
        file = str(sys.modules[name].__file__)
        with suppress(OSError, ValueError):
            changed_ns = Path(file).stat().st_mtime_ns
            text = _text(file, changed_ns)
            if len(text) <= left:
                left -= len(text)
                is_package = hasattr(sys.modules[name], "__path__")
                yield name, Source(file, is_package, text, _classes(name))


def _classes(module: str) -> list[str]:
    """Return the names of the classes that were made at a module's top level."""
    return [
        name
        for name, value in list(vars(sys.modules[module]).items())
        if isinstance(value, type) and (value.__module__, value.__qualname__) == (module, name)
    ]


@lru_cache(maxsize=1_000)
def _text(file: str, changed_ns: int) -> str:
    import tokenize

    with tokenize.open(file) as opened:  # in the encoding that it declares
        return opened.read()
