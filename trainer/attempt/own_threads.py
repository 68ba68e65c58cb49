"""A fitted model gets back the numbers of threads that its user asked for.

Not in: giving it the plan's, before it is fitted (:mod:`fitcast.trainer.attempt.fitting`).
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

_MISSING = object()


def give_back(model: Any, wanted: Mapping[str, Any]) -> None:
    """Set parameters of a fitted model, where it lets us without harm to what it has learned.

    Some refuse once they are fitted (CatBoost), others forget that they are. Such a model stays as
    it was fitted, as its threads change nothing of what it says.

    Parameters
    ----------
    model : object
        Changed in place.
    wanted : mapping
        Values by name, as ``get_params(deep=True)`` names them.
    """
    known = model.get_params(deep=True)
    for name, value in wanted.items():
        if name in known and not _same(known[name], value):
            of, _, own_name = name.rpartition("__")
            _give(known.get(of) if of else model, own_name, value)


def _give(owner: Any, name: str, value: Any) -> None:
    held: dict[str, Any] = getattr(owner, "__dict__", {})
    before = dict(held)
    with suppress(Exception):
        owner.set_params(**{name: value})
    if before.keys() <= held.keys() and _has(owner, name, value):
        return
    for lost in before.keys() - held.keys():
        held[lost] = before[lost]
    # CatBoost's parameters as given; what it was trained with is kept elsewhere.
    given = held.get("_init_params")
    if isinstance(given, dict) and name in given:
        before_it = given[name]
        given[name] = value
        if not _has(owner, name, value):
            given[name] = before_it


def _has(owner: Any, name: str, value: Any) -> bool:
    try:
        return _same(owner.get_params(deep=False).get(name, _MISSING), value)
    except Exception:
        return False


def _same(one: Any, other: Any) -> bool:
    """Compare what are numbers of threads: an int, or None."""
    return one is other or (type(one) is type(other) and bool(one == other))
