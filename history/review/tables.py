"""Tables of an ended workflow as files: the leaderboard, all its fits, what failed.

Pure: from records to bytes. Not in here: pictures (:mod:`fitcast.history.review.charts`).
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from fitcast.history.presentation import algorithm_name, failure_text
from fitcast.history.records import Outcome, Record
from fitcast.history.review.summary import Summary, mean
from fitcast.history.store import AttemptLog

_MOST_FAILURES_BYTES: Final = 1_000_000
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def leaderboard_csv(summary: Summary) -> bytes:
    """Return a row per candidate, the best first."""
    names = sorted({name for r in summary.records for name in r.scores})
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    scores = [column for n in names for column in (f"mean_{n}", f"min_{n}", f"max_{n}")]
    costs = ["runtime_s", "forecast_runtime_s", "peak_memory_bytes", "forecast_peak_memory_bytes"]
    head = ["place", "candidate", "algorithm", *scores, "succeeded", "failed", *costs]
    table.writerow([_cell(name) for name in head])
    for place, candidate in enumerate(summary.candidates, 1):
        done = candidate.done
        folds = {r.fold for r in candidate.records}
        values: list[Any] = []
        for name in names:
            found = candidate.scores(name)
            values += [mean(found), min(found), max(found)] if found else ["", "", ""]
        peaks = [r.peak_memory_bytes for r in done if r.peak_memory_bytes is not None]
        estimates = [r.estimate for r in done if r.estimate is not None]
        forecast_s = sum(e.runtime_s_p50 for e in estimates)
        forecast_bytes = max((e.peak_memory_bytes_p95 for e in estimates), default="")
        row = [
            place,
            _cell(candidate.label),
            _cell(algorithm_name(candidate.records[0])),
            *values,
            len(done),
            len(folds) - len({r.fold for r in done}),
            sum(r.runtime_s for r in done) if done else "",
            forecast_s if estimates else "",
            max(peaks, default=""),
            forecast_bytes,
        ]
        table.writerow(row)
    return written.getvalue().encode("utf-8", "backslashreplace")


def _cell(text: str) -> str:
    # What a spreadsheet would take for a formula is text
    return f"'{text}" if text.startswith(_FORMULA) else text


def fits_parquet(records: Sequence[Record]) -> bytes:
    """Return a row per attempt with what people ask of it, a column per score."""
    names = sorted({name for r in records for name in r.scores})
    rows = [_row(r, names) for r in sorted(records, key=lambda r: r.started_at)]
    kept = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), kept, compression="zstd")
    return kept.getvalue()


def _row(r: Record, names: Sequence[str]) -> dict[str, Any]:
    estimate = r.estimate
    forecast = ("runtime_s_p10", "runtime_s_p50", "runtime_s_p90")
    memory = ("peak_memory_bytes_p50", "peak_memory_bytes_p95")
    return {
        "candidate": _text(r.candidate),
        "candidate_index": r.candidate_index,
        "algorithm": _text(r.request.algorithm),
        "params": _text(json.dumps(dict(r.request.params), default=str)),
        "fold": r.fold,
        "attempt": r.attempt,
        "outcome": str(r.outcome),
        **{f"score_{_text(name)}": r.scores.get(name) for name in names},
        "runtime_s": r.runtime_s,
        **{f"forecast_{n}": getattr(estimate, n, None) for n in forecast},
        "cpu_s": r.cpu_s,
        "peak_memory_bytes": r.peak_memory_bytes,
        **{f"forecast_{n}": _whole(getattr(estimate, n, None)) for n in memory},
        "memory_limit_bytes": _whole(r.memory_limit_bytes),
        "threads": r.request.threads,
        "pool": r.pool,
        "worker": r.worker,
        "host": r.host,
        "started_at": r.started_at,
        "ended_at": r.ended_at,
        "error_type": r.error_type,
        "error_message": _text(r.error_message),
    }


def _whole(value: Any) -> int | None:
    """Return a size as a column of whole numbers holds it; one without bound is missing."""
    if value is None or not -(2.0**63) <= value < 2.0**63:
        return None
    return int(value)


def _text(value: str) -> str:
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def failures_text(records: Sequence[Record], logs: Mapping[str, AttemptLog]) -> bytes:
    """Return what is known of the attempts that didn't succeed; nothing if all did."""
    parts: list[bytes] = []
    total = 0
    wanted = [r for r in records if r.outcome not in {Outcome.SUCCEEDED, Outcome.CANCELLED}]
    for count, record in enumerate(wanted):
        part = failure_text(record, logs.get(record.record_id)).encode()
        total += len(part)
        if total > _MOST_FAILURES_BYTES:
            more = f"… and {len(wanted) - count} more: see the candidates' runs below this one\n"
            parts.append(more.encode())
            break
        parts.append(part)
    return (b"\n" + b"=" * 100 + b"\n\n").join(parts)
