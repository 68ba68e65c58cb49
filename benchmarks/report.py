"""What a benchmark of a workload gives: tables, goals, notes; and how they are printed.

In: data and printing. Not in: running anything (:mod:`benchmarks.side_by_side`), the tables' layout
(:mod:`benchmarks.judging`).
"""

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from benchmarks.judging import Row, as_table
from fitcast.scheduler.backends.machine import usable_cpus, usable_memory_bytes

FORMATS: Final = {
    "runs": "{:.0f}",
    "fits": "{:,.0f}",
    "makespan s": "{:.2f}",
    "least s": "{:.2f}",
    "most s": "{:.2f}",
    "× best peer": "{:.2f}",
    "fits' own s / cores": "{:.2f}",
    "over bound": "{:.2f}",
    "busy with fits": "{:.1%}",
    "overhead ms/fit": "{:.2f}",
    "out of memory": "{:.0f}",
    "attempts": "{:,.0f}",
    "limit GB": "{:.2f}",
    "took GB": "{:.2f}",
    "of the limit": "{:.0%}",
    "submit s": "{:.2f}",
    "fits/s": "{:,.0f}",
    "idle": "{:.1%}",
    "processes": "{:,.0f}",
    "asked": "{:,.0f}",
    "in P10–P90": "{:.0%}",
    "median |error|": "{:.1%}",
    "P90 |error|": "{:.1%}",
    "median |error| of the rest": "{:.1%}",
    "known records": "{:,.0f}",
    "took s": "{:.1f}",
    "P10 s": "{:.1f}",
    "ETA s": "{:.1f}",
    "P90 s": "{:.1f}",
    "ETA off by": "{:+.0%}",
    "measured × work": "{:.2f} ×",
    "geometric mean": "{:.2f} ×",
    "median factor": "{:.2f} ×",
    "P90 factor": "{:.2f} ×",
    "largest factor": "{:.2f} ×",
    "workers": "{:,.0f}",
    "bound s": "{:.0f}",
    "99.9 % done": "{:.2f}",
    "cores busy": "{:.0%}",
    "memory used": "{:.0%}",
    "wasted GB·h": "{:,.0f}",
    "planner s": "{:.1f}",
    "per event µs": "{:,.0f}",
    "workflows": "{:,.0f}",
    "Jain's index": "{:.3f}",
    "small: slowdown": "{:.2f}",
    "small: P95": "{:.1f}",
    "all: slowdown": "{:.2f}",
    "largest 5 %: slowdown": "{:.2f}",
    "gave way": "{:,.0f}",
    "submissions/s": "{:,.0f}",
    "P50 ms": "{:.1f}",
    "P99 ms": "{:.1f}",
    "ms at 20": "{:.2f}",
    "ms at 100": "{:.2f}",
    "ms at 200": "{:.2f}",
    "ms at 10,000": "{:.2f}",
    "ratio": "{:.2f}",
    "dataset GB": "{:.1f}",
    "sealed, sent and verified s": "{:.1f}",
    "MB/s": "{:,.0f}",
    "broker's peak MB": "{:,.0f}",
    "kill to ready s": "{:.1f}",
    "note": "{}",
}
"""Columns in their order with their formats.

"× best peer" is the median over repeats of the ratio to the quickest peer in the same repeat.
"fits' own s" are fit_time + score_time as ``cv_results_`` counts them × threads, "busy with fits"
what attempts held of all cores, "overhead" makespan × cores less the fits' own time, per fit. GB
are 10⁹ bytes.
"""

LIBRARIES: Final = (
    "fitcast",
    "dask",
    "distributed",
    "dask-ml",
    "joblib",
    "lightgbm",
    "mlflow",
    "numpy",
    "ray",
    "scikit-learn",
    "scipy",
    "xgboost",
)


@dataclass(frozen=True, slots=True)
class Goal:
    """A number that is to lie within bounds, and what it was."""

    what: str
    measured: float
    least: float = -math.inf
    most: float = math.inf
    form: str = "{:.2f}"

    @property
    def is_met(self) -> bool:
        """Whether it lies within; a number that couldn't be measured doesn't."""
        return bool(self.least <= self.measured <= self.most)

    def __str__(self) -> str:
        bounds = [
            sign + self.form.format(bound)
            for sign, bound in (("≥ ", self.least), ("≤ ", self.most))
            if math.isfinite(bound)
        ]
        was = "not measured" if math.isnan(self.measured) else self.form.format(self.measured)
        return f"{'met' if self.is_met else 'missed'}: {self.what}: {was} ({', '.join(bounds)})"

    def plain(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        bounds = {"least": self.least, "most": self.most}
        return {
            "what": self.what,
            "measured": None if math.isnan(self.measured) else self.measured,
            **{name: bound for name, bound in bounds.items() if math.isfinite(bound)},
            "met": self.is_met,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """What came out of one workload."""

    title: str
    tables: Mapping[str, Sequence[Row]]
    goals: Sequence[Goal] = field(default_factory=tuple)
    notes: Sequence[str] = field(default_factory=tuple)

    def text(self, *, markdown: bool = False) -> str:
        """Return it for the terminal or for a document."""
        parts = [f"{'## ' if markdown else ''}{self.title}"]
        for title, rows in self.tables.items():
            parts.append(f"{'### ' if markdown else ''}{title}")
            parts.append(as_table(rows, FORMATS, markdown=markdown))
        bullet = "- " if markdown else "  "
        lines = [*map(str, self.goals), *self.notes]
        parts.append("\n".join(bullet + line for line in lines))
        return "\n\n".join(part for part in parts if part)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        return {
            "title": self.title,
            "tables": {
                title: [_plain_row(row) for row in rows] for title, rows in self.tables.items()
            },
            "goals": [goal.plain() for goal in self.goals],
            "notes": list(self.notes),
        }


def _plain_row(row: Row) -> dict[str, Any]:
    return {
        name or "name": None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }


def machine() -> dict[str, Any]:
    """Return what figures depend on: the machine and the versions of libraries."""
    return {
        "cpu": _cpu_model(),
        "cpus": usable_cpus(),
        "memory_gb": round(usable_memory_bytes() / 1e9, 1),
        "load_average_at_start": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: found for name in LIBRARIES if (found := _version(name))},
    }


def machine_text(told: Mapping[str, Any]) -> str:
    """Return what `machine` told as two lines."""
    versions = ", ".join(f"{name} {number}" for name, number in told["versions"].items())
    return (
        f"{told['cpu']}, {told['cpus']} CPUs, {told['memory_gb']} GB, {told['system']}, Python "
        f"{told['python']}, load {told['load_average_at_start']} at the start\n{versions}"
    )


def write_json(path: Path, told: Mapping[str, Any], reports: Mapping[str, Report]) -> None:
    """Write machine and reports, by the benchmarks' names."""
    whole = {"machine": told, "benchmarks": {n: report.plain() for n, report in reports.items()}}
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
