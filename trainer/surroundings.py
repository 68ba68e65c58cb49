"""What is in force around a user's code without being handed to it: seen at submit, set in fits.

In: scikit-learn's configuration, filters of warnings, NumPy's handling of floating-point errors,
pandas' options, as the submitting thread has them; scikit-learn hands the first two to its own
workers too. Also what
was changed since workers began: the folder that relative paths start from, the environment. Not in:
what a fit changed, put back for the next one (:mod:`fitcast.trainer.attempt.restoring`).

All travels as plain words. A filter's class of warnings is told by its name, so nothing is imported
for a filter, and the user's own classes match as well.
"""

import os
import pickle
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, NamedTuple

from fitcast.errors import InvalidSweepError
from fitcast.trainer.pandas_options import changed_options, options, set_options

_NUMPY_USUALLY = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}

_NOT_HANDED_ON = re.compile(
    r"FITCAST_|MLFLOW_|PYTHON|DASK_|__|MALLOC_|\w*_(NUM_|MAX_)?(THREADS|CPU_COUNT)$"
)
"""Variables for the client, those that Dask sets in it, and those that the plan sets in fits."""

Text = str | tuple[str, int] | None
"""What a message or module must match: a text, or a pattern and its flags."""


class _Filter(NamedTuple):
    """One of ``warnings.filters``, in words."""

    action: str
    message: Text
    category: tuple[str, str]  # module and qualified name of the class
    module: Text
    line: int


class _Surroundings(NamedTuple):
    config: dict[str, Any]  # sklearn.get_config()
    filters: tuple[_Filter, ...]
    numpy_errors: dict[str, str]  # np.geterr(); empty if it is as usual
    folder: str = ""  # the current one; empty if it is that which workers began in
    environ: Mapping[str, str | None] = {}  # variables that are others than they began with
    pandas: Mapping[str, Any] = {}  # options that aren't as usual


class Began(NamedTuple):
    """What workers began with."""

    folder: str
    environ: Mapping[str, str]

    @classmethod
    def now(cls) -> "Began":
        """Return what those have that begin now."""
        return cls(_folder(), dict(os.environ))

    @classmethod
    def elsewhere(cls) -> "Began":
        """Return what isn't known of those that another process starts: all is told to them."""
        return cls("", {})


def surroundings(began: Began | None = None) -> bytes:
    """Return what is in force in this thread, and what changed in this process since workers began.

    Parameters
    ----------
    began
        What workers of this machine began with; None for those of others.
    """
    import numpy as np
    import sklearn

    found = tuple(
        _Filter(action, _text(message), _name(category), _text(module), line)
        for action, message, categories, module, line in list(_filters())
        for category in (categories if isinstance(categories, tuple) else (categories,))
    )
    handled = {kind: str(how) for kind, how in np.geterr().items()}
    numpy_errors = {} if handled == _NUMPY_USUALLY else handled
    folder, environ = ("", {}) if began is None else _changes(began)
    around = _Surroundings(
        sklearn.get_config(), found, numpy_errors, folder, environ, changed_options()
    )
    return pickle.dumps(tuple(around), protocol=5)


def enter(data: bytes) -> None:
    """Let folder and environment of :func:`surroundings` be this process's, which is a fit's."""
    if not data:
        return
    given = _opened(data)
    if given.folder:
        with suppress(OSError):  # it is gone: what is sought in it won't be found
            os.chdir(given.folder)
    for name, value in given.environ.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _changes(began: Began) -> tuple[str, dict[str, str | None]]:
    folder, environ = _folder(), dict(os.environ)
    changed = {
        name: environ.get(name)
        for name in sorted({*environ, *began.environ})
        if environ.get(name) != began.environ.get(name) and not _NOT_HANDED_ON.match(name)
    }
    return "" if folder == began.folder else folder, changed


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - only handed to chdir
    except OSError:  # it was removed
        return ""


@contextmanager
def in_force(data: bytes) -> Iterator[None]:
    """Let what :func:`surroundings` returned be in force; nothing, if that is empty.

    Filters are put back in the end, as our own code is to meet none of the user's.

    Raises
    ------
    InvalidSweepError
        scikit-learn refuses its configuration here.
    """
    if not data:
        yield
        return
    import numpy as np
    import sklearn

    given = _opened(data)
    with warnings.catch_warnings(), np.errstate(**given.numpy_errors):  # type: ignore[arg-type]
        try:
            context = sklearn.config_context(**given.config)
            context.__enter__()
        except Exception as error:
            raise InvalidSweepError(
                f"scikit-learn's configuration can't be set where fits run ({error}): install "
                "there what it needs, set in the environment what it asks for before the Client "
                "is made, or submit with another configuration"
            ) from error
        before = options() if given.pandas else {}
        set_options(given.pandas)
        warnings.resetwarnings()  # also forgets which warnings were shown already
        _filters()[:] = [_made(one) for one in given.filters]
        try:
            yield
        finally:
            context.__exit__(None, None, None)
            set_options(before)


def _filters() -> list[tuple[Any, ...]]:
    # Where each context has its own (free-threaded Python), the module's list isn't in force.
    found: Any = getattr(warnings, "_get_filters", lambda: warnings.filters)()
    return found  # type: ignore[no-any-return]


@lru_cache(maxsize=4)
def _opened(data: bytes) -> _Surroundings:
    config, filters, *others = pickle.loads(data)  # noqa: S301 - our own words
    return _Surroundings(config, tuple(_Filter(*one) for one in filters), *others)


def _text(matched: Any) -> Text:
    if matched is None or isinstance(matched, str):
        return matched
    return (str(matched.pattern), int(matched.flags))


def _name(category: type) -> tuple[str, str]:
    return category.__module__, category.__qualname__


def _made(words: _Filter) -> tuple[Any, ...]:
    message, module = (
        re.compile(*text) if isinstance(text, tuple) else text
        for text in (words.message, words.module)
    )
    return words.action, message, _category(*words.category), module, words.line


def _category(module: str, name: str) -> type[Warning]:
    """Return a class of warnings; if it isn't loaded here, one that it counts as once it is."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type) and issubclass(found, Warning) and _name(found) == (module, name):
        return found
    return _named(module, name)


class _ByName(type):
    """Whose classes are parents of every class of the same name."""

    def __subclasscheck__(cls, subclass: type) -> bool:
        return any(_name(parent) == _name(cls) for parent in subclass.__mro__)


@lru_cache(maxsize=256)
def _named(module: str, name: str) -> type[Warning]:
    words = {"__module__": module, "__qualname__": name}
    made: Any = _ByName(name.rpartition(".")[2], (Warning,), words)
    return made  # type: ignore[no-any-return]
