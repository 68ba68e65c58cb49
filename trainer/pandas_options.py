"""pandas' options: which were set, and setting them again.

pandas has public functions for one option at a time, whose name must be known and which warn of
those that are deprecated; what they read is read here instead. Where a pandas keeps it elsewhere,
nothing was set.
"""

import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

_PLAIN = (bool, int, float, str, type(None))


def options() -> dict[str, Any]:
    """Return all options by name; none before pandas is imported."""
    found: dict[str, Any] = {}
    with suppress(Exception):
        config = _config()
        for name in config._registered_options:
            value = config._global_config
            for part in name.split("."):
                value = value[part]
            found[name] = value
    return found


def changed_options() -> dict[str, Any]:
    """Return the options that aren't as they usually are, as far as they are plain values."""
    found: dict[str, Any] = {}
    with suppress(Exception):
        usual = _config()._registered_options
        for name, value in options().items():
            if type(value) in _PLAIN and value != usual[name].defval:
                found[name] = value
    return found


def set_options(wanted: Mapping[str, Any]) -> None:
    """Set options that aren't like this, as far as the pandas that is here knows them."""
    if not wanted:
        return
    import pandas as pd

    known = options()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value in wanted.items():
            if name in known and known[name] != value:
                with suppress(Exception):
                    pd.set_option(name, value)


def _config() -> Any:
    return sys.modules["pandas._config.config"]
