"""Plays sweeps of very many fits on very many workers, in virtual time, beside the naive way.

    python -m benchmarks.bench_scale [--fits N] [--workers N] [--quick] [--json FILE] [--markdown]

The fits are those of the campaign, drawn again and again, ten times as long and as large with a
spread. What is forecast of them is off as forecasts were measured to be off. The naive way is
first come, first served with one size for all: a core and the memory of the largest fit.
"""

import argparse
import heapq
import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.bench_sizing import DATA
from benchmarks.judging import Row, as_table
from benchmarks.report import Goal, Report
from fitcast.history.codec import read_parquet
from fitcast.history.records import Estimate, Outcome
from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.events import AttemptEnded, Event, Start, Submitted
from fitcast.scheduler.plan.pools import Pool, WorkerSize, planned_workers
from fitcast.scheduler.plan.simulator import SimulatedBackend

Array = npt.NDArray[np.float64]

LARGER = 10.0
SPREAD_LOG_SD = 0.5
LONGEST_S = 60.0  # longer ones are cut off here: one alone would be the bound
RUNTIME_LOG_SD, MEMORY_LOG_SD = 0.2, 0.08  # of the forecasts, as in docs/benchmarks.md
OVERHEAD_S = 0.03
GIB = 2**30
KINDS = (  # name, CPUs, GiB, share of the workers
    ("tight", 4, 4, 0.4),
    ("general", 4, 8, 0.3),
    ("wide", 4, 16, 0.2),
    ("huge", 4, 32, 0.1),
)
_Z10, _Z95 = 1.2816, 1.6449


@dataclass(frozen=True)
class Fits:
    """What fits really take."""

    runtime_s: Array
    peak_bytes: Array


def some_fits(count: int, seed: int = 0) -> Fits:
    """Draw fits from the campaign, larger and with a spread."""
    rng = np.random.default_rng(seed)
    known = [r for r in read_parquet(DATA) if r.outcome is Outcome.SUCCEEDED]
    chosen = rng.integers(0, len(known), count)
    runtime_s = np.array([r.runtime_s for r in known])[chosen]
    peak = np.array([float(r.peak_memory_bytes) for r in known])[chosen]
    spread = np.exp(SPREAD_LOG_SD * rng.standard_normal((2, count)))
    largest = 0.8 * max(gib for _, _, gib, _ in KINDS) * GIB
    runtime_s = np.minimum(LARGER * runtime_s * spread[0], LONGEST_S)
    return Fits(runtime_s, np.minimum(LARGER * peak * spread[1], largest))


def some_pools(workers: int) -> list[Pool]:
    """Return pools of different memory per CPU that have so many workers together."""
    counts = [max(1, round(share * workers)) for *_, share in KINDS]
    return [
        Pool(name, cpus, gib * GIB, count)
        for (name, cpus, gib, _), count in zip(KINDS, counts, strict=True)
    ]


def forecasts(fits: Fits, seed: int = 1) -> dict[str, Estimate]:
    """Return forecasts that are off by as much as forecasts are."""
    rng = np.random.default_rng(seed)
    off = rng.standard_normal((2, fits.runtime_s.size))
    runtime = fits.runtime_s * np.exp(RUNTIME_LOG_SD * off[0])
    peak = fits.peak_bytes * np.exp(MEMORY_LOG_SD * off[1])
    return {
        f"f{number}": Estimate(
            threads=1,
            runtime_s_p10=s * math.exp(-_Z10 * RUNTIME_LOG_SD),
            runtime_s_p50=s,
            runtime_s_p90=s * math.exp(_Z10 * RUNTIME_LOG_SD),
            peak_memory_bytes_p50=round(b),
            peak_memory_bytes_p95=round(b * math.exp(_Z95 * MEMORY_LOG_SD)),
            failure_probability=0.0,
            runtime_log_sd_fit=RUNTIME_LOG_SD,
        )
        for number, (s, b) in enumerate(zip(runtime.tolist(), peak.tolist(), strict=True))
    }


def bounds_s(fits: Fits, workers: Sequence[WorkerSize]) -> dict[str, float]:
    """Return what no plan beats: cores, memory × time, scarce places, the longest fit."""
    cpus = np.array([float(w.cpus) for w in workers])
    memory = np.array([float(w.memory_bytes) for w in workers])
    held = fits.runtime_s * fits.peak_bytes
    scarce = 0.0
    for size in [0.0, *sorted(set(memory.tolist()))[:-1]]:
        needs, has = fits.peak_bytes > size, memory > size  # fit nowhere smaller
        scarce = max(
            scarce,
            float(fits.runtime_s[needs].sum() / cpus[has].sum()),
            float(held[needs].sum() / memory[has].sum()),
        )
    return {
        "cores": float(fits.runtime_s.sum() / cpus.sum()),
        "memory": float(held.sum() / memory.sum()),
        "scarce places": scarce,
        "longest": float(fits.runtime_s.max()),
    }


@dataclass
class Used:
    """What a way of scheduling took."""

    makespan_s: float
    ends_s: list[float]  # of fits, in the order of their ends
    held_byte_s: float  # memory that fits were counted with, failed attempts included
    attempts: int
    planner_s: float = 0.0
    events: int = 0


class _Timed(Decisions):
    """Decisions that count their own CPU time."""

    def __init__(self) -> None:
        super().__init__()
        self.took_s, self.events = 0.0, 0

    def handle(self, event: Event, now_s: float) -> list:  # type: ignore[type-arg]
        began_s = time.process_time()
        actions = super().handle(event, now_s)
        self.took_s += time.process_time() - began_s
        self.events += 1
        return actions


class _Overflowing(SimulatedBackend):
    """Workers whose memory runs out: the process that then comes last is ended, halfway."""

    def __init__(self, decisions: Decisions, fits: Fits, capacity: dict[str, int]) -> None:
        runtime_s, peak = fits.runtime_s.tolist(), fits.peak_bytes.tolist()
        super().__init__(
            decisions,
            lambda key, _: runtime_s[int(key.fit_id[1:])],
            peak_memory_bytes=lambda key: round(peak[int(key.fit_id[1:])]),
            overhead_s=OVERHEAD_S,
        )
        self.free = dict(capacity)
        self.held_byte_s = 0.0
        self.ends_s: list[float] = []
        self._peak = peak

    def _start(self, start: Start) -> None:
        keys = [start.key, *(one.key for one in start.followers)]
        peak = round(max(self._peak[int(key.fit_id[1:])] for key in keys))
        if peak <= self.free[start.worker]:
            took_s, ended = self._process(start)
        else:  # what it is counted with was too little, or others had more than their share
            used = min(peak, max(self.free[start.worker], start.share_bytes))
            took_s = 0.5 * self._runtime_s(start.key, 1)
            ended = [AttemptEnded(start.key, start.attempt, Outcome.OUT_OF_MEMORY, used)]
            ended += [
                AttemptEnded(one.key, one.attempt, Outcome.PREEMPTED, 0) for one in start.followers
            ]
            peak = min(peak, max(0, self.free[start.worker]))
        self.starts.append((self.now_s, start))
        self.free[start.worker] -= peak
        self.held_byte_s += took_s * start.share_bytes

        def end() -> Iterable[Event]:
            self.free[start.worker] += peak
            self.ends_s += [self.now_s for one in ended if one.outcome is Outcome.SUCCEEDED]
            return reversed(ended)

        self.at(self.now_s + took_s + self._overhead_s, end)


def ours(fits: Fits, workers: Sequence[WorkerSize]) -> Used:
    """Play our plan."""
    decisions = _Timed()
    for worker in workers:
        decisions.join(worker)
    backend = _Overflowing(decisions, fits, {w.address: w.memory_bytes for w in workers})
    backend.at(0.0, Submitted(workflow_id="w", estimates=forecasts(fits), dataset_bytes=0))
    finished = backend.run()
    attempts = sum(1 + len(start.followers) for _, start in backend.starts)
    return Used(
        finished["w"],
        backend.ends_s,
        backend.held_byte_s,
        attempts,
        decisions.took_s,
        decisions.events,
    )


def naive(fits: Fits, workers: Sequence[WorkerSize]) -> Used:
    """Play first come, first served, everyone with a core and the memory of the largest."""
    size = float(fits.peak_bytes.max())
    slots = sum(min(w.cpus, int(w.memory_bytes // size)) for w in workers)
    free = [0.0] * slots
    ends_s = []
    for runtime_s in fits.runtime_s.tolist():
        ends_s.append(free[0] + runtime_s + OVERHEAD_S)
        heapq.heapreplace(free, ends_s[-1])
    held = float(size * fits.runtime_s.sum())
    return Used(max(free), sorted(ends_s), held, fits.runtime_s.size)


def rows(quick: bool = False, fits: int = 100_000, workers: int = 1_000) -> list[Row]:
    """Return our plan's row and the naive way's."""
    if quick:
        fits, workers = 2_000, 20
    drawn, there = some_fits(fits), planned_workers(some_pools(workers))
    bound = bounds_s(drawn, there)
    least_s = max(bound.values())
    cpus = sum(worker.cpus for worker in there)
    memory = sum(worker.memory_bytes for worker in there)
    used_byte_s = float(drawn.runtime_s @ drawn.peak_bytes)
    table: list[Row] = []
    for name, way in (("fitcast", ours), ("one size, in order", naive)):
        took = way(drawn, there)
        made: Row = {
            "": name,
            "fits": fits,
            "workers": len(there),
            "bound s": least_s,
            "makespan s": took.makespan_s,
            "over bound": took.makespan_s / least_s,
            "99.9 % done": took.ends_s[int(0.999 * (fits - 1))] / least_s,
            "cores busy": float(drawn.runtime_s.sum()) / (cpus * took.makespan_s),
            "memory used": used_byte_s / (memory * took.makespan_s),
            "wasted GB·h": (took.held_byte_s - used_byte_s) / 3.6e12,
            "attempts": took.attempts,
        }
        if took.events:
            made |= {
                "events": took.events,
                "planner s": took.planner_s,
                "per event µs": 1e6 * took.planner_s / took.events,
            }
        table.append(made)
    return table


def run(quick: bool) -> Report:
    """Return it as one of `benchmarks.bench`."""
    table = rows(quick)
    return Report(
        f"At scale, simulated: {table[0]['fits']:,} fits on {table[0]['workers']:,} workers",
        {"In virtual time": table},
        [Goal("makespan over the bound", float(table[0]["over bound"]), most=1.10)],
        ["runtimes and peaks measured by the campaign, ten times as long and as large"],
    )


def main() -> None:
    """Play and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fits", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1_000)
    parser.add_argument("--quick", action="store_true", help="2,000 fits on 20 workers")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", action="store_true", help="print tables for the document")
    given = parser.parse_args()
    table = rows(given.quick, given.fits, given.workers)
    print(as_table(table, markdown=given.markdown))
    if given.json:
        given.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
