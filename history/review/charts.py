"""Charts of workflows as plain data: what is drawn where, in which colour.

Pure: from records to dictionaries of columns. Not in here: the page that draws them
(:mod:`fitcast.history.review.pages`).
"""

import heapq
import math
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from fitcast.history.presentation import algorithm_name, algorithms
from fitcast.history.records import REFIT_FOLD, Outcome, Record
from fitcast.history.review.words import size, span

Chart: TypeAlias = dict[str, Any]

# Okabe and Ito's, which the colour-blind can tell apart; then shades of them
COLOURS: Final = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6d31", "#7f7f7f",
    "#5254a3", "#b5a642",
)  # fmt: skip
MOST_SHOWN: Final = 10_000
"""Attempts that one chart shows; of more, all that failed and evenly spaced others."""

_MARKS: Final = {
    Outcome.OUT_OF_MEMORY: ("out of memory", "#c00000", "x"),
    Outcome.OUT_OF_TIME: ("out of time", "#7b2d8b", "x"),
    Outcome.FAILED: ("failed", "#000000", "x"),
    Outcome.WORKER_LOST: ("worker lost", "#555555", "cross"),
    Outcome.PREEMPTED: ("preempted", "#555555", "cross"),
    Outcome.CANCELLED: ("cancelled", "#999999", "cross"),
}
_MIB: Final = 2**20


def shown_of(records: Sequence[Record], most: int = MOST_SHOWN) -> list[Record]:
    """Return the records that a chart shows."""
    if len(records) <= most:
        return list(records)
    bad = [r for r in records if r.outcome is not Outcome.SUCCEEDED or r.attempt > 1][: most // 2]
    good = [r for r in records if r.outcome is Outcome.SUCCEEDED and r.attempt == 1]
    step = max(1, math.ceil(len(good) / (most - len(bad))))
    return bad + good[::step]


def timeline(records: Sequence[Record]) -> Chart:
    """Return which worker did what when: a bar per attempt, marks for what failed or came again."""
    records = sorted(shown_of(records), key=lambda r: (r.started_at, r.record_id))
    begin = min(r.started_at for r in records)
    lanes = _lanes(records)
    colours = _colours(records)
    bars: dict[str, list[Any]] = {n: [] for n in ("lane", "left", "right", "colour", "algorithm")}
    bars |= {n: [] for n in ("what", "took", "memory", "outcome")}
    marks: dict[str, dict[str, Any]] = {}
    again = _again(records)
    for r, lane in zip(records, lanes, strict=True):
        start_s = (r.started_at - begin).total_seconds()
        end_s = max(start_s, (r.ended_at - begin).total_seconds())
        bars["lane"].append(lane)
        bars["left"].append(round(start_s, 4))
        bars["right"].append(round(end_s, 4))
        bars["algorithm"].append(algorithm_name(r))
        bars["colour"].append(colours[algorithm_name(r)])
        bars["what"].append(_what(r) + (", tried again" if r.record_id in again else ""))
        bars["took"].append(_beside(span(r.runtime_s), r, "runtime"))
        bars["memory"].append(_beside(size(r.peak_memory_bytes), r, "memory"))
        bars["outcome"].append(str(r.outcome).replace("_", " "))
        if r.outcome in _MARKS:
            name, colour, shape = _MARKS[r.outcome]
            _mark(marks, name, colour, shape, end_s, lane)
        if r.record_id in again:
            _mark(marks, "tried again", "#111111", "triangle", start_s, lane)
    names = sorted(set(lanes), key=lambda lane: lanes.index(lane), reverse=True)
    return {
        "title": "Workers and fits",
        "kind": "bars",
        "x": "seconds since the first fit began",
        "lanes": names,
        "height": min(1200, max(300, 140 + 26 * len(names))),
        "bars": bars,
        "marks": list(marks.values()),
    }


def forecast_charts(records: Sequence[Record]) -> list[Chart]:
    """Return forecast against measured, of runtime and of memory, with the interval."""
    done = [r for r in records if r.outcome is Outcome.SUCCEEDED and r.estimate is not None]
    done = shown_of(done)
    runtime = [
        (r, e.runtime_s_p50, e.runtime_s_p10, e.runtime_s_p90, r.undisturbed_s)
        for r in done
        if (e := r.estimate) is not None and r.undisturbed_s > 0
    ]
    memory = [
        (r, e.peak_memory_bytes_p50 / _MIB, e.peak_memory_bytes_p50 / _MIB,
         e.peak_memory_bytes_p95 / _MIB, r.peak_memory_bytes / _MIB)
        for r in done
        if (e := r.estimate) is not None and r.peak_memory_bytes is not None
    ]  # fmt: skip
    charts = []
    for title, unit, points in (
        ("Runtime: bars from P10 to P90", "seconds", runtime),
        ("Peak memory: bars from P50 to P95", "MiB", memory),
    ):
        if points:
            charts.append(_scatter(title, unit, points))
    return charts


def _scatter(
    title: str, unit: str, points: Sequence[tuple[Record, float, float, float, float]]
) -> Chart:
    colours = _colours([p[0] for p in points])
    columns: dict[str, list[Any]] = {
        n: [] for n in ("forecast", "low", "high", "measured", "colour", "algorithm", "what")
    }
    for record, forecast, low, high, measured in points:
        if not all(math.isfinite(v) and v > 0 for v in (forecast, low, high, measured)):
            continue
        for name, value in zip(
            ("forecast", "low", "high", "measured"), (forecast, low, high, measured), strict=True
        ):
            columns[name].append(float(f"{value:.4g}"))
        columns["algorithm"].append(algorithm_name(record))
        columns["colour"].append(colours[algorithm_name(record)])
        columns["what"].append(_what(record))
    ends = [v for n in ("low", "high", "measured") for v in columns[n]]
    edges = [min(ends) / 1.5, max(ends) * 1.5] if ends else [1.0, 10.0]
    return {
        "title": title,
        "kind": "scatter",
        "x": f"forecast, {unit}",
        "y": f"measured, {unit}",
        "edges": edges,
        "height": 520,
        "points": columns,
    }


def _mark(
    marks: dict[str, dict[str, Any]], name: str, colour: str, shape: str, at_s: float, lane: str
) -> None:
    one = marks.setdefault(name, {"name": name, "colour": colour, "shape": shape, "x": [], "y": []})
    one["x"].append(round(at_s, 4))
    one["y"].append(lane)


def _lanes(records: Sequence[Record]) -> list[str]:
    """Return the lane of each attempt: its worker, several of it where attempts overlap."""
    names = _worker_names(records)
    free: dict[str, list[int]] = {}
    busy: dict[str, list[tuple[Any, int]]] = {}
    lanes = []
    for r in records:
        worker = names[r.worker]
        ends, slots = busy.setdefault(worker, []), free.setdefault(worker, [])
        while ends and ends[0][0] <= r.started_at:
            heapq.heappush(slots, heapq.heappop(ends)[1])
        slot = heapq.heappop(slots) if slots else len(ends)
        heapq.heappush(ends, (max(r.ended_at, r.started_at), slot))
        lanes.append(f"{worker} · {slot + 1}")
    return lanes


def _again(records: Sequence[Record]) -> set[str]:
    """Return the ids of attempts at fits of which an earlier attempt came to nothing.

    The number of an attempt doesn't tell: it also rises when a fit moves before it has begun.
    """
    lost: set[tuple[int, int]] = set()
    found = set()
    for r in sorted(records, key=lambda r: r.attempt):
        fit = (r.candidate_index, r.fold)
        if fit in lost:
            found.add(r.record_id)
        if r.outcome is not Outcome.SUCCEEDED:
            lost.add(fit)
    return found


def _worker_names(records: Sequence[Record]) -> dict[str, str]:
    """Return short names of workers: their pool and a number, in the order of their first fit."""
    names: dict[str, str] = {}
    counts: dict[str, int] = {}
    for r in records:
        if r.worker not in names:
            counts[r.pool] = counts.get(r.pool, 0) + 1
            names[r.worker] = f"{r.pool[:40] or 'worker'} {counts[r.pool]}"
    return names


def _colours(records: Sequence[Record]) -> dict[str, str]:
    return {n: COLOURS[i % len(COLOURS)] for i, n in enumerate(algorithms(records))}


def _what(r: Record) -> str:
    fold = "refit" if r.fold == REFIT_FOLD else f"fold {r.fold}"
    return f"{r.candidate[:100]}, {fold}"


def _beside(measured: str, r: Record, of: str) -> str:
    if r.estimate is None:
        return measured
    e = r.estimate
    if of == "runtime":
        low, high = span(e.runtime_s_p10), span(e.runtime_s_p90)
    else:
        low, high = size(e.peak_memory_bytes_p50), size(e.peak_memory_bytes_p95)
    return f"{measured} (forecast {low} to {high})"
