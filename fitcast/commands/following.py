"""Commands about workflows that other processes run, or ran: status, logs, cancel, workflows.

None of them starts workers, reads the history or imports what fits need. Not in here: those that
run something (:mod:`fitcast.commands.running`).
"""

import sys
from contextlib import ExitStack, closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fitcast.commands.options import AsJson, WorkflowId
from fitcast.commands.platform import is_of_platform, row_of, the_platform
from fitcast.errors import FitcastError, SubmissionError

if TYPE_CHECKING:
    from fitcast.scheduler.session.following import Following
    from fitcast.scheduler.session.workflow import Workflow

CODES: Final = {"succeeded": 0, "failed": 4, "cancelled": 5, "interrupted": 6}
"""Exit codes of `fitcast status ID`, by how it ended; 1 is an error of the command itself."""

NOT_OVER: Final = 3

CANCEL_WITHIN_S: Final = 60.0

workflows = typer.Typer(help="What is kept of workflows, and what it takes; `remove` removes it.")


def status(
    workflow_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="One workflow; by default the newest.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show its progress until it is over.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="Newest so many, beside those that run.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Say how far workflows are, and when they will be done.

    With an ID it exits with 0 if that succeeded, 3 if it isn't over yet, 4 if it failed, 5 if it
    was cancelled and 6 if it was interrupted.
    """
    from fitcast.commands.tables import print_status, print_statuses
    from fitcast.json_output import dump, output, status_document
    from fitcast.reports import console_on
    from fitcast.scheduler.session.progress import show

    following = _following()
    with output(as_json) as stream, ExitStack() as opened:
        if workflow_id is None:
            rows = [*_statuses(following, limit), *_of_platform(limit)]
            if as_json:
                dump(rows, stream)
            else:
                print_statuses(console_on(stream), rows)
            return
        workflow = _workflow(workflow_id, opened)
        if follow:
            show(workflow, console_on(sys.stderr))
        view = workflow.view
        row = status_document(view)
        if as_json:
            dump(row, stream)
        else:
            print_status(console_on(stream), row, view)
    raise typer.Exit(CODES.get(row["state"], NOT_OVER))


def logs(
    workflow_id: WorkflowId,
    fit: Annotated[
        str | None, typer.Argument(metavar="[FIT]", help="One fit, such as c0007-f3.")
    ] = None,
) -> None:
    """Print what the fits of a workflow wrote: output, warnings, tracebacks."""
    with ExitStack() as opened:
        text = _workflow(workflow_id, opened).logs(fit)
    if text:
        typer.echo(text)


def cancel(workflow_id: WorkflowId) -> None:
    """Give up a workflow that runs in the background."""
    with ExitStack() as opened:
        workflow = _workflow(workflow_id, opened)
        if workflow.state == "interrupted":
            raise SubmissionError(
                f"nobody runs workflow {workflow_id}: `fitcast resume {workflow_id}` would go on "
                f"with it, `fitcast workflows remove {workflow_id}` removes it"
            )
        if workflow.is_over:
            typer.echo(f"workflow {workflow_id} is over already: {workflow.state}")
            return
        workflow.cancel()
        workflow.wait(CANCEL_WITHIN_S)
        typer.echo(f"workflow {workflow_id}: {workflow.state}")


@workflows.callback(invoke_without_command=True)
def list_workflows(context: typer.Context, as_json: AsJson = False) -> None:
    """List what is kept of workflows, oldest first, and how much of the disk it takes."""
    if context.invoked_subcommand is not None:
        return
    from fitcast.commands.tables import print_kept
    from fitcast.json_output import dump, output
    from fitcast.reports import console_on

    with output(as_json) as stream:
        rows = [asdict(one) for one in _following().kept()]
        if as_json:
            dump(rows, stream)
        else:
            print_kept(console_on(stream), rows)


@workflows.command("remove")
def remove(
    workflow_ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Workflows that nobody runs.")
    ],
) -> None:
    """Remove all that is kept of workflows: results, models, data. What MLflow has stays."""
    following = _following()
    for workflow_id in workflow_ids:
        if is_of_platform(workflow_id):
            with closing(the_platform()) as platform:
                platform.remove(workflow_id)
        else:
            following.remove(workflow_id)
        typer.echo(f"workflow {workflow_id} removed")


def _following() -> "Following":
    from fitcast.scheduler.session.following import Following
    from fitcast.settings import Settings

    return Following(Settings().ensure_home())


def _workflow(workflow_id: str, opened: ExitStack) -> "Workflow":
    """Return a workflow of this home, or of the platform that this user logged in at."""
    if not is_of_platform(workflow_id):
        return _following().workflow(workflow_id)
    return opened.enter_context(closing(the_platform())).workflow(workflow_id)


def _of_platform(limit: int) -> list[dict[str, Any]]:
    """Return a row for the newest on the platform, if this user logged in at one."""
    from fitcast.scheduler.session.remote.address import default_url
    from fitcast.settings import Settings

    if default_url(Settings().ensure_home()) is None:
        return []
    try:
        platform = the_platform()
    except FitcastError as error:  # what is here can be shown all the same
        typer.echo(f"fitcast: {error}", err=True)
        return []
    with closing(platform):
        return [row_of(told) for told in platform.newest(limit)]


def _statuses(following: "Following", limit: int) -> list[dict[str, Any]]:
    """Return a row for each that runs, and for the newest others."""
    folders = list(following.folders())
    newest = {folder.workflow_id for folder in folders[-limit:]}
    return [
        _status_row(following, folder.workflow_id)
        for folder in folders
        if folder.workflow_id in newest or folder.is_held()
    ]


def _status_row(following: "Following", workflow_id: str) -> dict[str, Any]:
    from fitcast.json_output import status_document, unreadable_document

    try:
        return status_document(following.workflow(workflow_id).view)
    except FitcastError as error:
        return unreadable_document(workflow_id, str(error))
