"""pandas' options: which were set, and setting them again.

pandas has public functions for one option at a time, whose name must be known and which warn of
those that are deprecated; what they read is read here instead. Where a pandas keeps it elsewhere,
nothing was set.
"""

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

_PLAIN = (bool, int, float, str, type(None))


def options() -> dict[str, Any]:
    """Return all options, those of a group in a mapping of their own; none without pandas."""
    found: dict[str, Any] = {}
    with suppress(Exception):
        found = _copied(_config()._global_config)
    return found


def are_options(known: Mapping[str, Any]) -> bool:
    """Tell whether :func:`options` would return this; quickly, as it is asked between fits."""
    try:
        return bool(_config()._global_config == known)
    except Exception:
        return options() == known


def changed_options() -> dict[str, Any]:
    """Return the options that aren't as they usually are by name, as far as they are plain."""
    found: dict[str, Any] = {}
    with suppress(Exception):
        usual = _config()._registered_options
        for name, value in _named(options()):
            if type(value) in _PLAIN and value != usual[name].defval:
                found[name] = value
    return found


def set_options(wanted: Mapping[str, Any]) -> None:
    """Set options, by name or in groups, as far as the pandas that is here knows them."""
    if not wanted:
        return
    import pandas as pd

    known = dict(_named(options()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value in _named(wanted):
            if name in known and known[name] != value:
                with suppress(Exception):
                    pd.set_option(name, value)


def _config() -> Any:
    return sys.modules["pandas._config.config"]


def _copied(group: dict[str, Any]) -> dict[str, Any]:
    return {name: _copied(value) if type(value) is dict else value for name, value in group.items()}


def _named(group: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in group.items():
        if type(value) is dict:
            yield from _named(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
