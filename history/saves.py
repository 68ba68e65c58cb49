"""How a workflow's history goes on over several processes: what is there, what is new.

Pure. In here: the log of a workflow's saves, by which readers get each record once; marks of the
attempts that a run already shows; which of two ends stands. Not in here: where they are kept
(:mod:`fitcast.history.mlflow_runs`, :mod:`fitcast.history.store`).

All of it goes by the id of a record, so the same attempt has to have the same one in every process.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

MARK_CHARACTERS: Final = 8
_BYTES: Final = 6  # of a digest; two of 1,000 attempts share one in a case of 500 million


class Save(NamedTuple):
    """One save of an ended workflow: when, and which rows of its file came with it."""

    at_ms: int
    start: int
    stop: int | None  # None: all to the end, of a version that kept no log of saves


def saves_text(saves: Sequence[Save], limit: int) -> str:
    """Return a log of saves as text of at most `limit` characters.

    Of a longer one the oldest saves become one: a reader that knows them reads them again.
    """
    words = [f"{save.at_ms}:{save.stop}" for save in saves]
    while len(text := " ".join(words)) > limit:
        del words[0]
    return text


def parse_saves(text: str, latest_ms: int | None) -> list[Save]:
    """Return the log of saves; none if it isn't one, or isn't that of the latest save.

    An earlier version saves without writing the log, whose end is then another time.
    """
    saves: list[Save] = []
    try:
        for word in text.split():
            at, stop = word.split(":")
            start = saves[-1].stop or 0 if saves else 0
            saves.append(Save(int(at), start, int(stop)))
    except ValueError:
        return []
    rows = [save.stop or 0 for save in saves]
    if rows != sorted(rows) or not saves or saves[-1].at_ms != latest_ms:
        return []
    return saves


def mark(record_id: str) -> str:
    """Return what stands for an attempt where ids would take too much room."""
    digest = hashlib.blake2b(record_id.encode("utf-8", "backslashreplace"), digest_size=_BYTES)
    return base64.urlsafe_b64encode(digest.digest()).decode("ascii")


def marks_text(marks: Iterable[str], limit: int) -> str:
    """Return the newest marks that have room, as text."""
    wanted = list(marks)[-(limit // MARK_CHARACTERS) :]
    return "".join(wanted)


def parse_marks(text: str) -> dict[str, None]:
    """Return the marks of a text, in their order."""
    size = MARK_CHARACTERS
    return {text[at : at + size]: None for at in range(0, len(text) - size + 1, size)}
