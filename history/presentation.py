"""What a reviewer sees of a workflow in MLflow: names and values of tags, params, metrics, texts.

Pure: from records to plain values within MLflow's limits. Not in here: sending them
(:mod:`fitcast.history.mlflow_store`).
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, NamedTuple

from fitcast.history.codec import to_utc
from fitcast.history.records import REFIT_FOLD, Outcome, ParamValue, Record
from fitcast.history.store import INTERRUPTED, AttemptLog, WorkflowEnd, WorkflowRun

MAX_NAME: Final = 250  # characters of a key or a run's name
MAX_PARAM: Final = 6000  # characters of a param's value
MAX_TAG: Final = 5000  # characters of a tag's value
MAX_DIGEST: Final = 36  # characters of a dataset's digest
MAX_PARAMS: Final = 400  # params of one run; more than anyone reads

KIND_TAG: Final = "fitcast.kind"
WORKFLOW_TAG: Final = "fitcast.workflow_id"
STATE_TAG: Final = "fitcast.state"
CANDIDATE_TAG: Final = "fitcast.candidate_index"
ALGORITHM_TAG: Final = "fitcast.algorithm"
OUTCOME_TAG: Final = "fitcast.outcome"
DATASET_TAG: Final = "fitcast.dataset"
PARENT_TAG: Final = "mlflow.parentRunId"
NOTE_TAG: Final = "mlflow.note.content"

# Set last, once what is read of an ended workflow is stored: incremental reading goes by it. A time
# as people write it, whose order as text is that of time.
SAVED_AT_TAG: Final = "fitcast.saved_at"
# What stood in its place before, in milliseconds; read still.
SAVED_AT_METRIC: Final = "system/fitcast_saved_at_ms"

# The log of those saves: which rows of the records' file came with which of them
SAVES_TAG: Final = "fitcast.saves"
# Of a candidate: marks of the attempts that its run shows, written in one call with them. Whoever
# resumes the workflow knows by it, from the one search for its runs, what isn't there yet.
SENT_TAG: Final = "fitcast.sent"

RUNNING: Final = "running"
"""State and outcome of a workflow that ended and was resumed."""

OUTCOMES: Final = {"FINISHED": "succeeded", "FAILED": "failed", "KILLED": "cancelled"}
"""What a candidate's outcome is called, by the status of its run."""

_FORBIDDEN: Final = re.compile(r"[^\w\-. /:]", re.ASCII)
_DOTS: Final = re.compile(r"(^|/)\.{1,2}(?=/|$)")
_COST_UNKNOWN: Final = frozenset({Outcome.WORKER_LOST, Outcome.PREEMPTED, Outcome.CANCELLED})


class Point(NamedTuple):
    """One value of a metric."""

    key: str
    value: float
    timestamp_ms: int
    step: int


def epoch_ms(time: datetime) -> int:
    """Return milliseconds since 1970."""
    return int(to_utc(time).timestamp() * 1000)


def saved_at_text(time_ms: int) -> str:
    """Return a time as :data:`SAVED_AT_TAG` holds it, to the millisecond, in UTC."""
    at = datetime.fromtimestamp(time_ms // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"


def saved_at_ms(tags: Mapping[str, str], metrics: Mapping[str, float]) -> int | None:
    """Return when a run was last saved as ended, in milliseconds since 1970; None if never."""
    with suppress(KeyError, ValueError):
        at = datetime.fromisoformat(tags[SAVED_AT_TAG])
        return 1000 * int(at.timestamp()) + at.microsecond // 1000
    with suppress(KeyError, ValueError, OverflowError):
        return int(metrics[SAVED_AT_METRIC])
    return None


def safe_key(name: str) -> str:
    """Return a name as MLflow allows it for params, metrics and tags."""
    # MLflow refuses names that are no normal path, such as "a//b", "/a" or "../a"
    name = _DOTS.sub(r"\1_", _FORBIDDEN.sub("_", name))
    name = re.sub(r"/{2,}", "/", name).strip("/")
    return name[:MAX_NAME].rstrip("/") or "_"


def shortened(text: str, limit: int) -> str:
    """Return a text cut to a length, with a mark where it was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def shown_params(params: Mapping[str, ParamValue]) -> dict[str, str]:
    """Return hyper-parameters as MLflow params."""
    shown: dict[str, str] = {}
    for name, value in params.items():
        if len(shown) >= MAX_PARAMS:
            break
        shown[safe_key(name)] = shortened(str(value), MAX_PARAM)
    return shown


def workflow_tags(run: WorkflowRun) -> dict[str, str]:
    """Return the tags of a workflow's parent run."""
    own = {safe_key(k): shortened(str(v), MAX_TAG) for k, v in run.tags.items()}
    return own | {KIND_TAG: "workflow", WORKFLOW_TAG: run.workflow_id}


def candidate_tags(record: Record, parent_run_id: str, run: WorkflowRun) -> dict[str, str]:
    """Return the tags of a candidate's run: its own, and whose it is and where it comes from."""
    origin = {k: v for k, v in workflow_tags(run).items() if k.startswith("mlflow.")}
    return origin | {
        PARENT_TAG: parent_run_id,
        KIND_TAG: "candidate",
        WORKFLOW_TAG: record.workflow_id,
        CANDIDATE_TAG: str(record.candidate_index),
        ALGORITHM_TAG: shortened(algorithm_name(record), MAX_TAG),
        DATASET_TAG: shortened(record.dataset, MAX_TAG),
    }


def algorithm_name(record: Record) -> str:
    """Return the name of a record's estimator class without its module."""
    return record.request.algorithm.rpartition(".")[2] or "unknown"


def algorithms(records: Iterable[Record]) -> list[str]:
    """Return the names of the algorithms in alphabetical order."""
    return sorted({algorithm_name(r) for r in records})


def end_tags(records: Sequence[Record], state: str) -> dict[str, str]:
    """Return the tags that a workflow has only at its end."""
    names = shortened(", ".join(algorithms(records)), MAX_TAG)
    dataset = {DATASET_TAG: shortened(records[-1].dataset, MAX_TAG)} if records else {}
    return {STATE_TAG: state, OUTCOME_TAG: state, ALGORITHM_TAG: names, **dataset}


class DataInput(NamedTuple):
    """What runs say of the data that they were given: its size and fingerprint, no value of it."""

    name: str
    digest: str
    profile: str  # JSON


def data_input(record: Record) -> DataInput:
    """Return what a run's page and the runs table say of the data of a fit."""
    request = record.request
    rows = request.rows_train + (0 if record.fold == REFIT_FOLD else request.rows_test)
    profile = {"num_rows": rows, "num_elements": rows * request.columns}
    name = f"{rows:,} rows × {request.columns:,} columns"
    return DataInput(name, record.dataset[:MAX_DIGEST] or "unknown", json.dumps(profile))


def candidate_params(record: Record) -> dict[str, str]:
    """Return the params of a candidate's run: its algorithm, then its hyper-parameters."""
    return {"algorithm": shortened(record.request.algorithm, MAX_PARAM)} | shown_params(
        record.request.params
    )


def fit_points(record: Record) -> list[Point]:
    """Return what one attempt cost, beside its forecast; the step is the fold.

    What was forecast and what was measured begin with the same name. The refit on all rows costs
    more than a fold and has no score: its names begin with ``refit/``. Of attempts that went down
    with their worker or were cancelled only the forecast is shown, as their cost isn't the fit's.
    """
    values: dict[str, float | None] = {}
    if record.outcome not in _COST_UNKNOWN:
        values |= {
            "runtime_s/measured": record.runtime_s,
            "cpu_s/measured": record.cpu_s,
            "peak_memory_bytes/measured": record.peak_memory_bytes,
            "threads": record.request.threads,
        }
    if record.outcome is Outcome.SUCCEEDED:
        values |= record.scores
    if record.estimate is not None:
        forecast = record.estimate
        values |= {
            "runtime_s/forecast_p50": forecast.runtime_s_p50,
            "runtime_s/forecast_p10": forecast.runtime_s_p10,
            "runtime_s/forecast_p90": forecast.runtime_s_p90,
            "peak_memory_bytes/forecast_p50": forecast.peak_memory_bytes_p50,
            "peak_memory_bytes/forecast_p95": forecast.peak_memory_bytes_p95,
            "failure_probability/forecast": forecast.failure_probability,
        }
    refit = record.fold == REFIT_FOLD
    prefix, step = ("refit/", 0) if refit else ("", record.fold)
    return points({prefix + k: v for k, v in values.items()}, record.ended_at, step)


def points(values: Mapping[str, float | None], at: datetime, step: int = 0) -> list[Point]:
    """Return values as points of metrics; None and what isn't finite are left out.

    MLflow lists them in the order in which they came: by name, so that what was forecast stands
    beside what was measured.
    """
    now = epoch_ms(at)
    found = []
    for name, value in sorted(values.items()):
        if value is None:
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number):
            found.append(Point(safe_key(name), number, now, step))
    return found


def totals(records: Sequence[Record]) -> dict[str, float]:
    """Return what the fits of a candidate, or of a workflow, cost together."""
    done = [r for r in records if r.outcome is Outcome.SUCCEEDED]
    forecast = [r.estimate for r in done if r.estimate is not None]
    values: dict[str, float] = {
        "fits/succeeded": len(done),
        "fits/failed": len(_failed_fits(records)),
        "fits/attempts": len(records),
        "total_runtime_s/measured": sum(r.runtime_s for r in done),
    }
    # A total of some fits only would look like one of all: where one wasn't measured, there is none
    cpu_s = [r.cpu_s for r in done if r.cpu_s is not None]
    if done and len(cpu_s) == len(done):
        values["total_cpu_s/measured"] = sum(cpu_s)
    peaks = [r.peak_memory_bytes for r in done if r.peak_memory_bytes is not None]
    if done and len(peaks) == len(done):
        values["max_peak_memory_bytes/measured"] = max(peaks)
    if forecast and len(forecast) == len(done):
        values["total_runtime_s/forecast_p50"] = sum(e.runtime_s_p50 for e in forecast)
        values["max_peak_memory_bytes/forecast_p50"] = max(
            e.peak_memory_bytes_p50 for e in forecast
        )
    if lost := [r for r in records if r.outcome is not Outcome.SUCCEEDED]:
        values["total_runtime_s/lost"] = sum(r.runtime_s for r in lost)
    return values


def mean_scores(records: Sequence[Record]) -> dict[str, float]:
    """Return the mean over the folds of each score of a candidate."""
    folds = {
        r.fold: r.scores for r in records if r.outcome is Outcome.SUCCEEDED and r.fold != REFIT_FOLD
    }
    names = {name for scores in folds.values() for name in scores}
    means = {}
    for name in names:
        values = [scores[name] for scores in folds.values() if name in scores]
        means[f"mean_{name}"] = math.fsum(values) / len(values)
    return means


def candidate_status(records: Sequence[Record]) -> str:
    """Return the status of a candidate's run: FAILED if no fit of it succeeded."""
    outcomes = {r.outcome for r in records}
    if Outcome.SUCCEEDED in outcomes:
        return "FINISHED"
    return "KILLED" if outcomes <= _COST_UNKNOWN else "FAILED"


def workflow_status(end: WorkflowEnd) -> str:
    """Return the status of a workflow's parent run."""
    if end.state == "failed":
        return "FAILED"
    return "KILLED" if end.state in {"cancelled", INTERRUPTED} else "FINISHED"


def attempt_file(record: Record) -> str:
    """Return the file name for the log of an attempt, without its folder."""
    fold = "refit" if record.fold == REFIT_FOLD else f"f{record.fold}"
    suffix = "" if record.attempt == 1 else f"-attempt{record.attempt}"
    return f"c{record.candidate_index:04d}-{fold}{suffix}.txt"


def failure_text(record: Record, log: AttemptLog | None) -> str:
    """Return all that is known of an attempt that didn't succeed, to be read by people."""
    lines = [
        f"candidate   {record.candidate}",
        f"fold        {'refit' if record.fold == REFIT_FOLD else record.fold}",
        f"attempt     {record.attempt}",
        f"outcome     {record.outcome}",
        f"error       {record.error_type}: {record.error_message}".rstrip(": "),
        f"runtime_s   {record.runtime_s:.3f} (deadline {record.deadline_s})",
        f"peak memory {_bytes(record.peak_memory_bytes)} (limit {record.memory_limit_bytes:,})",
        f"worker      {record.worker} (pool {record.pool}, host {record.host})",
        f"started_at  {to_utc(record.started_at).isoformat()}",
    ]
    if log is not None:
        parts = {
            "traceback": log.traceback,
            "warnings": "\n".join(log.warnings),
            "stdout": log.stdout,
            "stderr": log.stderr,
        }
        for name, text in parts.items():
            if text:
                lines += ["", f"--- {name} ---", text.rstrip("\n")]
    text = "\n".join(lines) + "\n"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def warnings_text(logs: Iterable[AttemptLog]) -> str:
    """Return the warnings of a candidate's fits, each once with how often it came; "" if none."""
    counts = Counter(w for entry in logs for w in entry.warnings)
    text = "".join(f"{n} × {w.strip()}\n" for w, n in counts.most_common(100))
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _bytes(size: int | None) -> str:
    return "not measured" if size is None else f"{size:,} bytes"


def _failed_fits(records: Sequence[Record]) -> set[tuple[int, int]]:
    fits = {(r.candidate_index, r.fold) for r in records}
    return fits - {(r.candidate_index, r.fold) for r in records if r.outcome is Outcome.SUCCEEDED}
