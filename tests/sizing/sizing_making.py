"""What the sizing tests share: requests and records of fits that cost what a rule says."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from fitcast.history.records import Outcome, Record, Request

XGB = "xgboost.XGBClassifier"
FOREST = "sklearn.ensemble.RandomForestClassifier"
LOGISTIC = "sklearn.linear_model.LogisticRegression"
BASE_BYTES = 120 * 2**20

_numbers = count()


def request(algorithm: str = XGB, rows: int = 20_000, columns: int = 20, **changed: Any) -> Request:
    params = changed.pop("params", {"n_estimators": 100, "max_depth": 6})
    whole: dict[str, Any] = {
        "algorithm": algorithm,
        "params": params,
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


def record(of: Request, runtime_s: float, **changed: Any) -> Record:
    number = next(_numbers)
    ended = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
    whole: dict[str, Any] = {
        "record_id": f"r{number}",
        "workflow_id": "w",
        "workflow_name": "w",
        "dataset": "d",
        "candidate": "c",
        "candidate_index": 0,
        "fold": 0,
        "attempt": 1,
        "request": of,
        "estimate": None,
        "outcome": Outcome.SUCCEEDED,
        "runtime_s": runtime_s,
        "cpu_s": runtime_s,
        "peak_memory_bytes": BASE_BYTES + 50 * 2**20,
        "base_memory_bytes": BASE_BYTES,
        "memory_limit_bytes": 2**31,
        "deadline_s": None,
        "pool": "p",
        "worker": "w0",
        "host": "h",
        "started_at": ended - timedelta(seconds=1),
        "ended_at": ended,
    }
    return Record(**(whole | changed))


def cost_s(of: Request) -> float:
    """A made-up machine, far from the laws' own: three times slower, steeper in depth."""
    depth = float(of.params.get("max_depth") or 12)  # type: ignore[arg-type]
    trees = float(of.params.get("n_estimators") or 100)  # type: ignore[arg-type]
    return 0.03 + 6e-8 * trees * of.rows_train * depth**1.3
