"""The tables that the command line and the demo print, for people.

Not in here: what programs read (:mod:`fitcast.json_output`).
"""

import math
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fitcast.scheduler.forecast.eta import Eta, span

if TYPE_CHECKING:
    from fitcast.history.review.accuracy import AccuracyReport
    from fitcast.scheduler.forecast.sweep_estimate import SweepEstimate
    from fitcast.scheduler.session.results import Result
    from fitcast.scheduler.session.workflow import Workflow

_MIB = 2**20
_NO_END = 100_000  # columns: wider than any table, so that nothing is folded


def console_on(stream: TextIO | None = None) -> Console:
    """Return a console on a stream, standard output by default.

    In a terminal, lines are as wide as that. In a pipe or a file each line is whole, whatever
    ``COLUMNS`` says, and has no colour; so what reads it finds a row in a line.

    Names and messages of the user are shown as they are: no markup is looked for in them.
    """
    console = Console(file=stream or sys.stdout, markup=False, emoji=False)
    if not console.is_terminal and not console.is_jupyter:
        console = Console(
            file=console.file, markup=False, emoji=False, no_color=True, width=_NO_END
        )
    return console


def print_heading(console: Console, text: str) -> None:
    """Print what comes next, ruled across a terminal."""
    if console.width < _NO_END:
        console.rule(text)
    else:
        console.print(f"\n{text}")


def _eta(eta: Eta) -> str:
    said = f"{span(eta.p50_s)}, most likely between {span(eta.p10_s)} and {span(eta.p90_s)}"
    return f"{said}; {eta.note}" if eta.note else said


def print_estimate(console: Console, estimate: "SweepEstimate") -> None:
    """Print a row per candidate and the workflow's ETA."""
    rows = estimate.candidates.to_dict("records")
    pools = {row["pool"] for row in rows}
    table = new_table()
    table.add_column("candidate", overflow="fold")
    if len(pools) > 1:
        table.add_column("pool")
    for name in ("threads", "runtime", "P10 to P90", "MiB", "P95", "fails"):
        table.add_column(name, justify="right")
    for row, candidate in zip(rows, _short([row["candidate"] for row in rows]), strict=True):
        table.add_row(
            candidate,
            *((row["pool"],) if len(pools) > 1 else ()),
            str(row["threads"]),
            span(row["runtime_s_p50"]),
            f"{span(row['runtime_s_p10'])} to {span(row['runtime_s_p90'])}",
            *_mib(row["peak_memory_bytes_p50"], row["peak_memory_bytes_p95"]),
            f"{row['failure_probability']:.1%}",
        )
    _print(
        console, "Forecast, per fit of each candidate: runtime, peak memory, risk of failing", table
    )
    where = f" in pool {pools.pop()}" if len(pools) == 1 else ""
    print_eta(console, estimate, where)
    console.print(f"One after the other the fits would take {span(estimate.sequential_s)}.")
    if estimate.cost is not None:
        cost = estimate.cost
        console.print(
            f"The workers cost {cost.p50:,.2f} until then, most likely between {cost.p10:,.2f} and "
            f"{cost.p90:,.2f}; the fits use {cost.used_p50:,.2f} of that."
        )


def print_eta(console: Console, estimate: "SweepEstimate", where: str = "") -> None:
    """Print when the whole workflow would be done, in one line."""
    console.print(f"Whole workflow, {len(estimate.fits)} fits{where}: {_eta(estimate.eta)}")


def print_what_if(console: Console, choices: pd.DataFrame, *, wished: bool) -> None:
    """Print what fewer and more workers would change, and what `SweepEstimate.what_if` advises.

    Parameters
    ----------
    console : Console
        Where to.
    choices : DataFrame
        What `SweepEstimate.what_if` returned.
    wished : bool
        Whether it was asked which workers meet a wish.
    """
    table = new_table()
    table.add_column("workers", overflow="fold")
    priced = ["cost", "P90"] if choices["cost_p50"].notna().all() else []
    for name in ("CPUs", "done in", "P10 to P90", "busy", *priced):
        table.add_column(name, justify="right")
    table.add_column("")
    for row in choices.to_dict("records"):
        costs = (f"{row['cost_p50']:,.2f}", f"{row['cost_p90']:,.2f}") if priced else ()
        said = "these" if row["given"] else ""
        table.add_row(
            row["choice"],
            str(row["cpus"]),
            span(row["eta_s_p50"]),
            f"{span(row['eta_s_p10'])} to {span(row['eta_s_p90'])}",
            f"{row['busy_share']:.0%}",
            *costs,
            "cheapest that does" if wished and row["best"] else said,
        )
    _print(console, "What if there were fewer or more workers", table)
    if wished:
        answer = choices.attrs["answer"]
        console.print(answer[0].upper() + answer[1:])


def print_result(console: Console, result: "Result") -> None:
    """Print the leaderboard."""
    board = result.leaderboard
    table = new_table()
    names = [name for name in board.columns if name.startswith(("mean_", "std_"))]
    headings = [name.replace("mean_score", "score").replace("std_score", "±") for name in names]
    for name in ("rank", "candidate", *headings, "runtime", "forecast", "MiB", "P95"):
        table.add_column(name, justify="left" if name == "candidate" else "right", overflow="fold")
    rows = board.to_dict("records")
    for row, candidate in zip(rows, _short([row["candidate"] for row in rows]), strict=True):
        table.add_row(
            str(row["rank"]),
            candidate,
            *("-" if math.isnan(row[name]) else f"{row[name]:.4f}" for name in names),
            span(row["runtime_s"]),
            span(row["forecast_runtime_s"]),
            *_mib(row["peak_memory_bytes"], row["forecast_peak_memory_bytes"]),
        )
    _print(
        console, "Leaderboard: runtimes of all folds together, peak memory of the largest", table
    )
    for error in result.errors.itertuples():
        console.print(
            f"{error.candidate}, fold {error.fold}: {error.outcome}: {error.error}", style="red"
        )


def print_report(console: Console, report: "AccuracyReport") -> None:
    """Print how good forecasts were, over time and by algorithm."""
    from fitcast.history.review.accuracy import cells
    from fitcast.history.review.words import factor

    for title, first, rows in (
        ("Forecast and measured, over time", "from (UTC)", report.periods),
        ("Forecast and measured, by algorithm", "algorithm", report.algorithms),
    ):
        table = new_table()
        table.add_column(first, overflow="fold")
        drift = first == "algorithm"
        for name in ("fits", "off by", "bias", "inside", "above", "OOM", "GB h"):
            table.add_column(name, justify="right", no_wrap=True)
        if drift:
            table.add_column("drift", justify="right", no_wrap=True)
        for name, one in rows.items():
            extra = (factor(math.log(report.drift[name])),) if drift else ()
            table.add_row(escape(name), *cells(one), *extra)
        _print(console, title, table)
    console.print(
        "Off by: the typical factor between forecast and measured runtime. Bias: forecast ÷ "
        "measured. Inside: runtimes within their P10 to P90; 80 % is right. Above: needed more "
        "memory than their P95; 5 % is right. OOM: ended at their memory limit. GB h: memory held "
        "and not used, times how long. Drift: the bias of the newest third of the fits ÷ that of "
        "the others."
    )


def report_line(report: "AccuracyReport") -> str:
    """Return how good forecasts were of all fits, in a line."""
    from fitcast.history.review.accuracy import cells

    fits, off_by, bias, inside, above, *_ = cells(report.all_fits)
    return (
        f"{fits} fits: runtimes off by {off_by}, bias {bias}, {inside} within their P10 to P90; "
        f"{above} needed more memory than their P95"
    )


def print_workflows(console: Console, workflows: Sequence[dict[str, Any]]) -> None:
    """Print a row per workflow of the history."""
    table = Table("workflow", "name", "attempts", "succeeded", "runtime", "ended (UTC)")
    for row in workflows:
        table.add_row(
            row["workflow_id"],
            row["workflow_name"],
            str(row["attempts"]),
            str(row["succeeded"]),
            span(row["runtime_s"]),
            f"{row['ended_at']:%Y-%m-%d %H:%M}",
        )
    console.print(table)


def new_table() -> Table:
    """Return an empty table, in the style of all of them."""
    # Wide enough for 80 columns; text that still doesn't fit is folded, never cut off.
    return Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))


def _print(console: Console, title: str, table: Table) -> None:
    # A table's own title would be folded at the table's width.
    console.print(title, style="italic")
    console.print(table)


def _mib(*sizes_bytes: float) -> tuple[str, ...]:
    return tuple("-" if math.isnan(size) else f"{size / _MIB:,.0f}" for size in sizes_bytes)


def _short(labels: Sequence[str]) -> list[str]:
    """Leave out the steps of pipelines before parameters, where what is left tells them apart."""
    shortened = [re.sub(r"\b\w+__(?=\w+=)", "", label) for label in labels]
    return shortened if len(set(shortened)) == len(set(labels)) else list(labels)


def print_accuracy(console: Console, workflow: "Workflow") -> tuple[float, float]:
    """Print forecast against measured; return the errors of makespan and of a typical fit."""
    fits = workflow.fits
    done = fits[(fits["outcome"] == "succeeded") & (fits["fold"] >= 0)]
    took_s = workflow.took_s
    forecast = workflow.forecast
    alone_s = done["runtime_s"] + done["shared_s"]  # as forecast: in a process of its own
    total_s, forecast_s = alone_s.sum(), done["runtime_s_p50"].sum()
    typical = float((done["runtime_s_p50"] / alone_s - 1.0).abs().median())
    inside = alone_s.between(done["runtime_s_p10"], done["runtime_s_p90"]).mean()
    known = done[done["peak_memory_bytes"] > 0]  # not all may have been measured
    above = (known["peak_memory_bytes"] > known["peak_memory_bytes_p95"]).mean()
    table = new_table()
    for name in ("", "forecast", "measured", "error"):
        table.add_column(name, justify="right" if name else "left")
    error = forecast.p50_s / took_s - 1.0
    table.add_row("whole workflow", span(forecast.p50_s), span(took_s), f"{error:+.0%}")
    total_error = forecast_s / total_s - 1.0
    table.add_row("all fits, summed", span(forecast_s), span(total_s), f"{total_error:+.0%}")
    table.add_row("a typical fit's error", "", "", f"{typical:.0%}")
    table.add_row("fits within their P10 to P90", "80%", f"{inside:.0%}", "")
    table.add_row("fits above their memory P95", "5%", f"{above:.0%}", "")
    _print(console, "Forecast at submission against measured", table)
    return error, typical
