"""Commands of a shared platform's users: login, logout, submit, queue.

`status`, `logs` and `cancel` know a platform's workflows by their ids
(:mod:`fitcast.commands.following`). Not in here: commands of who runs the platform
(:mod:`fitcast.commands.serving`).
"""

import re
import sys
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fitcast.commands.options import AsJson, File, Quiet
from fitcast.errors import InvalidInputError

if TYPE_CHECKING:
    from fitcast.scheduler.session.remote.platform import RemotePlatform

_OF_PLATFORM: Final = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{32}")


def login(
    url: Annotated[str, typer.Argument(metavar="URL", help="https://… of the platform.")],
    token: Annotated[
        str | None,
        typer.Option(help="Asked for by default; `-` reads it from standard input."),
    ] = None,
) -> None:
    """Keep a token for a shared platform, and let commands go there from now on."""
    from fitcast.scheduler.session.remote.address import BrokerAddress, keep_token
    from fitcast.scheduler.session.remote.platform import RemotePlatform
    from fitcast.settings import Settings

    home = Settings().ensure_home()
    address = BrokerAddress.of(url)
    if token == "-" or (token is None and not sys.stdin.isatty()):  # noqa: S105 - a dash
        token = sys.stdin.readline()
    elif token is None:
        token = typer.prompt("Token", hide_input=True)
    secret = (token or "").strip()
    if not secret:
        raise InvalidInputError("no token was given: who runs the platform makes you one")
    with closing(RemotePlatform(address.url, secret, home)) as platform:
        about = platform.about
    path = keep_token(address, home, secret)
    typer.echo(f"you are {about['user']} at {address.url}; the token is kept in {path}")


def logout(
    url: Annotated[
        str | None, typer.Argument(metavar="[URL]", help="By default the one you logged in at.")
    ] = None,
) -> None:
    """Forget the token for a shared platform; who runs it can revoke it, too."""
    from fitcast.scheduler.session.remote.address import BrokerAddress, default_url, forget_token
    from fitcast.settings import Settings

    home = Settings().ensure_home()
    found = url or default_url(home)
    if found is None or not forget_token(BrokerAddress.of(found), home):
        raise InvalidInputError("no token is kept for that platform")
    typer.echo(f"the token for {found} is forgotten")


def submit(
    file: File,
    priority: Annotated[
        int, typer.Option(min=-100, max=100, help="Within your own work: larger goes first.")
    ] = 0,
    wait: Annotated[bool, typer.Option(help="Show its progress until it is over.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Submit a sweep to the platform that you logged in at.

    Of a Python file the sweep is made and encrypted here. A JSON file goes as it is: the platform
    reads the data and makes the sweep.
    """
    from fitcast.commands.running import show_until_over
    from fitcast.json_output import dump, output, status_document
    from fitcast.sweep_file import is_description, read_json, read_sweep

    with output(as_json) as stream:
        described = read_json(file) if is_description(file) else None
        sweep = read_sweep(file) if described is None else None
        with closing(the_platform()) as platform:
            if described is not None:
                workflow_id = platform.describe(described, priority=priority)
                if not wait:
                    if as_json:
                        dump({"workflow_id": workflow_id}, stream)
                    else:
                        typer.echo(
                            f"workflow {workflow_id} is prepared by a worker, then it waits for "
                            f"its turn; `fitcast status {workflow_id}` shows it"
                        )
                    return
                workflow = platform.prepared(workflow_id)
            else:
                assert sweep is not None
                workflow = platform.submit(sweep, probe=False, detach=True, priority=priority)
            if wait:
                show_until_over(workflow, None, stream, as_json=as_json, quiet=quiet)
            elif as_json:
                dump(status_document(workflow.view), stream)
            else:
                typer.echo(
                    f"workflow {workflow.id} waits for its turn; `fitcast status {workflow.id}` "
                    "shows it"
                )


def queue(as_json: AsJson = False) -> None:
    """List what runs and waits on the platform: yours, or everybody's for administrators."""
    from fitcast.commands.tables import print_statuses
    from fitcast.json_output import dump, output
    from fitcast.reports import console_on

    with closing(the_platform()) as platform:
        rows = [row_of(told) for told in platform.queue()]
    with output(as_json) as stream:
        if as_json:
            dump(rows, stream)
        else:
            print_statuses(console_on(stream), rows)


def is_of_platform(workflow_id: str) -> bool:
    """Tell whether an id is one that a shared platform's workflow has."""
    return _OF_PLATFORM.fullmatch(workflow_id) is not None


def address() -> str:
    """Return where the platform is that this user logged in at, or that the environment names.

    Raises
    ------
    InvalidInputError
        There is none.
    """
    from fitcast.scheduler.session.remote.address import ADDRESS_VARIABLE, default_url
    from fitcast.settings import Settings

    url = default_url(Settings().ensure_home())
    if url is None:
        raise InvalidInputError(
            f"no platform is known: `fitcast login URL` first, or set {ADDRESS_VARIABLE}"
        )
    return url


def the_platform() -> "RemotePlatform":
    """Return the platform at that address; see `address`."""
    from fitcast.scheduler.session.remote.platform import RemotePlatform
    from fitcast.settings import Settings

    return RemotePlatform(address(), None, Settings().ensure_home())


def row_of(told: dict[str, Any]) -> dict[str, Any]:
    """Return what a platform tells of a workflow, as a row of `status`."""
    eta = told["eta"] or {}
    fits = told["fits"]

    def time(text: str | None) -> datetime | None:
        return None if text is None else datetime.fromisoformat(text)

    return {
        "workflow_id": told["workflow_id"],
        "workflow_name": told["workflow_name"],
        "state": told["state"],
        "done": fits["done"],
        "running": fits["running"],
        "fits": fits["total"],
        "eta_s_p10": eta.get("p10_s"),
        "eta_s_p50": eta.get("p50_s"),
        "eta_s_p90": eta.get("p90_s"),
        "finish_at": time(eta.get("finish_at")),
        "notes": tuple(told["notes"]),
        "submitted_at": time(told["submitted_at"]),
        "ended_at": time(told["ended_at"]),
        "error": None if told["error"] is None else told["error"]["message"],
        "user": told["user"],
    }
