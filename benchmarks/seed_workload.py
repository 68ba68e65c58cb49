"""How right the ETA of the seed workload is, cold and after one other sweep was seen.

    python -m benchmarks.seed_workload [--rows 90000] [--repeats 3] [--json FILE]

Each time in an empty home: the 75 fits of ``fitcast demo`` are forecast and run with no history
(cold), learned from, and the demo's second sweep of other candidates is forecast and run (warm).
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from benchmarks.judging import Row, as_table
from fitcast.demo import FOLDS, ROWS, first_models, second_models
from fitcast.flights import load_flights
from fitcast.scheduler.session.client import Client
from fitcast.trainer.sweep.prepared import Sweep


def main() -> None:
    """Run, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", action="store_true", help="print a table for the document")
    given = parser.parse_args()
    rows = workload_rows(given.rows, given.repeats)
    print(as_table(rows, markdown=given.markdown))
    for kind in ("cold", "warm"):
        errors = [abs(row["ETA off by"]) for row in rows if row[""].startswith(kind)]
        print(f"{kind}: off by {statistics.median(errors):.0%} in the median")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


def workload_rows(rows: int, repeats: int) -> list[Row]:
    """Return a row for each sweep that was run."""
    X, y = load_flights(rows, seed=0)
    found: list[Row] = []
    for number in range(repeats):
        with tempfile.TemporaryDirectory() as home, Client(home=home) as client:
            for kind, models in (("cold", first_models()), ("warm", second_models())):
                sweep = Sweep(models, X, y, cv=FOLDS, scoring="roc_auc", name=kind)
                workflow = client.submit(sweep).wait()
                eta = workflow.forecast
                found.append(
                    {
                        "": f"{kind} {number + 1}",
                        "fits": len(workflow.fits),
                        "took s": workflow.took_s,
                        "ETA s": eta.p50_s,
                        "P10 s": eta.p10_s,
                        "P90 s": eta.p90_s,
                        "ETA off by": eta.p50_s / workflow.took_s - 1.0,
                        "within": float(eta.p10_s <= workflow.took_s <= eta.p90_s),
                    }
                )
                client.learn()
                client.flush()
    return found


if __name__ == "__main__":
    main()
