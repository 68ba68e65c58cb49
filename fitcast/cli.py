"""The command line. Heavy imports wait until a command needs them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fitcast.commands import following, platform, running, serving
from fitcast.commands.options import AsJson, File, Quiet
from fitcast.errors import FitcastError, InvalidInputError, InvalidPoolError
from fitcast.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fitcast.history.records import Record
    from fitcast.scheduler.plan.pools import Pool

app = typer.Typer(
    help="Forecasts what every machine-learning fit needs, then runs the fits on Dask.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_COMMANDS: tuple[Callable[..., None], ...] = (
    running.run,
    running.resume,
    following.status,
    following.logs,
    following.cancel,
    platform.login,
    platform.logout,
    platform.submit,
    platform.queue,
    serving.serve,
)
for command in _COMMANDS:
    app.command()(command)
app.add_typer(following.workflows, name="workflows")
app.add_typer(serving.user, name="user")
app.add_typer(serving.token, name="token")
app.add_typer(serving.keys, name="keys")

history = typer.Typer(help="What earlier fits cost: the workflows, and other people's runs.")
app.add_typer(history, name="history")

_INTERRUPTED = 130  # as shells say it: 128 + SIGINT


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    compare: Annotated[
        bool, typer.Option(help="Run the fits with GridSearchCV(n_jobs=-1) too.")
    ] = False,
    rows: Annotated[int, typer.Option(min=500, help="Flights to sample.")] = 90_000,
    quiet: Quiet = False,
) -> None:
    """Run the seed workload, 75 fits on real flights, and learn from it."""
    from fitcast.demo import run_demo

    run_demo(rows=rows, compare=compare, quiet=quiet)


@app.command()
def estimate(
    file: File,
    probe: Annotated[
        bool, typer.Option(help="Try a few fits on a sample first, where that pays.")
    ] = False,
    pool: Annotated[
        list[str] | None,
        typer.Option(
            help="Other workers, NAME:CPUS:GIB[:WORKERS[:PRICE_PER_HOUR]]; may be given again."
        ),
    ] = None,
    within: Annotated[
        float | None, typer.Option(help="Hours after which it should be done.")
    ] = None,
    cost: Annotated[float | None, typer.Option(help="What it may cost.")] = None,
    on_platform: Annotated[
        bool, typer.Option("--platform", help="Ask the platform that you logged in at.")
    ] = False,
    as_json: AsJson = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say in one line when it would be done.")
    ] = False,
) -> None:
    """Forecast the sweep that a Python file defines, on fewer and more workers too; run nothing."""
    from fitcast.json_output import dump, estimate_document, output
    from fitcast.reports import console_on, print_estimate, print_eta, print_what_if
    from fitcast.scheduler.session.client import Client
    from fitcast.sweep_file import read_sweep

    pools = [_pool_of(one) for one in pool] if pool else None
    within_s = None if within is None else 3600.0 * within
    with output(as_json) as stream:
        console = console_on(stream)
        sweep = read_sweep(file)
        with Client(platform.address() if on_platform else None) as client:
            forecast = client.estimate(sweep, pools=pools, probe=probe)
            choices = None
            if not quiet:
                choices = forecast.what_if(done_within_s=within_s, cost_at_most=cost)
            wished = within is not None or cost is not None
            if as_json:
                dump(estimate_document(forecast, choices, wished=wished), stream)
            elif choices is None:
                print_eta(console, forecast)
            else:
                print_estimate(console, forecast)
                print_what_if(console, choices, wished=wished)


@app.command()
def train(
    back: Annotated[
        bool, typer.Option("--rollback", help="Go back to the model before the one in use.")
    ] = False,
) -> None:
    """Read what is new in the history; a better sizing model takes over."""
    from fitcast.history.mlflow_store import MlflowHistory
    from fitcast.history.models import rollback
    from fitcast.scheduler.session.learning import Learner
    from fitcast.settings import Settings

    settings = Settings()
    folder = settings.ensure_home() / "records"
    store = MlflowHistory(settings.tracking_uri, settings.experiment, wait_s=settings.store_wait_s)
    store.prepare()
    models = store.models
    if back:
        typer.echo(f"back to version {rollback(models).version} of the sizing model")
        return
    learner = Learner(store, folder, typer.echo, models)
    verdict = learner.load()
    typer.echo(f"{verdict} ({learner.model().record_count:,} records in use)")


@history.callback(invoke_without_command=True)
def list_history(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="Newest so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the newest workflows in the history."""
    if context.invoked_subcommand is not None:
        return
    from fitcast.history.mlflow_store import MlflowHistory
    from fitcast.json_output import dump, output
    from fitcast.reports import console_on, print_workflows
    from fitcast.settings import Settings

    settings = Settings()
    settings.ensure_home()
    store = MlflowHistory(settings.tracking_uri, settings.experiment, wait_s=settings.store_wait_s)
    with output(as_json) as stream:
        store.prepare()
        workflows = _newest_workflows(store.read(None)[0], limit)
        if as_json:
            dump(workflows, stream)
        else:
            print_workflows(console_on(stream), workflows)


def _newest_workflows(records: "Sequence[Record]", limit: int) -> list[dict[str, Any]]:
    """Return a row per workflow, the newest last."""
    by_workflow: dict[str, list[Record]] = {}
    for record in records:
        own = by_workflow.pop(record.workflow_id, [])  # one that was resumed is newer than it was
        own.append(record)
        by_workflow[record.workflow_id] = own
    return [
        {
            "workflow_id": workflow_id,
            "workflow_name": own[0].workflow_name,
            "attempts": len(own),
            "succeeded": sum(record.outcome.value == "succeeded" for record in own),
            "runtime_s": sum(record.runtime_s for record in own),
            "ended_at": max(record.ended_at for record in own),
        }
        for workflow_id, own in list(by_workflow.items())[-limit:]
    ]


@history.command("import")
def import_history(
    file: Annotated[
        Path | None, typer.Argument(help="What another team's `fitcast history export` wrote.")
    ] = None,
    tracking_uri: Annotated[
        str | None, typer.Option(help="Instead: the MLflow store to read from.")
    ] = None,
    experiment: Annotated[str | None, typer.Option(help="Its experiment.")] = None,
) -> None:
    """Learn from another team's fits, or from ordinary MLflow runs as weaker evidence."""
    from fitcast.history.mlflow_import import ForeignExperiment, import_runs
    from fitcast.history.mlflow_store import MlflowHistory
    from fitcast.history.shared_prior import import_shared
    from fitcast.settings import Settings

    by_store = tracking_uri is not None and experiment is not None
    if (file is None) is not by_store or (file is not None and (tracking_uri or experiment)):
        raise InvalidInputError("give either FILE, or --tracking-uri with --experiment")

    settings = Settings()
    settings.ensure_home()
    store = MlflowHistory(settings.tracking_uri, settings.experiment, wait_s=settings.store_wait_s)
    if file is not None:
        typer.echo(
            f"{import_shared(file, store):,} fits imported; `fitcast train` learns from them"
        )
        return
    assert tracking_uri is not None
    assert experiment is not None
    imported = import_runs(
        ForeignExperiment(tracking_uri, experiment, wait_s=settings.store_wait_s), store
    )
    typer.echo(f"{len(imported.records):,} runs imported")
    for reason, count in sorted(imported.skipped.items()):
        typer.echo(f"{count:,} left out: {reason}")


@history.command("export")
def export_history(
    file: Annotated[Path, typer.Argument(help="Parquet file to write.")],
) -> None:
    """Write what fits cost, for other teams: no names, no values of data, no scores or errors."""
    from fitcast.history.mlflow_store import MlflowHistory
    from fitcast.history.shared_prior import export
    from fitcast.history.store import unique_records
    from fitcast.settings import Settings

    settings = Settings()
    settings.ensure_home()
    store = MlflowHistory(settings.tracking_uri, settings.experiment, wait_s=settings.store_wait_s)
    records, _ = store.read(None)
    count = export(unique_records(records), file)
    typer.echo(f"{count:,} fits written to {file}; look at it before you give it away")


@history.command("report")
def report_history(
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say it in one line.")] = False,
) -> None:
    """Say how good forecasts were: by algorithm, over time, with memory wasted and run out of."""
    import json

    from rich.console import Console

    from fitcast.history.mlflow_store import MlflowHistory
    from fitcast.history.review.accuracy import report_of
    from fitcast.history.store import unique_records
    from fitcast.reports import print_report, report_line
    from fitcast.settings import Settings

    settings = Settings()
    settings.ensure_home()
    store = MlflowHistory(settings.tracking_uri, settings.experiment, wait_s=settings.store_wait_s)
    records, _ = store.read(None)
    report = report_of(unique_records(records))
    if as_json:
        typer.echo(json.dumps(report.as_json(), indent=2))
    elif report.all_fits.fits and quiet:
        typer.echo(report_line(report))
    elif report.all_fits.fits:
        print_report(Console(), report)
    else:
        typer.echo("The history has no fits with forecasts yet.")


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on loopback.")] = 5000,
) -> None:
    """Open the MLflow UI on what fitcast logged, for you alone; Ctrl-C ends it."""
    from fitcast.settings import Settings

    settings = Settings()
    settings.ensure_home()
    uri = settings.tracking_uri
    if uri.startswith("http"):
        typer.echo(f"The history is on a server: open {uri} in a browser.")
        return
    from fitcast.ui_server import serve

    serve(uri, port, typer.echo, settings.experiment)


def _pool_of(written: str) -> "Pool":
    from fitcast.scheduler.plan.pools import Pool

    parts = written.split(":")
    try:
        name, cpus, gib, *more = parts
        workers, price = more + ["1", ""][len(more) :]
        return Pool(
            name,
            cpus=int(cpus),
            memory_bytes=int(float(gib) * 2**30),
            workers=int(workers),
            price_per_hour=float(price) if price else None,
        )
    except (ValueError, OverflowError) as error:
        if isinstance(error, InvalidPoolError):
            raise
        raise InvalidPoolError(
            f"--pool {written!r} can't be read; write NAME:CPUS:GIB[:WORKERS[:PRICE_PER_HOUR]], "
            "for example big:8:32:4:0.40"
        ) from error


def main() -> None:
    """Run the command line; our errors are one line, not a traceback."""
    try:
        app()
    except FitcastError as error:
        typer.echo(f"fitcast: {error}", err=True)
        sys.exit(1)
    except SystemExit as ending:
        if ending.code == _INTERRUPTED:  # typer turns Ctrl-C into this, without a word
            typer.echo("fitcast: interrupted", err=True)
        raise
