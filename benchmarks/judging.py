"""Forecasts beside what was measured, as rows of a table.

In: the metrics of the benchmark, and printing them. Not in: which fits, which models.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from fitcast.history.records import Estimate, Record
from fitcast.sizing.allocation import attempt_bytes

Row = dict[str, Any]
"""Name of a column → value; the column "" holds the row's name."""

COLUMNS: Final = {
    "fits": "{:,.0f}",
    "runtime median": "{:.0%}",
    "runtime P90": "{:.2f} ×",
    "runtime within 2 ×": "{:.1%}",
    "runtime within 3 ×": "{:.1%}",
    "in P10–P90": "{:.0%}",
    "memory median": "{:.0%}",
    "memory P90": "{:.2f} ×",
    "memory within 2 ×": "{:.1%}",
    "above P95": "{:.1%}",
    "P95/peak": "{:.2f}",
    "given/peak": "{:.2f}",
    "out of memory": "{:.1%}",
    "wasted GB·s": "{:.0%}",
    "above it": "{:.1%}",
    "scaled by": "{:.2f} ×",
    "given/needed median": "{:.2f}",
    "given/needed mean": "{:.2f}",
    "spread P90/P10": "{:.2f} ×",
    "events": "{:,.0f}",
    "happened": "{:.1%}",
    "Brier score": "{:.3f}",
    "of the rate": "{:.3f}",
    "took s": "{:.1f}",
    "P10 s": "{:.1f}",
    "ETA s": "{:.1f}",
    "P90 s": "{:.1f}",
    "ETA off by": "{:+.0%}",
    "within": "{:.0f}",
    "workers": "{:,.0f}",
    "bound s": "{:,.0f}",
    "makespan s": "{:,.0f}",
    "over bound": "{:.2f} ×",
    "99.9 % done": "{:.2f} ×",
    "cores busy": "{:.0%}",
    "memory used": "{:.0%}",
    "wasted GB·h": "{:,.0f}",
    "attempts": "{:,.0f}",
    "planner s": "{:.1f}",
    "per event µs": "{:.0f}",
} | {
    f"{event}: {what}": "{:.0%}"
    for event in ("out of memory", "out of time", "error of its own")
    for what in ("forecast", "happened")
}
"""Columns in their order with their formats.

Medians and P90 are of |log(forecast / measured)|, given as a share and as a factor; memory there
is what the fit adds to its process. "above P95" is how often a fit would have run out of memory
had it got its P95; "P95/peak" is the mean over fits. "given/peak" is the same of what the scheduler
would give the first attempt, "out of memory" how often that is too little, "wasted GB·s" memory ×
time given beyond what was used, over what was used; a fit that ran out has its second attempt too.
"""


@dataclass(eq=False)
class Forecasts:
    """Records, each with the estimate made before it was seen."""

    records: list[Record] = field(default_factory=list)
    estimates: list[Estimate] = field(default_factory=list)
    bases: list[float] = field(default_factory=list)  # bytes that the model took for the process

    def add(
        self, records: Sequence[Record], estimates: Sequence[Estimate], base_bytes: float
    ) -> None:
        """Add more of them."""
        self.records += records
        self.estimates += estimates
        self.bases += [base_bytes] * len(records)

    def only(self, chosen: Callable[[Record], bool]) -> "Forecasts":
        """Return those whose record is chosen."""
        rows = [i for i, record in enumerate(self.records) if chosen(record)]
        return Forecasts(
            [self.records[i] for i in rows],
            [self.estimates[i] for i in rows],
            [self.bases[i] for i in rows],
        )


def judged(name: str, forecasts: Forecasts) -> Row:
    """Return the metrics of forecasts as a row."""
    records, estimates = forecasts.records, forecasts.estimates
    if not records:
        return {"": name, "fits": 0}
    runtime = np.array([r.runtime_s for r in records])
    p10, p50, p90 = (
        np.array([getattr(e, f"runtime_s_p{q}") for e in estimates]) for q in (10, 50, 90)
    )
    peak = np.array([float(r.peak_memory_bytes) for r in records])
    above = np.maximum(peak - np.array([r.base_memory_bytes for r in records]), 1e5)
    said = np.array([e.peak_memory_bytes_p50 for e in estimates]) - np.array(forecasts.bases)
    p95 = np.array([float(e.peak_memory_bytes_p95) for e in estimates])
    of_runtime = np.abs(np.log(p50 / runtime))
    of_memory = np.abs(np.log(np.maximum(said, 1e5) / above))
    attempts = [_attempts(e, r.peak_memory_bytes) for e, r in zip(estimates, records, strict=True)]
    given = np.array([float(several[0]) for several in attempts])
    held = float(np.array([sum(several) for several in attempts]) @ runtime)
    used = float(peak @ runtime)
    return {
        "": name,
        "fits": len(records),
        "runtime median": math.expm1(float(np.median(of_runtime))),
        "runtime P90": math.exp(float(np.quantile(of_runtime, 0.9))),
        "runtime within 2 ×": float((of_runtime <= math.log(2.0)).mean()),
        "runtime within 3 ×": float((of_runtime <= math.log(3.0)).mean()),
        "in P10–P90": float(((p10 <= runtime) & (runtime <= p90)).mean()),
        "memory median": math.expm1(float(np.median(of_memory))),
        "memory P90": math.exp(float(np.quantile(of_memory, 0.9))),
        "memory within 2 ×": float((of_memory <= math.log(2.0)).mean()),
        "above P95": float((peak > p95).mean()),
        "P95/peak": float((p95 / peak).mean()),
        "given/peak": float((given / peak).mean()),
        "out of memory": float((peak > given).mean()),
        "wasted GB·s": (held - used) / used,
    }


def _attempts(estimate: Estimate, peak_bytes: int) -> list[int]:
    """Return the memory that the scheduler's policy would give one attempt after the other."""
    given = [attempt_bytes(estimate)]
    while given[-1] < peak_bytes:
        given.append(attempt_bytes(estimate, given[-1], len(given)))
    return given


def as_table(
    rows: Sequence[Row], formats: Mapping[str, str] = COLUMNS, *, markdown: bool = False
) -> str:
    """Return rows as a table for the terminal or for a document, without empty columns."""
    columns = [name for name in formats if any(name in row for row in rows)]
    cells = [["", *columns]]
    cells += [[str(row[""]), *(_cell(row, name, formats) for name in columns)] for row in rows]
    if markdown:
        lines = ["| " + " | ".join(line) + " |" for line in cells]
        lines.insert(1, "|---" + "|---:" * len(columns) + "|")
        return "\n".join(lines)
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    )


def _cell(row: Row, name: str, formats: Mapping[str, str]) -> str:
    value = row.get(name)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return formats[name].format(value)
