"""Commands of who runs a shared platform: serve, users, tokens, keys.

All but `serve` work on the platform's database and need no running broker. Not in here: commands of
its users (:mod:`fitcast.commands.platform`).
"""

import os
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fitcast.commands.options import AsJson
from fitcast.errors import InvalidInputError

if TYPE_CHECKING:
    from fitcast.scheduler.broker.store import BrokerStore, StoredWorkflow

user = typer.Typer(help="Users of the shared platform of this home.", no_args_is_help=True)
token = typer.Typer(help="Tokens that open the shared platform.", no_args_is_help=True)
keys = typer.Typer(help="Keys that wrap the keys of workflows.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A user.")]
DAYS: Final = 90.0
OPERATOR: Final = "operator"
"""Who does what in the audit log, of those that have the database itself."""


def serve(
    host: Annotated[str | None, typer.Option(help="Where to listen; 127.0.0.1 by default.")] = None,
    port: Annotated[int | None, typer.Option(help="8765 by default; 0 for any.")] = None,
    database: Annotated[
        str | None, typer.Option(help="sqlite:///… or postgresql+psycopg://…; SQLite by default.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="PEM file, for TLS.")] = None,
    private_key: Annotated[Path | None, typer.Option(help="PEM file, for TLS.")] = None,
) -> None:
    """Serve a team: queue their workflows, share the workers fairly, run them, give results back.

    Make users with `fitcast user add`, and tokens for them with `fitcast token create`.
    """
    from fitcast.scheduler.broker.serving.logs import write_structured_logs
    from fitcast.scheduler.broker.serving.process import serve
    from fitcast.scheduler.broker.settings import BrokerSettings
    from fitcast.settings import Settings

    given = {
        "host": host,
        "port": port,
        "database": database,
        "certificate": certificate,
        "private_key": private_key,
    }
    settings = Settings()
    settings.ensure_home()
    write_structured_logs(sys.stderr)
    broker = BrokerSettings(**{name: one for name, one in given.items() if one is not None})
    serve(settings, broker, lambda url: typer.echo(f"fitcast serves at {url}"))


@user.command("add")
def add_user(
    name: Name,
    group: Annotated[str, typer.Option(help="Whose share they have a part of.")] = "",
    weight: Annotated[float, typer.Option(min=0.01, help="Of their share, beside others.")] = 1.0,
    admin: Annotated[bool, typer.Option(help="Whether they may see everybody's queue.")] = False,
) -> None:
    """Add a user."""
    with _store() as store:
        store.add_user(name, group=group, weight=weight, is_admin=admin)
        store.note_audit(OPERATOR, "user add", name, "done")
    typer.echo(f"user {name} is there; `fitcast token create {name}` makes them a token")


@user.command("disable")
def disable_user(name: Name) -> None:
    """Let a user's tokens open nothing any more; what they submitted goes on."""
    with _store() as store:
        store.disable_user(name)
        store.note_audit(OPERATOR, "user disable", name, "done")


@user.command("list")
def list_users(as_json: AsJson = False) -> None:
    """List the users."""
    from fitcast.commands.tables import print_rows
    from fitcast.json_output import dump, output
    from fitcast.reports import console_on

    with _store() as store:
        rows = [
            {
                "user": one.name,
                "group": one.group,
                "weight": one.weight,
                "admin": one.is_admin,
                "disabled": one.disabled_at is not None,
            }
            for one in store.users()
        ]
    with output(as_json) as stream:
        if as_json:
            dump(rows, stream)
        else:
            print_rows(console_on(stream), rows)


@token.command("create")
def create_token(
    name: Name,
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    days: Annotated[float, typer.Option(min=0.01, help="For how long it is good.")] = DAYS,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="read, submit or admin; may be given again; read and submit by default."),
    ] = None,
) -> None:
    """Make a token for a user, and print it: it can't be shown again."""
    scopes = frozenset(scope or ("read", "submit"))
    if unknown := scopes - {"read", "submit", "admin"}:
        raise InvalidInputError(f"there is no scope {sorted(unknown)[0]!r}: read, submit or admin")
    expires_at = datetime.now(UTC) + timedelta(days=days)
    with _store() as store:
        made, secret = store.create_token(name, label, scopes, expires_at)
        store.note_audit(OPERATOR, "token create", f"{name}/{made.token_id}", "done")
    typer.echo(secret)
    typer.echo(
        f"token {made.token_id} of {name}, good until {expires_at:%Y-%m-%d}, for "
        f"{' and '.join(sorted(scopes))}; it isn't shown again",
        err=True,
    )


@token.command("list")
def list_tokens(name: Name, as_json: AsJson = False) -> None:
    """List a user's tokens; the secrets themselves aren't kept."""
    from fitcast.commands.tables import print_rows
    from fitcast.json_output import dump, output
    from fitcast.reports import console_on

    with _store() as store:
        rows = [
            {
                "token": one.token_id,
                "label": one.label,
                "scopes": ", ".join(sorted(one.scopes)),
                "created_at": _time(one.created_at),
                "expires_at": _time(one.expires_at),
                "revoked_at": _time(one.revoked_at),
                "last_used_at": _time(one.last_used_at),
            }
            for one in store.tokens(name)
        ]
    with output(as_json) as stream:
        if as_json:
            dump(rows, stream)
        else:
            print_rows(console_on(stream), rows)


@token.command("revoke")
def revoke_token(
    number: Annotated[int, typer.Argument(metavar="TOKEN", help="As `token list` numbers them.")],
) -> None:
    """Let a token open nothing any more, from now on."""
    with _store() as store:
        store.revoke_token(number)
        store.note_audit(OPERATOR, "token revoke", str(number), "done")


@keys.command("new")
def new_keys(
    path: Annotated[
        Path, typer.Argument(help="The file to make; FITCAST_BROKER_KEY_FILE names it.")
    ],
) -> None:
    """Make a file of key-encryption keys, to be kept where a broker finds it."""
    from fitcast.scheduler.broker.keys import KeyFile

    if os.path.lexists(path):
        raise InvalidInputError(f"there is a file {path} already: keys are never written over")
    KeyFile(path).close()
    typer.echo(f"{path} has new keys; keep a copy of it elsewhere")


@keys.command("rotate")
def rotate_keys() -> None:
    """Make a new key-encryption key, and wrap the keys of all workflows with it.

    Broken off, it is run again; brokers need not be stopped.
    """
    from fitcast.scheduler.broker.keys import key_context
    from fitcast.scheduler.broker.serving.process import opened_keys
    from fitcast.scheduler.broker.settings import BrokerSettings
    from fitcast.settings import Settings

    settings, broker = Settings(), BrokerSettings()
    settings.ensure_home()
    with _store() as store, closing(opened_keys(settings, broker)) as kept:
        version = kept.rotate()

        def wrapped_again(row: "StoredWorkflow") -> tuple[bytes, str] | None:
            context = key_context(row.user_id, row.workflow_id, row.dataset_sha256)
            return kept.rewrap(row.wrapped_key, row.key_version, context)

        count = store.rewrap(wrapped_again)
        store.note_audit(OPERATOR, "keys rotate", version, "done")
    typer.echo(f"the keys of {count:,} workflows are wrapped with version {version} now")


def _store() -> "BrokerStore":
    from fitcast.scheduler.broker.serving.process import opened_store
    from fitcast.scheduler.broker.settings import BrokerSettings
    from fitcast.settings import Settings

    settings = Settings()
    settings.ensure_home()
    return opened_store(settings, BrokerSettings())


def _time(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="seconds")
