"""A reader's position in a store that several processes write to.

Workflows are read in the order of the time at which they were saved. Clocks of writers differ and
saves overlap, so each reading begins a while before the last one ended and leaves out what it
has already seen.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Final

from fitcast.errors import InvalidCursorError

OVERLAP_MS: Final = 15 * 60 * 1000
"""Clocks of machines may differ, and a save may take, so long without a workflow being missed."""

LOCAL_OVERLAP_MS: Final = 60 * 1000
"""The same for a store on one machine, which has one clock."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in the history of one experiment; immutable."""

    experiment: str
    saved_at_ms: int = 0  # of the latest workflow that was read
    seen: frozenset[tuple[str, int]] = frozenset()  # (run, saved_at_ms) within the overlap
    overlap_ms: int = OVERLAP_MS

    @property
    def read_from_ms(self) -> int:
        """The time to read from, in milliseconds since 1970."""
        return max(0, self.saved_at_ms - self.overlap_ms)

    def knows(self, save: tuple[str, int]) -> bool:
        """Return whether this save of a workflow (run, time in ms) was already read."""
        return save in self.seen

    def after(self, saves: Collection[tuple[str, int]]) -> "Cursor":
        """Return the cursor after more saves, each a run and its time, were read."""
        latest = max([self.saved_at_ms, *(at for _, at in saves)])
        return replace(self, saved_at_ms=latest, seen=self.seen | frozenset(saves))

    def text(self) -> str:
        """Return the cursor as text, to be kept."""
        seen = sorted(s for s in self.seen if s[1] >= self.read_from_ms)
        return json.dumps(
            {"experiment": self.experiment, "saved_at_ms": self.saved_at_ms, "seen": seen}
        )

    @classmethod
    def parse(cls, text: str | None, experiment: str, overlap_ms: int = OVERLAP_MS) -> "Cursor":
        """Return the cursor of a text; the beginning for None.

        Raises
        ------
        InvalidCursorError
            The text is no cursor, or one of another experiment.
        """
        if text is None:
            return cls(experiment, overlap_ms=overlap_ms)
        try:
            found: dict[str, Any] = json.loads(text)
            cursor = cls(
                str(found["experiment"]),
                int(found["saved_at_ms"]),
                frozenset((str(run), int(at)) for run, at in found["seen"]),
                overlap_ms,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidCursorError(
                f"{text[:80]!r} is no cursor of an MLflow history; pass None to read everything"
            ) from error
        if cursor.experiment != experiment:
            raise InvalidCursorError(
                f"The cursor belongs to the experiment {cursor.experiment!r}, not to "
                f"{experiment!r}; pass None to read everything"
            )
        return cursor
