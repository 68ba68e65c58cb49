"""Requests and records made up, for the tests of the benchmarks."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from fitcast.history.records import Outcome, Record, Request

_numbers = count()
BASE_BYTES = 130_000_000


def request(algorithm: str = "sklearn.ensemble.RandomForestClassifier", **changed: Any) -> Request:
    """Return a request of an ordinary size."""
    rows, columns = changed.pop("rows", 10_000), changed.pop("columns", 20)
    whole: dict[str, Any] = {
        "algorithm": algorithm,
        "params": {"n_estimators": 100},
        "rows_train": rows,
        "rows_test": rows // 4,
        "columns": columns,
        "nonzeros": rows * columns,
        "data_bytes": rows * (columns + 1) * 10,
        "dtype": "float64",
        "target": "binary",
        "classes": 2,
    }
    return Request(**(whole | changed))


def record(of: Request, runtime_s: float = 1.0, **changed: Any) -> Record:
    """Return the record of a fit that went well."""
    number = next(_numbers)
    ended = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
    whole: dict[str, Any] = {
        "record_id": f"r{number}",
        "workflow_id": "w",
        "workflow_name": "w",
        "dataset": "informative-1:1",
        "candidate": "random forest 1",
        "candidate_index": 1,
        "fold": 0,
        "attempt": 1,
        "request": of,
        "estimate": None,
        "outcome": Outcome.SUCCEEDED,
        "runtime_s": runtime_s,
        "cpu_s": runtime_s,
        "peak_memory_bytes": BASE_BYTES + 50_000_000,
        "base_memory_bytes": BASE_BYTES,
        "memory_limit_bytes": 2**31,
        "deadline_s": None,
        "pool": "benchmark",
        "worker": "benchmark",
        "host": "benchmark",
        "started_at": ended,
        "ended_at": ended,
    }
    return Record(**(whole | changed))
