"""Other people's MLflow runs → records: what an ordinary run shows of a fit's cost.

In: reading what MLflow's autologging of scikit-learn, XGBoost and LightGBM writes. Weaker
evidence than a measured fit: the time is that of the whole run, memory isn't known unless the run
measured its own process. Of a search, the mean times of all its candidates. Not in:
fetching runs (:mod:`fitcast.history.mlflow_import`), what a model makes of them (the sizing room).
"""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeGuard

from fitcast.history.records import Outcome, ParamValue, Record, Request

POOL = "imported"
_NATIVE = {"xgboost": "xgboost.XGBClassifier", "lightgbm": "lightgbm.LGBMClassifier"}
STOPPED = "stopped_iteration"
"""Metric by which MLflow tells after how many rounds a boosting stopped."""

UNKNOWN = "unknown"
_BOOSTED = ("xgboost.", "lightgbm.", "catboost.")
_PATIENCE = ("early_stopping_rounds", "early_stopping_round")
_ROUNDS = ("n_estimators", "num_iterations", "iterations", "num_boost_round")
_THREADS = ("n_jobs", "nthread", "num_threads", "thread_count")
_PARENT = "mlflow.parentRunId"
_MOST_CANDIDATES = 10_000  # of one search
_PROCESS_MEMORY = "system/process_memory_usage_megabytes"
_LEAST_S = 0.05  # shorter runs timed nothing but their logging
_MOST_PARAMS = 200
_MOST_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRun:
    """A run as MLflow has it."""

    run_id: str
    status: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    started_ms: int | None
    ended_ms: int | None
    profiles: Sequence[str] = ()  # JSON that MLflow keeps of each dataset input, training first
    metrics: Mapping[str, float] = field(default_factory=dict)  # the highest values
    cv_results: str = ""  # CSV that MLflow writes for a search


def is_search(tags: Mapping[str, str]) -> bool:
    """Return whether a run is that of a search over hyper-parameters."""
    return tags.get("estimator_class", "").endswith("SearchCV")


@dataclass(slots=True)
class Imported:
    """What came of reading runs."""

    records: list[Record] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)  # how many, by reason

    def skip(self, reason: str) -> None:
        """Count a run that can't be used."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1


def read_runs(runs: Iterable[ForeignRun], workflow_id: str, name: str) -> Imported:
    """Make records of runs; those that can't be used are counted by reason.

    Parameters
    ----------
    runs
        Of one experiment.
    workflow_id, name
        Of the workflow under which the records are kept.
    """
    found = list(runs)
    searches = {run.run_id for run in found if is_search(run.tags)}
    below: dict[str, ForeignRun] = {}  # one candidate's run of each search
    for run in found:
        if (search := run.tags.get(_PARENT, "")) in searches and run.status == "FINISHED":
            below.setdefault(search, run)
    imported = Imported()
    numbers: dict[str, int] = {}  # of algorithms, as candidates
    folds: dict[str, int] = {}
    for run in found:
        if run.run_id in searches and run.status == "FINISHED":
            of_search = _of_search(run, below.get(run.run_id))
            if isinstance(of_search, str):
                imported.skip(of_search)
                continue
            for number, (algorithm, values) in enumerate(of_search):
                index = numbers.setdefault(algorithm, len(numbers))
                folds[algorithm] = folds.get(algorithm, -1) + 1
                record = _record(
                    run, algorithm, (1, 1, 1), workflow_id, name, index, folds[algorithm]
                )
                imported.records.append(_candidate_record(record, number, values))
            continue
        reason = _reason_against(run, searches)
        shape = None if reason else _shape(run.profiles)
        if reason or shape is None:
            imported.skip(reason or "the size of the data wasn't logged")
            continue
        algorithm = _algorithm(run)
        index = numbers.setdefault(algorithm, len(numbers))
        folds[algorithm] = folds.get(algorithm, -1) + 1
        imported.records.append(
            _record(run, algorithm, shape, workflow_id, name, index, folds[algorithm])
        )
    return imported


def _reason_against(run: ForeignRun, searches: set[str]) -> str:
    if run.status != "FINISHED":
        return "they didn't finish"
    if not _algorithm(run):
        return "no estimator was logged"
    if run.tags.get(_PARENT) in searches:
        return "candidates of a search, which are read from its cv_results.csv"
    if run.started_ms is None or run.ended_ms is None:
        return "they have no times"
    if run.ended_ms - run.started_ms < 1000 * _LEAST_S:
        return "their times are too short to be a fit's"
    return ""


def _algorithm(run: ForeignRun) -> str:
    """Return the estimator's import path as requests name it; "" if it wasn't logged."""
    path = run.tags.get("estimator_class", "")
    if not path:
        native = run.tags.get("mlflow.autologging", "")
        return _NATIVE.get(native, "") if "num_boost_round" in run.params else ""
    parts = [part for part in path.split(".") if not part.startswith("_")]
    if parts[0] in _NATIVE and parts[1:2] == ["sklearn"]:
        del parts[1]
    return ".".join(parts)


def _shape(profiles: Sequence[str]) -> tuple[int, int, int] | None:
    """Return rows, columns and bytes of the training data; None if they weren't logged."""
    for text in profiles:
        try:
            profile: Any = json.loads(text)
        except ValueError:
            continue
        if not isinstance(profile, dict):
            continue
        shape = profile.get("features_shape")
        if isinstance(shape, list) and shape and all(_whole(n) for n in shape):
            columns = math.prod(shape[1:]) if len(shape) > 1 else 1
            given = profile.get("features_nbytes")
            return shape[0], max(1, columns), given if _whole(given) else 8 * shape[0] * columns
        rows, cells = profile.get("num_rows"), profile.get("num_elements")
        if _whole(rows) and _whole(cells):
            return rows, max(1, cells // rows), 8 * cells
    return None


def _whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53


def _record(
    run: ForeignRun,
    algorithm: str,
    shape: tuple[int, int, int],
    workflow_id: str,
    name: str,
    index: int,
    fold: int,
) -> Record:
    rows, columns, data_bytes = shape
    params = {key[:_MOST_CHARS]: _value(text) for key, text in list(run.params.items())}
    if "num_boost_round" in params:
        params.setdefault("n_estimators", params.pop("num_boost_round"))
    classes = 2 if algorithm.endswith(("Classifier", "NB")) else 0
    started_ms, ended_ms = run.started_ms or 0, run.ended_ms or 0
    _tell_rounds(algorithm, params, run.metrics)
    return Record(
        record_id=f"import-{run.run_id}",
        workflow_id=workflow_id,
        workflow_name=name,
        dataset=f"import-{rows}x{columns}",
        candidate=algorithm.rpartition(".")[2],
        candidate_index=index,
        fold=fold,
        attempt=1,
        request=Request(
            algorithm=algorithm,
            params=dict(list(params.items())[:_MOST_PARAMS]),
            rows_train=rows,
            rows_test=0,
            columns=columns,
            nonzeros=rows * columns,
            data_bytes=data_bytes,
            dtype="float64",
            target="binary" if classes else "regression",
            classes=classes,
            threads=_threads(algorithm, params),
        ),
        estimate=None,
        outcome=Outcome.SUCCEEDED,
        runtime_s=(ended_ms - started_ms) / 1000.0,
        cpu_s=None,
        peak_memory_bytes=_process_memory_bytes(run.metrics),
        base_memory_bytes=None,
        memory_limit_bytes=0,
        deadline_s=None,
        pool=POOL,
        worker="",
        host="",
        started_at=datetime.fromtimestamp(started_ms / 1000.0, UTC),
        ended_at=datetime.fromtimestamp(ended_ms / 1000.0, UTC),
        imported=True,
    )


def _tell_rounds(
    algorithm: str, params: dict[str, ParamValue], metrics: Mapping[str, float]
) -> None:
    """Make params tell how many rounds a boosting made, or that nobody knows.

    MLflow logs where one stopped early if it was told to; callbacks that stop it it doesn't log.
    """
    if not algorithm.startswith(_BOOSTED):
        return
    stopped = metrics.get(STOPPED, math.nan)
    if math.isfinite(stopped) and stopped >= 1.0:
        for name in (*_PATIENCE, *_ROUNDS):
            params.pop(name, None)
        params["n_estimators"] = int(stopped)
    elif not any(isinstance(params.get(name), int) for name in _PATIENCE):
        params[_PATIENCE[0]] = UNKNOWN


def _threads(algorithm: str, params: Mapping[str, ParamValue]) -> int:
    """Return the threads of a fit; 0 if nobody knows: all cores of a machine, or a default."""
    for name in _THREADS:
        value = params.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    # scikit-learn's None is one, the boosting packages' all cores
    return 1 if algorithm.startswith("sklearn.") and params.get("n_jobs", 0) is None else 0


def _process_memory_bytes(metrics: Mapping[str, float]) -> int | None:
    """Return what the run's process held at most; None where only the machine was measured."""
    megabytes = metrics.get(_PROCESS_MEMORY, 0.0)
    return round(1e6 * megabytes) if math.isfinite(megabytes) and megabytes > 0 else None


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A row of a search's results."""

    runtime_s: float
    params: Mapping[str, ParamValue]
    shape: tuple[int, int, int]
    rows_test: int


def _of_search(run: ForeignRun, below: ForeignRun | None) -> list[tuple[str, _Candidate]] | str:
    """Return algorithm and costs of a search's candidates, or why they can't be told."""
    if not run.cv_results:
        return "a search over many fits has no times of its own"
    algorithm = "" if below is None else _algorithm(below)
    if below is None or not algorithm:
        return "a search whose estimator wasn't logged"
    if "sklearn.pipeline" in algorithm:  # `LogisticRegression()`: whose that is, is nowhere
        return "a search over a pipeline: MLflow logs the classes of its steps without the modules"
    shape = _shape(run.profiles)
    if shape is None:
        return "the size of the data wasn't logged"
    try:
        table = csv.DictReader(io.StringIO(run.cv_results))
        rows = [row for row, _ in zip(table, range(_MOST_CANDIDATES), strict=False)]
    except csv.Error:
        return "a search whose results can't be read"
    names = rows[0] if rows else {}
    splits = len({m[1] for n in names if n and (m := re.match(r"split(\d+)_test_", n))})
    # As K-fold splits: which rows the others train on isn't logged
    rows_test = shape[0] // splits if splits > 1 else 0
    fold_shape = (max(1, shape[0] - rows_test), shape[1], shape[2])
    common = {key: _value(text) for key, text in below.params.items()}
    found = []
    for row in rows:
        took_s = sum(_seconds(row.get(f"mean_{part}_time")) for part in ("fit", "score"))
        if not math.isfinite(took_s) or took_s <= 0:
            continue  # it failed, or no clock could tell
        own = {n[6:]: _value(v or "") for n, v in row.items() if n and n.startswith("param_")}
        found.append((algorithm, _Candidate(took_s, common | own, fold_shape, rows_test)))
    return found or "a search whose candidates have no times"


def _seconds(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _candidate_record(record: Record, number: int, of: _Candidate) -> Record:
    rows, columns, data_bytes = of.shape
    params = {key[:_MOST_CHARS]: value for key, value in list(of.params.items())[:_MOST_PARAMS]}
    request = replace(
        record.request,
        params=params,
        rows_train=rows,
        rows_test=of.rows_test,
        columns=columns,
        nonzeros=rows * columns,
        data_bytes=data_bytes,
        threads=_threads(record.request.algorithm, params),
    )
    return replace(
        record,
        record_id=f"{record.record_id}-c{number}",
        dataset=f"import-{rows + of.rows_test}x{columns}",
        request=request,
        runtime_s=of.runtime_s,
        peak_memory_bytes=None,
    )


def _value(text: str) -> ParamValue:
    """Return a logged parameter as what it was before it became text."""
    if text in ("None", "True", "False"):
        return {"None": None, "True": True, "False": False}[text]
    for kind in (int, float):
        try:
            value: int | float = kind(text)
        except ValueError:
            continue
        return value if math.isfinite(value) and abs(value) < 2**63 else text
    return text[:_MOST_CHARS]
