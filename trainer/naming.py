"""The names of classes, wherever they are recorded."""

import sys
from typing import Any


def public_path(thing: Any) -> str:
    """Return the shortest import path under which the class of ``thing`` can be had.

    ``sklearn.linear_model.LogisticRegression``, not the private module it is written in, so that
    records stay comparable when a library moves its files.
    """
    if thing is None or isinstance(thing, str):
        return str(thing or "passthrough")
    cls = thing if isinstance(thing, type) else type(thing)
    parts = cls.__module__.split(".")
    for length in range(1, len(parts)):
        module = sys.modules.get(".".join(parts[:length]))
        # vars, not getattr: a lazy package would be made to import things.
        if module is not None and vars(module).get(cls.__name__) is cls:
            return f"{module.__name__}.{cls.__name__}"
    return f"{cls.__module__}.{cls.__qualname__}"


MOST_NAME_CHARS = 100
"""Longest name of a kind of error: it goes into tables, and anyone's class has one."""


def error_name(error: BaseException | type) -> str:
    """Return the name of an error's class, short and printable."""
    cls = error if isinstance(error, type) else type(error)
    name: str = type.__dict__["__name__"].__get__(cls)  # a metaclass may have its own idea of it
    if len(name) <= MOST_NAME_CHARS and name.isprintable():
        return name
    return "".join(char if char.isprintable() else "?" for char in name[:MOST_NAME_CHARS])
