"""The words of the house as data: request, estimate, outcome, record.

Everything here is frozen and plain: no MLflow, no Dask, no estimators. How records are written
and read back lives in :mod:`fitcast.history.codec` and :mod:`fitcast.history.mlflow_store`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

SCHEMA_VERSION = 1
"""Version of the record layout; readers skip records that are newer than they know."""

REFIT_FOLD = -1
"""The fold number of the fit on all rows that follows the choice of the best candidate."""

_NEVER_ZERO = ("cpu_s", "peak_memory_bytes", "base_memory_bytes")  # 0: not measured

ParamValue: TypeAlias = str | int | float | bool | None


class Outcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the user's code raised, or its process died by itself
    OUT_OF_MEMORY = "out_of_memory"
    OUT_OF_TIME = "out_of_time"
    WORKER_LOST = "worker_lost"
    PREEMPTED = "preempted"  # its place was taken away, through no fault of its own
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a fit asks for, known before it runs."""

    algorithm: str  # import path of the estimator's class; of the last step for a pipeline
    steps: tuple[str, ...] = ()  # import paths of all pipeline steps in order; () if no pipeline
    params: Mapping[str, ParamValue] = field(default_factory=dict)  # get_params(), flattened
    rows_train: int
    rows_test: int
    columns: int
    nonzeros: int  # rows × columns unless the data is sparse (training rows only)
    data_bytes: int  # X and y in memory, all rows
    dtype: str  # NumPy name, "mixed" for frames of several, "object"
    target: str  # binary | multiclass | regression | multioutput | none
    classes: int = 0  # 0 unless the target is classes
    threads: int = 1  # threads that the fit is given
    distinct_values: int = 0  # sum over columns of distinct values, each up to 256; 0 if unknown
    categorical_columns: int = 0
    missing_share: float = 0.0  # of all values
    scale_decades: float = 0.0  # log10 of the largest column's root mean square
    condition_decades: float = 0.0  # log10 of largest over median eigenvalue of X'X
    correlation_decades: float = 0.0  # the same of the columns' correlations
    bases: tuple[str, ...] = ()  # import paths of the classes that the algorithm's derives from
    library_version: str = ""  # "1.7": of the package that offers the algorithm


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The forecast for one request.

    Runtimes are those of one attempt in its child process at ``threads`` threads. The three
    standard deviations split the uncertainty of log(runtime) by what shares the error: all fits
    of an algorithm, the folds of one candidate, one fit alone.
    """

    threads: int
    runtime_s_p10: float
    runtime_s_p50: float
    runtime_s_p90: float
    peak_memory_bytes_p50: int
    peak_memory_bytes_p95: int
    failure_probability: float
    runtime_log_sd_algorithm: float = 0.0
    runtime_log_sd_candidate: float = 0.0
    runtime_log_sd_fit: float = 0.0
    parallel_fraction: float = 0.0  # Amdahl's share of one-thread work that threads divide
    like_records: int = 0  # records of the same algorithm that it rests on
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one attempt was, cost and became; beside it what had been forecast. Immutable.

    What wasn't measured, such as the memory of a lost worker, is None. No process takes 0 bytes or
    0 seconds of CPU: records of older versions, which wrote 0 for it, read as None too.
    """

    record_id: str
    workflow_id: str
    workflow_name: str
    dataset: str  # fingerprint of the dataset's shape and content
    candidate: str  # label, unique in its workflow
    candidate_index: int
    fold: int  # REFIT_FOLD for the fit on all rows
    attempt: int  # 1 for the first
    request: Request
    estimate: Estimate | None
    outcome: Outcome
    runtime_s: float  # wall clock of the attempt in its child: load, fit, predict, score
    cpu_s: float | None
    peak_memory_bytes: int | None
    base_memory_bytes: int | None  # of the same process before the fit began
    memory_limit_bytes: int
    deadline_s: float | None
    pool: str
    worker: str
    host: str
    started_at: datetime  # UTC
    ended_at: datetime  # UTC
    scores: Mapping[str, float] = field(default_factory=dict)
    error_type: str = ""
    error_message: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    machine_speed: float = 0.0  # of one core over the reference machine's; 0 if unknown
    shared_s: float = 0.0  # of work that another fit did for it; alone it would cost this more
    imported: bool = False  # from an ordinary MLflow run: the time of all it did, no memory
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        for name in _NEVER_ZERO:
            if not getattr(self, name):
                object.__setattr__(self, name, None)

    @property
    def runtime_alone_s(self) -> float:
        """What it would have taken in a process of its own, in seconds: that is forecast."""
        return self.runtime_s + self.shared_s
