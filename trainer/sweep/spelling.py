"""Names that a user misspelt: found, and answered with the one that was meant."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fitcast.errors import InvalidSweepError


def check_spelling(estimator: Any, params: Mapping[str, Any]) -> None:
    """Refuse names that an estimator swallows though they are slips of the pen.

    XGBoost and LightGBM take any keyword and warn, if at all, in each fit.
    """
    known = estimator.get_params(deep=True)
    for key in params:
        if key in known or any(name.startswith(key + "__") for name in known):
            continue
        if any(key.startswith(other + "__") for other in params):
            continue  # the grid itself puts another estimator there
        if difflib.get_close_matches(key, known, n=1, cutoff=0.87):
            raise InvalidSweepError(unknown_message(estimator, [key]))


def unknown_message(estimator: Any, unknown: Sequence[str]) -> str:
    """Return what to say of hyper-parameters that an estimator hasn't got."""
    known = sorted(estimator.get_params(deep=True))
    shown = ", ".join(known[:60]) + (", …" if len(known) > 60 else "")
    what = type(estimator).__name__
    return (
        f"{what} has no hyper-parameter {unknown[0]!r}{nearest(unknown[0], known)} It has: {shown}."
    )


def nearest(word: str, words: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the word that comes nearest, else a full stop."""
    words = list(words)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if not close:  # "max_depth" for "forest__max_depth"
        close = [other for other in words if other.endswith("__" + word)][:1]
    return f"; did you mean {close[0]!r}?" if close else "."
