"""The progress of a workflow: a bar in a terminal or a notebook, now and then a line in a log.

Not in here: where numbers and ETA come from (:mod:`fitcast.scheduler.session.workflow`).
"""

import html
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fitcast.errors import WaitTimeoutError
from fitcast.scheduler.forecast.eta import span

if TYPE_CHECKING:
    from fitcast.scheduler.session.workflow import Workflow

REFRESH_S = 0.25
"""How often a bar is drawn anew."""

SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 30.0, 600.0
"""Between two lines in a log; in between, the pause is a tenth of the time that has gone by."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What is shown of a workflow at one moment."""

    name: str
    done: int
    running: int
    total: int
    elapsed_s: float
    said: str  # the ETA, or how it ended
    over: bool

    @classmethod
    def of(cls, workflow: "Workflow", elapsed_s: float) -> "Moment":
        """Look at a workflow."""
        over = workflow.is_over  # before the counts, which are then final
        done, running, total = workflow.counts()
        said = workflow.state
        if not over:
            eta = workflow.eta
            said = f"{span(eta.p50_s)} left ({span(eta.p10_s)} to {span(eta.p90_s)})"
            said += f"; {eta.note}" if eta.note else ""
        return cls(workflow.name, done, running, total, elapsed_s, said, over)

    def __str__(self) -> str:
        if self.over:
            return f"{self.name}: {self.said}, {self.done}/{self.total} fits in {self._elapsed}"
        return f"{self.name}: {self.done}/{self.total} fits, {self.running} running, {self.said}"

    @property
    def _elapsed(self) -> str:
        return span(self.elapsed_s)

    @property
    def html(self) -> str:
        """The same for a notebook."""
        bar = f'<progress value="{self.done}" max="{max(1, self.total)}"></progress>'
        name, _, rest = (html.escape(part) for part in str(self).partition(": "))
        return f'<div style="font-family: monospace"><b>{name}</b> {bar} {rest}</div>'


class Shown(Protocol):
    """What shows moments."""

    def __call__(self, moment: Moment) -> None:
        """Show one."""


def show(workflow: "Workflow", console: Console | None = None) -> None:
    """Show progress until the workflow is over. An interrupt ends the bar, not the workflow."""
    console = console or Console()
    began_s = time.monotonic()
    with _shown_on(console, workflow.name) as shown:
        over = False
        while not over:
            moment = Moment.of(workflow, time.monotonic() - began_s)
            shown(moment)
            over = moment.over
            if not over:
                with suppress(WaitTimeoutError):
                    workflow.wait(REFRESH_S)


@contextmanager
def _shown_on(console: Console, name: str) -> Iterator[Shown]:
    if console.is_jupyter:
        yield NotebookBar()
    elif console.is_terminal and not console.is_dumb_terminal:
        with _bar(console) as bar:
            yield TerminalBar(bar, name)
    else:
        yield Lines(console)


class NotebookBar:
    """One output of a cell, changed in place.

    It is plain HTML, so it needs no widgets, and is still there in a notebook that is saved,
    exported or opened elsewhere.
    """

    def __init__(self) -> None:
        self._handle: Any = None
        self._last = ""

    def __call__(self, moment: Moment) -> None:
        """Show a moment, if anything changed."""
        if moment.html == self._last:
            return
        self._last = moment.html
        data = {"text/html": moment.html, "text/plain": str(moment)}
        if self._handle is None:
            import IPython.display

            display: Any = IPython.display.display
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


class TerminalBar:
    """A bar in a terminal."""

    def __init__(self, bar: Progress, name: str) -> None:
        self._bar = bar
        self._task = bar.add_task(name, total=None, running=0, said="")

    def __call__(self, moment: Moment) -> None:
        """Show a moment."""
        self._bar.update(
            self._task,
            completed=moment.done,
            total=moment.total,
            running=moment.running,
            said=moment.said,
        )


class Lines:
    """Lines in a log: one at the beginning, one at the end, few in between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_s = 0.0

    def __call__(self, moment: Moment) -> None:
        """Write a line if it is time for one."""
        if moment.over or moment.elapsed_s >= self._next_s:
            self._next_s = moment.elapsed_s + pause_s(moment.elapsed_s)
            self._console.print(str(moment), soft_wrap=True, markup=False, highlight=False)


def pause_s(elapsed_s: float) -> float:
    """Return for how many seconds a log is spared the next line.

    Examples
    --------
    >>> pause_s(0.0), pause_s(1200.0), pause_s(86_400.0)
    (30.0, 120.0, 600.0)
    """
    return min(LONGEST_PAUSE_S, max(SHORTEST_PAUSE_S, elapsed_s / 10.0))


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[running]} running"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[said]}"),
        console=console,
        transient=False,
    )
