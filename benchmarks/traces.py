"""The public benchmark: memory forecasts on the traces of the Sizey paper, played online.

    python -m benchmarks.traces --traces FOLDER [--order chronological] [--seed 1] [--json FILE]

Plays every `trace_*.csv` of the folder, a task per row (Bader et al., *Sizey: Memory-Efficient
Execution of Scientific Workflow Tasks*, IEEE CLUSTER 2024): of each task type 30 % are known, the
others come one by one. An attempt with less memory than the task needs fails and costs all that it
held for the task's whole runtime; the successful one costs what it had too much. One configuration
for all. Prints, for each workflow, GB·h wasted, failed attempts, milliseconds per decision.

In: reading traces, the game, its costs. Not in: forecasts (:mod:`benchmarks.online`).
"""

import argparse
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from benchmarks.online import OnlineForecaster, Task
from fitcast.errors import FitcastError, InvalidDataError
from fitcast.sizing.allocation import Attempts

ORDERS = ("shuffled", "chronological")
LEAST_TASKS = 34  # of a type, else it isn't played
PLAYED_SHARE = 0.7
GB_H = 1e9 * 3600.0  # byte seconds

COLUMNS = {  # of a trace → ours
    "process": "kind",
    "rchar": "input_bytes",
    "memory": "requested_bytes",
    "rss": "peak_memory_bytes",
    "realtime": "runtime_ms",
    "submit": "submitted_ms",
}
_LEAST_OF = {"rchar": 0.0, "rss": 0.0, "realtime": 0.0, "memory": 1.0}


@dataclass(frozen=True, slots=True)
class Truth:
    """What a task needed: revealed once an attempt has held it."""

    peak_memory_bytes: float
    runtime_s: float


@dataclass(frozen=True, slots=True)
class Play:
    """A task and, apart from what is known of it, its truth."""

    task: Task
    truth: Truth


class Forecaster(Protocol):
    """What plays: it is given tasks without their truth, and truths only of tasks that ended."""

    def attempts(self, task: Task, *, least_bytes: float = 0.0) -> Attempts:
        """Choose the attempts, all of more than `least_bytes`."""

    def observe(self, task: Task, *, peak_memory_bytes: float, runtime_s: float) -> None:
        """Learn from a task that ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a workflow's game cost."""

    workflow: str
    order: str
    seed: int
    wastage_gbh: float
    failures: int
    tasks: int  # played
    ms_per_decision: float  # the learning from known and played tasks included


@dataclass(frozen=True, slots=True)
class Wastage:
    """What one task cost."""

    wastage_byte_s: float
    failures: int


class Game:
    """One workflow: the only place that sees truths, and gives each out after its task."""

    def __init__(self, known: Sequence[Play], played: Sequence[Play]) -> None:
        self._known, self._played = known, played

    def play(self, forecaster: Forecaster) -> Iterator[Wastage]:
        """Reveal what is known, then play task by task."""
        for play in self._known:
            _reveal(forecaster, play)
        for play in self._played:
            yield _cost(_attempts(forecaster, play.task), play.truth)
            _reveal(forecaster, play)


def _reveal(forecaster: Forecaster, play: Play) -> None:
    forecaster.observe(
        play.task,
        peak_memory_bytes=play.truth.peak_memory_bytes,
        runtime_s=play.truth.runtime_s,
    )


def _attempts(forecaster: Forecaster, task: Task) -> Iterator[float]:
    """Yield allocations for as long as they fail; that is all a forecaster learns meanwhile."""
    least_bytes = 0.0
    while True:
        steps = forecaster.attempts(task, least_bytes=least_bytes).memory_bytes
        if not steps:
            raise InvalidDataError(f"{task.kind}: nothing above {least_bytes:,.0f} bytes was tried")
        for step in steps:
            if not step > least_bytes:
                raise InvalidDataError(f"{task.kind}: an attempt got no more than the one before")
            least_bytes = step
            yield step


def _cost(attempts: Iterable[float], truth: Truth) -> Wastage:
    wasted = 0.0
    for failures, memory_bytes in enumerate(attempts):
        if memory_bytes >= truth.peak_memory_bytes:
            wasted += memory_bytes - truth.peak_memory_bytes
            return Wastage(wasted * truth.runtime_s, failures)
        wasted += memory_bytes
    raise InvalidDataError("the attempts ended before the task was held")


def read_trace(path: Path) -> pd.DataFrame:
    """Return the tasks of the types that are played, with our columns, in the file's order.

    Raises
    ------
    InvalidDataError
        If the file can't be read, lacks a column, or a number in one can't be used.
    """
    try:
        frame = pd.read_csv(path, usecols=lambda name: name in COLUMNS)
    except (OSError, ValueError) as error:
        raise InvalidDataError(f"{path} can't be read as CSV: {error}") from error
    missing = sorted(COLUMNS.keys() - set(frame.columns))
    if missing:
        raise InvalidDataError(f"{path} lacks the columns {', '.join(missing)}")
    for name in COLUMNS.keys() - {"process"}:
        numbers = pd.to_numeric(frame[name], errors="coerce").astype(float)
        bad = ~np.isfinite(numbers) | (numbers < _LEAST_OF.get(name, -math.inf))
        if bad.any():
            row = int(bad.to_numpy().argmax())
            raise InvalidDataError(
                f"{path}, row {row + 1}: {name} is {frame[name].iloc[row]}, no usable number; "
                "repair or remove the row"
            )
        frame[name] = numbers
    if frame["process"].isna().any():
        raise InvalidDataError(f"{path}: process is missing in some rows; repair or remove them")
    frame = frame.rename(columns=COLUMNS)
    frame = frame[frame["peak_memory_bytes"] > 0.0]
    by_kind = frame.groupby("kind", sort=False)
    enough = by_kind["runtime_ms"].transform("size") >= LEAST_TASKS
    ran = by_kind["runtime_ms"].transform("min") > 0.0
    return frame[enough & ran].reset_index(drop=True)


def split(frame: pd.DataFrame, order: str, seed: int) -> tuple[list[Play], list[Play]]:
    """Return the tasks known beforehand and those played, each in the order it is revealed in.

    Types take turns: in chronological order by time of submission, shuffled in proportion to how
    many tasks they have.
    """
    known: list[tuple[float, Play]] = []
    played: list[tuple[float, Play]] = []
    for _, of_kind in frame.groupby("kind", sort=False):
        if order == "shuffled":
            parts = train_test_split(of_kind, test_size=PLAYED_SHARE, random_state=seed)
        else:
            of_kind = of_kind.sort_values("submitted_ms", kind="stable")
            first = len(of_kind) - math.ceil(PLAYED_SHARE * len(of_kind))
            parts = [of_kind.iloc[:first], of_kind.iloc[first:]]
        for part, plays in zip(parts, (known, played), strict=True):
            times = part["submitted_ms"].to_numpy()
            turns = (np.arange(len(part)) + 0.5) / len(part) if order == "shuffled" else times
            plays += zip(turns.tolist(), _plays(part), strict=True)
    known.sort(key=lambda pair: pair[0])
    played.sort(key=lambda pair: pair[0])
    return [play for _, play in known], [play for _, play in played]


def _plays(frame: pd.DataFrame) -> Iterator[Play]:
    for row in frame.itertuples(index=False):
        yield Play(
            Task(str(row.kind), float(row.input_bytes), float(row.requested_bytes)),
            Truth(float(row.peak_memory_bytes), float(row.runtime_ms) / 1e3),
        )


def play_trace(path: Path, order: str, seed: int) -> tuple[Score, dict[str, Wastage]]:
    """Play one trace; return its score, and the cost of every task type."""
    known, played = split(read_trace(path), order, seed)
    costs: dict[str, list[Wastage]] = defaultdict(list)
    start = time.perf_counter()
    for play, cost in zip(played, Game(known, played).play(OnlineForecaster()), strict=True):
        costs[play.task.kind].append(cost)
    taken_s = time.perf_counter() - start
    by_kind = {
        kind: Wastage(sum(c.wastage_byte_s for c in of_kind), sum(c.failures for c in of_kind))
        for kind, of_kind in costs.items()
    }
    score = Score(
        workflow=path.stem.removeprefix("trace_"),
        order=order,
        seed=seed,
        wastage_gbh=sum(cost.wastage_byte_s for cost in by_kind.values()) / GB_H,
        failures=sum(cost.failures for cost in by_kind.values()),
        tasks=len(played),
        ms_per_decision=1e3 * taken_s / max(1, len(played)),
    )
    return score, by_kind


def traces_in(folder: Path) -> list[Path]:
    """Return the traces of a folder, or raise InvalidDataError if there are none."""
    if not folder.is_dir():
        raise InvalidDataError(f"{folder} is no folder; give the one that holds trace_*.csv")
    found = sorted(folder.glob("trace_*.csv"))
    if not found:
        raise InvalidDataError(f"{folder} holds no trace_*.csv")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, print, write."""
    parser = argparse.ArgumentParser(description="Play the public traces of workflow tasks.")
    parser.add_argument("--traces", type=Path, required=True, help="folder of trace_*.csv")
    parser.add_argument("--order", choices=ORDERS, default="shuffled")
    parser.add_argument("--seed", type=int, default=1996, help="of the shuffled order")
    parser.add_argument("--json", type=Path, help="file to write the scores to")
    parser.add_argument("--by-type", action="store_true", help="print every task type's cost too")
    given = parser.parse_args(arguments)
    try:
        scores = _play_all(given.traces, given.order, given.seed, given.by_type)
        if given.json is not None:
            given.json.write_text(json.dumps([asdict(score) for score in scores], indent=2) + "\n")
    except (FitcastError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _play_all(folder: Path, order: str, seed: int, by_type: bool) -> list[Score]:
    found = traces_in(folder)
    print(f"{order}, seed {seed}" if order == "shuffled" else order)
    print(f"{'workflow':24}{'wasted GBh':>12}{'failures':>10}{'tasks':>8}{'ms/decision':>13}")
    scores = []
    for path in found:
        score, by_kind = play_trace(path, order, seed)
        scores.append(score)
        print(
            f"{score.workflow:24}{score.wastage_gbh:12.3f}{score.failures:10}{score.tasks:8}"
            f"{score.ms_per_decision:13.1f}",
            flush=True,
        )
        if by_type:
            for kind, cost in sorted(by_kind.items(), key=lambda kc: -kc[1].wastage_byte_s):
                print(f"  {kind[-60:]:62}{cost.wastage_byte_s / GB_H:10.3f}{cost.failures:6}")
    return scores


if __name__ == "__main__":
    sys.exit(main())
