"""The live bar of a workflow, in a terminal or a notebook."""

from contextlib import suppress
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fitcast.errors import WaitTimeoutError
from fitcast.scheduler.forecast.eta import span

if TYPE_CHECKING:
    from fitcast.scheduler.session.workflow import Workflow

REFRESH_S = 0.25


def show(workflow: "Workflow", console: Console | None = None) -> None:
    """Show the bar until the workflow is over. An interrupt ends the bar, not the workflow."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[running]} running"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[eta]}"),
    )
    with Progress(*columns, console=console, transient=False) as bar:
        task = bar.add_task(workflow.name, total=None, running=0, eta="")
        over = False
        while not over:
            with suppress(WaitTimeoutError):
                workflow.wait(REFRESH_S)
            over = workflow.is_over
            done, running, total = workflow.counts()
            eta = workflow.eta
            said = f"{workflow.state}" if over else f"{span(eta.p50_s)} left "
            if not over:
                said += f"({span(eta.p10_s)} to {span(eta.p90_s)})"
            bar.update(task, completed=done, total=total, running=running, eta=said)
