"""Commands that run sweeps: ``fitcast run`` and ``fitcast resume``, here or in the background.

Not in here: what is said of workflows that run (:mod:`fitcast.commands.following`).
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from fitcast.commands.options import AsJson, File, Quiet, WorkflowId

if TYPE_CHECKING:
    from fitcast.scheduler.forecast.sweep_estimate import SweepEstimate
    from fitcast.scheduler.session.client import Client
    from fitcast.scheduler.session.following import Following, Unfinished
    from fitcast.scheduler.session.workflow import Workflow
    from fitcast.trainer.sweep.prepared import Sweep

Detach = Annotated[
    bool, typer.Option("--detach", help="Let it run in the background, and return at once.")
]


@dataclass(frozen=True, slots=True)
class _Output:
    """Where a command writes what it has to say, and how much of it in which form."""

    stream: TextIO
    as_json: bool
    quiet: bool


def run(
    file: File,
    as_json: AsJson = False,
    quiet: Quiet = False,
    detach: Detach = False,
    go_on: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished workflow of the same sweep.")
    ] = False,
) -> None:
    """Run the sweep that a Python file defines. Ctrl-C interrupts it; `resume` goes on with it."""
    from fitcast.json_output import output
    from fitcast.reports import console_on, print_estimate
    from fitcast.scheduler.session.client import Client
    from fitcast.sweep_file import read_sweep

    with output(as_json) as stream, _interruptible() as interruptible:
        out = _Output(stream, as_json, quiet)
        sweep = read_sweep(file)
        with Client(start_workers=not detach) as client:
            earlier = _earlier(client, sweep, how=None if go_on else f"fitcast run {file}")
            if earlier is not None and go_on:
                workflow, forecast = _gone_on_with(client, earlier, detach=detach), None
            else:
                forecast = client.estimate(sweep)
                if not (quiet or as_json):
                    print_estimate(console_on(stream), forecast)
                workflow = client.submit(sweep, detach=detach)
            if detach:
                _say_detached(workflow, forecast, out)
                return
            interruptible.append(workflow)
            show_until_over(workflow, forecast, stream, as_json=as_json, quiet=quiet)


def resume(
    workflow_id: WorkflowId,
    as_json: AsJson = False,
    quiet: Quiet = False,
    detach: Detach = False,
) -> None:
    """Go on with a workflow whose process ended before it did: with the fits that aren't done."""
    from fitcast.json_output import output
    from fitcast.scheduler.session.background.starting import hand_over
    from fitcast.scheduler.session.client import Client
    from fitcast.scheduler.session.following import Following
    from fitcast.settings import Settings

    with output(as_json) as stream, _interruptible() as interruptible:
        out = _Output(stream, as_json, quiet)
        if detach:
            settings = Settings()
            following = Following(settings.ensure_home())
            hand_over(workflow_id, settings)
            workflow = following.workflow(workflow_id)
            _say_detached(workflow, None, out)
            return
        with Client() as client:
            workflow = client.resume(workflow_id)
            interruptible.append(workflow)
            show_until_over(workflow, None, stream, as_json=as_json, quiet=quiet)


def _earlier(client: "Client", sweep: "Sweep", *, how: str | None) -> "Unfinished | None":
    """Return an unfinished workflow of the same sweep, if there is one; say so unless it's wanted.

    One that runs comes before others, then the newest.
    """
    unfinished = _following(client).unfinished(sweep.prepare().submission.digest)
    if not unfinished:
        return None
    found = max(unfinished, key=lambda one: (one.is_held, one.workflow_id))
    if how is not None:
        if found.is_held:
            said = f"runs already: `{how} --resume` follows it, `fitcast status` shows it"
        else:
            said = (
                f"isn't finished: `{how} --resume` goes on with it, "
                f"`fitcast workflows remove {found.workflow_id}` removes it"
            )
        typer.echo(f"fitcast: workflow {found.workflow_id} of the same sweep {said}", err=True)
    return found


def _gone_on_with(client: "Client", earlier: "Unfinished", *, detach: bool) -> "Workflow":
    if earlier.is_held:
        return client.workflow(earlier.workflow_id)
    if detach:
        return client.workflow(earlier.workflow_id).detach()
    return client.resume(earlier.workflow_id)


def _following(client: "Client") -> "Following":
    from fitcast.scheduler.session.following import Following

    return Following(client.home)


def show_until_over(
    workflow: "Workflow",
    forecast: "SweepEstimate | None",
    stream: TextIO,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show a workflow's progress, then its result."""
    from fitcast.json_output import dump, run_document
    from fitcast.reports import console_on, print_accuracy, print_result
    from fitcast.scheduler.session.progress import show

    console = console_on(stream)
    if not quiet:
        show(workflow, console_on(sys.stderr))
    result = workflow.result()
    if as_json:
        dump(run_document(forecast, workflow, result), stream)
        return
    print_result(console, result)
    if not quiet and forecast is not None:
        print_accuracy(console, workflow)


def _say_detached(workflow: "Workflow", forecast: "SweepEstimate | None", out: _Output) -> None:
    from fitcast.json_output import dump, estimate_document, status_document
    from fitcast.reports import console_on

    if out.as_json:
        estimate = None if forecast is None else estimate_document(forecast)
        dump(status_document(workflow.view) | {"estimate": estimate}, out.stream)
    elif out.quiet:
        console_on(out.stream).print(workflow.id, highlight=False)
    else:
        console_on(out.stream).print(
            f"Workflow {workflow.id} runs in the background; `fitcast status` shows how far it "
            f"is, `fitcast status {workflow.id} --follow` its progress.",
            highlight=False,
        )


@contextmanager
def _interruptible() -> Iterator[list["Workflow"]]:
    """Say how to go on with what an interrupt ended; what runs elsewhere goes on there."""
    running: list[Workflow] = []
    try:
        yield running
    except KeyboardInterrupt:
        for workflow in running:
            if workflow.state == "interrupted":
                said = f"`fitcast resume {workflow.id}` goes on with it"
            elif workflow.is_over:
                continue
            else:
                said = f"it goes on in another process: `fitcast status {workflow.id}`"
            typer.echo(f"fitcast: workflow {workflow.id}: {said}", err=True)
        raise
