"""The tables that the command line and the demo print."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from fitcast.scheduler.eta import Eta, span

if TYPE_CHECKING:
    from fitcast.scheduler.client import SweepEstimate
    from fitcast.scheduler.results import Result
    from fitcast.scheduler.workflow import Workflow

_MIB = 2**20


def _eta(eta: Eta) -> str:
    return f"{span(eta.p50_s)}, most likely between {span(eta.p10_s)} and {span(eta.p90_s)}"


def print_estimate(console: Console, estimate: "SweepEstimate") -> None:
    """Print a row per candidate and the workflow's ETA."""
    table = Table(title="Forecast, per fit of each candidate")
    for name in ("candidate", "pool"):
        table.add_column(name)
    for name in ("threads", "runtime", "P10 to P90", "memory", "P95", "failure"):
        table.add_column(name, justify="right")
    for row in estimate.candidates.to_dict("records"):
        table.add_row(
            row["candidate"],
            row["pool"],
            str(row["threads"]),
            span(row["runtime_s_p50"]),
            f"{span(row['runtime_s_p10'])} to {span(row['runtime_s_p90'])}",
            f"{row['peak_memory_bytes_p50'] / _MIB:,.0f} MiB",
            f"{row['peak_memory_bytes_p95'] / _MIB:,.0f} MiB",
            f"{row['failure_probability']:.1%}",
        )
    console.print(table)
    console.print(f"Whole workflow, {len(estimate.fits)} fits: {_eta(estimate.eta)}")
    console.print(f"One after the other the fits would take {span(estimate.sequential_s)}.")


def print_result(console: Console, result: "Result") -> None:
    """Print the leaderboard."""
    table = Table(title="Leaderboard")
    names = [name for name in result.leaderboard.columns if name.startswith(("mean_", "std_"))]
    for name in ("rank", "candidate", *names, "runtime", "forecast", "peak memory", "forecast P95"):
        table.add_column(name, justify="left" if name == "candidate" else "right")
    for row in result.leaderboard.to_dict("records"):
        table.add_row(
            str(row["rank"]),
            row["candidate"],
            *(f"{row[name]:.4f}" for name in names),
            span(row["runtime_s"]),
            span(row["forecast_runtime_s"]),
            f"{row['peak_memory_bytes'] / _MIB:,.0f} MiB",
            f"{row['forecast_peak_memory_bytes'] / _MIB:,.0f} MiB",
        )
    console.print(table)
    for error in result.errors.itertuples():
        console.print(f"[red]{error.candidate}, fold {error.fold}: {error.outcome}: {error.error}")


def print_accuracy(console: Console, workflow: "Workflow") -> tuple[float, float]:
    """Print forecast against measured; return the errors of makespan and of a typical fit."""
    fits = workflow.fits
    done = fits[(fits["outcome"] == "succeeded") & (fits["fold"] >= 0)]
    took_s = workflow.took_s
    forecast = workflow.forecast
    total_s, forecast_s = done["runtime_s"].sum(), done["runtime_s_p50"].sum()
    typical = float((done["runtime_s_p50"] / done["runtime_s"] - 1.0).abs().median())
    inside = done["runtime_s"].between(done["runtime_s_p10"], done["runtime_s_p90"]).mean()
    above = (done["peak_memory_bytes"] > done["peak_memory_bytes_p95"]).mean()
    table = Table(title="Forecast at submission against measured")
    for name in ("", "forecast", "measured", "error"):
        table.add_column(name, justify="right" if name else "left")
    error = forecast.p50_s / took_s - 1.0
    table.add_row("whole workflow", span(forecast.p50_s), span(took_s), f"{error:+.0%}")
    total_error = forecast_s / total_s - 1.0
    table.add_row("all fits, summed", span(forecast_s), span(total_s), f"{total_error:+.0%}")
    table.add_row("a typical fit's error", "", "", f"{typical:.0%}")
    table.add_row("fits within their P10 to P90", "80%", f"{inside:.0%}", "")
    table.add_row("fits above their memory P95", "5%", f"{above:.0%}", "")
    console.print(table)
    return error, typical
