"""The tables of the commands about workflows, for people."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from fitcast.history.records import Outcome
from fitcast.reports import new_table
from fitcast.scheduler.forecast.eta import span

if TYPE_CHECKING:
    from fitcast.scheduler.run.views import WorkflowView

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def print_statuses(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """Print a row per workflow, with when it will be done."""
    if not rows:
        console.print("There are no workflows here; `fitcast run FILE` starts one.")
        return
    table = _table_of_workflows()
    table.add_column("left, or ended (UTC)", overflow="fold")
    for row in rows:
        table.add_row(
            row["workflow_id"], row["workflow_name"], row["state"], _fits(row), _when(row)
        )
    console.print(table)


def print_status(console: Console, row: dict[str, Any], view: "WorkflowView") -> None:
    """Print all about one workflow."""
    console.print(f"{row['workflow_name']}, workflow {row['workflow_id']}", highlight=False)
    console.print(f"{row['state']}, {_fits(row)} fits done, {row['running']} running")
    console.print(_when(row), highlight=False)
    for note in row["notes"]:
        console.print(note, highlight=False)
    if row["error"]:
        console.print(row["error"], highlight=False)
    for fit in view.rows.values():
        if fit.outcome not in (None, Outcome.SUCCEEDED, Outcome.CANCELLED):
            console.print(
                f"{fit.fit.fit_id} {fit.fit.candidate.label}, fold {fit.fit.fold}: {fit.outcome}: "
                f"{fit.error}",
                style="red",
                highlight=False,
            )


def print_kept(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """Print a row per workflow, with what it takes."""
    if not rows:
        console.print("Nothing is kept here.")
        return
    table = _table_of_workflows()
    table.add_column("size", justify="right")
    table.add_column("submitted (UTC)")
    for row in rows:
        table.add_row(
            row["workflow_id"],
            row["workflow_name"],
            row["state"],
            f"{row['fits']:,}",
            size(row["kept_bytes"]),
            "" if row["submitted_at"] is None else _utc(row["submitted_at"]),
        )
    console.print(table)
    console.print(f"Together {size(sum(row['kept_bytes'] for row in rows))}.")


def print_rows(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows that have the same few columns."""
    if not rows:
        console.print("There are none.")
        return
    table = new_table()
    for name in rows[0]:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    console.print(table)


def size(size_bytes: float) -> str:
    """Return a size for people.

    Examples
    --------
    >>> size(812), size(3_600_000), size(5 * 2**40)
    ('812 B', '3.4 MiB', '5.0 TiB')
    """
    for unit in _UNITS:
        if size_bytes < 1024 or unit == _UNITS[-1]:
            break
        size_bytes /= 1024
    return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"


def _table_of_workflows() -> Table:
    table = new_table()
    table.add_column("workflow", no_wrap=True)
    table.add_column("name", overflow="fold")
    table.add_column("state")
    table.add_column("fits", justify="right")
    return table


def _fits(row: dict[str, Any]) -> str:
    return f"{row['done']:,}/{row['fits']:,}"


def _when(row: dict[str, Any]) -> str:
    told = [] if row["ended_at"] is None else [f"ended {_utc(row['ended_at'])} UTC"]
    if row["eta_s_p50"] is not None and not math.isnan(row["eta_s_p50"]):
        left = f"({span(row['eta_s_p10'])} to {span(row['eta_s_p90'])})"
        told.append(f"{span(row['eta_s_p50'])} left {left}")
        if row["finish_at"] is not None:
            told.append(f"done {_utc(row['finish_at'])} UTC")
    return ", ".join(told)


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"
