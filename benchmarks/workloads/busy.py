"""Sweeps beside other processes: ETAs against what happened, and what is learned there.

Of each dataset the same sweep runs twice, with a history of its own each time: once with the
machine to itself, once beside as many processes that always want a core as there are cores. What
is learned must be the same. Then a second sweep of other hyper-parameters runs beside the load,
forecast by what was learned on the quiet machine. Conditions alternate, so that what else the
machine does falls on both.
"""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import numpy as np

from benchmarks import peers
from benchmarks.busy_processes import busy_beside
from benchmarks.eta_asked import Answer, answers_at, asked_until_over, judged, number
from benchmarks.judging import Row
from benchmarks.report import Goal, Report
from benchmarks.workloads.eta_truth import KINDS, QUICK, Kind, sweeps
from fitcast.history.store import MemoryHistory
from fitcast.scheduler.backends.machine import usable_cpus
from fitcast.scheduler.session.client import Client
from fitcast.trainer.sweep.prepared import Sweep

_NAMES: Final = (
    "five classes, mixed",
    "kernel machines",
    "regression, trees",
    "digits",
    "tumours",
    "few long fits",
)
_LONGEST_S: Final = 900


def run(quick: bool) -> Report:
    """Run all sweeps, quiet and busy by turns."""
    kinds = QUICK if quick else tuple(kind for kind in KINDS if kind.name in _NAMES)
    rows: list[Row] = []
    answers: dict[str, list[Answer]] = {"quiet": [], "busy": []}
    learned: list[float] = []
    for kind in kinds:
        first, second = _two(kind)
        costs = {}
        for beside in ("quiet", "busy"):
            with peers.client(history=MemoryHistory()) as client:
                with _busy() if beside == "busy" else nullcontext():
                    _finished(client, first)
                peers.settle(client)
                costs[beside] = client.estimate(first).fits["runtime_s_p50"].to_numpy()
                with _busy() if beside == "quiet" else nullcontext():
                    row, samples = _asked(client, second)
                # learned on a quiet machine and forecast for a busy one, and the other way round
                then = "busy" if beside == "quiet" else "quiet"
                answers[then] += samples
                rows.append({"": f"{kind.name}, learned {beside}, run {then}", **row})
                print(f"  {rows[-1]}", flush=True)
        ratios = costs["busy"] / costs["quiet"]
        learned += ratios.tolist()
        print(f"  {kind.name}: busy over quiet {np.exp(np.mean(np.log(ratios))):.3f}", flush=True)
    return _report(rows, answers, np.array(learned))


def _busy() -> AbstractContextManager[None]:
    """Let as many processes run that always want a core as there are cores."""
    return busy_beside(usable_cpus(), longest_s=_LONGEST_S)


def _two(kind: Kind) -> tuple[Sweep, Sweep]:
    first, second = (sweep for _, _, sweep in sweeps((kind,)))
    return first, second


def _finished(client: Client, sweep: Sweep) -> None:
    client.submit(sweep).wait(peers.TIMEOUT_S)


def _asked(client: Client, sweep: Sweep) -> tuple[dict[str, Any], list[Answer]]:
    workflow = client.submit(sweep)
    samples = asked_until_over(workflow, peers.TIMEOUT_S)
    eta, took_s = workflow.forecast, workflow.took_s
    done = [one for one in workflow.records if one.runtime_s > 0]
    row = {
        "P10 s": eta.p10_s,
        "ETA s": eta.p50_s,
        "P90 s": eta.p90_s,
        "took s": took_s,
        "ETA off by": eta.p50_s / took_s - 1.0,
        "in P10–P90": float(eta.p10_s <= took_s <= eta.p90_s),
        "measured × work": sum(r.runtime_s for r in done) / sum(r.undisturbed_s for r in done),
    }
    return row, answers_at(samples, took_s)


def _report(rows: list[Row], answers: dict[str, list[Answer]], learned: Any) -> Report:
    asked = [
        judged(f"{when}, {beside}", [one for one in several if (one.share == 0.0) == at_once])
        for beside, several in answers.items()
        for when, at_once in (("at submission", True), ("on the way", False))
    ]
    busy = next(row for row in asked if row[""] == "at submission, busy")
    off = np.maximum(learned, 1.0 / learned)
    what = {
        "": "forecast after busy over after quiet",
        "fits": len(learned),
        "geometric mean": float(np.exp(np.mean(np.log(learned)))),
        "median factor": float(np.median(off)),
        "P90 factor": float(np.quantile(off, 0.9)),
        "largest factor": float(off.max()),
    }
    return Report(
        f"Beside {usable_cpus()} busy processes on {os.cpu_count()} cores: {len(rows)} workflows",
        {"Asked": asked, "What was learned": [what], "At submission": rows},
        [
            Goal(
                "median |error| of the ETA at submission, busy",
                number(busy, "median |error|"),
                most=0.20,
                form="{:.1%}",
            ),
            Goal(
                "its P10–P90 held the truth",
                number(busy, "in P10–P90"),
                least=0.75,
                most=0.90,
                form="{:.0%}",
            ),
            Goal(
                "forecasts after a busy sweep over those after a quiet one",
                max(number(what, "geometric mean"), 1.0 / number(what, "geometric mean")),
                most=1.15,
                form="{:.2f}",
            ),
        ],
        ["the second sweep of a dataset is forecast by what its first taught"],
    )
