"""The last events of a plan, kept so that an internal error can be replayed.

    python -m fitcast.scheduler.run.event_log FILE

plays such a file again, tells each event and what followed from it, and where the plan began to
contradict itself. A file holds names of fits, forecasts and errors; no data and no keys.
"""

import argparse
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fitcast.errors import FitcastError
from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.events import Action, Event, Reforecast
from fitcast.scheduler.plan.invariants import InvariantError
from fitcast.version import __version__

KEPT = 1_000
"""At least so many events are kept, once there were that many ..."""

MOST_ESTIMATES = 20_000
"""... or fewer, if they bring so many corrected estimates: a large sweep's hold much memory."""

MOST_FILES = 20
"""The newest files that are kept."""


@dataclass
class _Stretch:
    """A plan, and what happened to it from then on."""

    base: Decisions
    events: list[tuple[float, Event]] = field(default_factory=list)
    estimates: int = 0  # that they brought

    @property
    def is_full(self) -> bool:
        """Whether another one is to follow."""
        return len(self.events) >= KEPT or self.estimates >= MOST_ESTIMATES


class EventLog:
    """Keeps the last events, and the plan as it was before them.

    Parameters
    ----------
    folder : Path
        Where they are written if something goes wrong.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stretches: list[_Stretch] = []

    def note(self, event: Event, now_s: float, decisions: Decisions) -> None:
        """Keep an event that is about to be applied to a plan."""
        if not self._stretches or self._stretches[-1].is_full:
            self._stretches = [*self._stretches[-1:], _Stretch(decisions.copy())]
        last = self._stretches[-1]
        last.events.append((now_s, event))
        if isinstance(event, Reforecast):
            last.estimates += len(event.estimates)

    def write(self) -> Path:
        """Write what is kept to a new file; return which.

        Raises
        ------
        OSError
            It can't be written.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in sorted(self._folder.glob("*.events"))[: -MOST_FILES + 1]:
            old.unlink(missing_ok=True)
        path = self._folder / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.events"
        first, *later = self._stretches
        every = [*first.events, *(event for stretch in later for event in stretch.events)]
        with path.open("wb") as file:
            path.chmod(0o600)
            pickle.dump((__version__, first.base, every), file)
        return path


def read(path: Path) -> tuple[Decisions, list[tuple[float, Event]]]:
    """Return the plan and the events of a file that this release wrote. Read your own files only.

    Raises
    ------
    FitcastError
        Another release wrote it.
    """
    with path.open("rb") as file:
        version, base, every = pickle.load(file)  # noqa: S301 (our own, in the user's own folder)
    if version != __version__:
        raise FitcastError(f"{path} was written by fitcast {version}; replay it with that release")
    return base, every


def replay(
    base: Decisions, every: list[tuple[float, Event]]
) -> Iterator[tuple[float, Event, list[Action]]]:
    """Apply events to a plan again; yield each with the actions that follow from it.

    Raises
    ------
    InvariantError
        After the event that made the plan contradict itself.
    """
    plan = Decisions(base.state.copy(), checked=True)
    for now_s, event in every:
        yield now_s, event, plan.handle(event, now_s)


def main() -> None:
    """Replay a file and print what happens."""
    parser = argparse.ArgumentParser(description="Replay the last events of a plan.")
    parser.add_argument("file", type=Path)
    base, every = read(parser.parse_args().file)
    number = 0
    try:
        for number, (now_s, event, actions) in enumerate(replay(base, every), 1):  # noqa: B007
            print(f"{now_s:.3f} s  {event}")  # noqa: T201
            for action in actions:
                print(f"    {action}")  # noqa: T201
    except InvariantError as error:
        print(f"event {number + 1} of {len(every)} breaks the plan: {error}")  # noqa: T201
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
