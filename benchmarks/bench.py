"""Real workloads side by side with what people use now.

    python -m benchmarks.bench [names…] [--quick] [--json FILE] [--markdown]

Prints tables and goals, writes JSON after each benchmark. Without names all are run, one after
the other. ``--quick`` shrinks each to some seconds: it shows that they run, its figures say
nothing.
"""

import argparse
import os
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Final

from benchmarks.kept_open import kept_open
from benchmarks.report import Report, machine, machine_text, write_json

BENCHMARKS: Final = {
    "seed": "benchmarks.workloads.seed",
    "ragged": "benchmarks.workloads.ragged",
    "shared": "benchmarks.workloads.shared",
    "memory": "benchmarks.workloads.memory_bound",
    "tiny": "benchmarks.workloads.tiny",
    "eta": "benchmarks.workloads.eta_truth",
    "busy": "benchmarks.workloads.busy",
    "workers": "benchmarks.workloads.many_workers",
    "scale": "benchmarks.bench_scale",
    "week": "benchmarks.workloads.week",
    "broker": "benchmarks.workloads.broker",
}
"""By name, the module whose ``run(quick: bool) -> Report`` does it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write; return 1 if a benchmark didn't get through."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", help=f"of {', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="some seconds each, to see them run")
    parser.add_argument("--repeats", type=int, help="3 by default, where ways are compared")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", action="store_true", help="print tables for the document")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    # Neither they nor we tell anybody that they were used.
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", RAY_USAGE_STATS_ENABLED="0")
    with kept_open() if given.quick else nullcontext():
        return _run(given)


def _run(given: argparse.Namespace) -> int:
    told = machine()
    print(machine_text(told), flush=True)
    reports: dict[str, Report] = {}
    failed = []
    for name in given.names or BENCHMARKS:
        print(f"\n{name} …", file=sys.stderr, flush=True)
        began_s = time.monotonic()
        try:
            asked = (
                {}
                if given.repeats is None or name in ("eta", "busy", "scale", "week")
                else {"repeats": given.repeats}
            )
            reports[name] = import_module(BENCHMARKS[name]).run(given.quick, **asked)
        except Exception:
            traceback.print_exc()
            failed.append(name)
            continue
        print(f"\n{reports[name].text(markdown=given.markdown)}", flush=True)
        print(f"{name}: {time.monotonic() - began_s:.0f} s", file=sys.stderr, flush=True)
        if given.json:
            write_json(given.json, told, reports)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
