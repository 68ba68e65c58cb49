"""The words of the house as data: request, estimate, outcome, record.

Everything here is frozen and plain: no MLflow, no Dask, no estimators. How records are written
and read back lives in :mod:`fitcast.history.codec` and :mod:`fitcast.history.mlflow_store`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from fitcast.history.parts import EstimatorPart
from fitcast.history.parts import ParamValue as ParamValue
from fitcast.history.undisturbed import availability_of, disturbed_sd, undisturbed_s

SCHEMA_VERSION = 1
"""Version of the record layout; readers skip records that are newer than they know."""

REFIT_FOLD = -1
"""The fold number of the fit on all rows that follows the choice of the best candidate."""

SHARED_POOL = "shared"
"""Pool of records that another team shared: their machines are none of this history's."""

_NEVER_ZERO = ("cpu_s", "peak_memory_bytes", "base_memory_bytes")  # 0: not measured


class Outcome(StrEnum):
    """How an attempt ended.

    Attributes
    ----------
    SUCCEEDED
        It has a result.
    FAILED
        The user's code raised, or its process ended by itself.
    OUT_OF_MEMORY, OUT_OF_TIME
        It was ended at its memory limit, or at its deadline.
    WORKER_LOST
        Its worker went away.
    PREEMPTED
        Its place was taken away, through no fault of its own.
    CANCELLED
        Somebody cancelled it.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    OUT_OF_MEMORY = "out_of_memory"
    OUT_OF_TIME = "out_of_time"
    WORKER_LOST = "worker_lost"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a fit asks for, known before it runs.

    Attributes
    ----------
    algorithm : str
        Import path of the estimator's class; of the last step for a pipeline.
    steps : tuple of str
        Import paths of all pipeline steps in order; empty without a pipeline.
    params : mapping
        Hyper-parameters, ``get_params()`` as plain values.
    rows_train, rows_test, columns : int
        Shape of the fold's data.
    nonzeros : int
        Rows × columns unless the data is sparse; training rows only.
    data_bytes : int
        X and y in memory, all rows.
    dtype : str
        NumPy name, "mixed" for frames of several, "object".
    target : str
        binary, multiclass, regression, multioutput or none.
    classes : int
        Number of classes; 0 unless the target is classes.
    threads : int
        Threads that the fit is given; 0 if unknown, in imported history alone.
    distinct_values : int
        Sum over columns of distinct values, each up to 256; 0 if unknown.
    categorical_columns : int
        Number of categorical columns.
    missing_share : float
        Missing values as a share of all.
    scale_decades : float
        log10 of the largest column's root mean square.
    condition_decades, correlation_decades : float
        log10 of the largest over the median eigenvalue of X'X, and of the columns' correlations.
    bases : tuple of str
        Import paths of the classes that the algorithm's derives from.
    library_version : str
        Of the package that offers the algorithm, such as "1.7".
    made_of : EstimatorPart or None
        The estimator with those inside it, where its own parameters don't say all: a pipeline, a
        search, anything that fits others.
    targets : int
        Columns of the target.
    memory_order : str
        "C" or "F" of an array, "" of anything else.
    integer_columns, arrow_columns, text_columns : int
        Columns of whole numbers, those of a frame that Arrow keeps, those of texts.
    text_chars, text_words : float
        Mean length of a text in characters and in words; 0 without texts.
    """

    algorithm: str
    steps: tuple[str, ...] = ()
    params: Mapping[str, ParamValue] = field(default_factory=dict)
    rows_train: int
    rows_test: int
    columns: int
    nonzeros: int
    data_bytes: int
    dtype: str
    target: str
    classes: int = 0
    threads: int = 1
    distinct_values: int = 0
    categorical_columns: int = 0
    missing_share: float = 0.0
    scale_decades: float = 0.0
    condition_decades: float = 0.0
    correlation_decades: float = 0.0
    bases: tuple[str, ...] = ()
    library_version: str = ""
    made_of: EstimatorPart | None = None
    targets: int = 1
    memory_order: str = ""
    integer_columns: int = 0
    arrow_columns: int = 0
    text_columns: int = 0
    text_chars: float = 0.0
    text_words: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The forecast for one request.

    Runtimes are those of one attempt in a process of its own, with ``threads`` threads. The three
    standard deviations split the uncertainty of log(runtime) into components.

    Attributes
    ----------
    threads : int
        Threads that the forecast is for.
    runtime_s_p10, runtime_s_p50, runtime_s_p90 : float
        Quantiles of the runtime, in seconds.
    peak_memory_bytes_p50, peak_memory_bytes_p95 : int
        Quantiles of the peak memory of the fit's process.
    failure_probability : float
        Probability that the user's code fails.
    runtime_log_sd_algorithm, runtime_log_sd_candidate, runtime_log_sd_fit : float
        Standard deviations common to all fits of the algorithm, to the folds of the candidate, and
        of one fit alone.
    parallel_fraction : float
        Amdahl's fraction of one-thread work that threads divide.
    like_records : int
        How many records of the same algorithm it is based on.
    why : str
        The forecast explained in one line.
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
    parallel_fraction: float = 0.0
    like_records: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one attempt was, what it cost and how it ended; beside it what was forecast. Immutable.

    What wasn't measured, such as the memory of a lost worker, is None. No process takes 0 bytes or
    0 seconds of CPU: records of older versions, which wrote 0 for it, read as None too.

    Attributes
    ----------
    record_id : str
        Unique over all workflows.
    workflow_id, workflow_name : str
        The workflow of the fit.
    dataset : str
        Fingerprint of the dataset's shape and content.
    candidate : str
        Label of the candidate, unique in its workflow.
    candidate_index, fold : int
        Number of the candidate and of the split; fold -1 is the refit on all rows.
    attempt : int
        1 for the first.
    request : Request
        What was asked for.
    estimate : Estimate or None
        What was forecast.
    outcome : Outcome
        How it ended.
    runtime_s : float
        Wall clock of the attempt in its process: load, fit, predict, score.
    cpu_s : float or None
        CPU seconds of its process and all processes below it.
    peak_memory_bytes : int or None
        Peak memory of the fit's process.
    base_memory_bytes : int or None
        Memory of the same process before the fit began.
    memory_limit_bytes : int
        Memory that the attempt was given.
    deadline_s : float or None
        Seconds after which it would have been ended.
    pool, worker, host : str
        Where it ran.
    started_at, ended_at : datetime
        UTC.
    scores : mapping
        By name; ``score`` if there is one scorer.
    error_type, error_message : str
        Empty if it succeeded.
    versions : mapping
        Of Python and the libraries used.
    machine_speed : float
        Of one core relative to the reference machine's; 0 if unknown.
    shared_s : float
        Seconds of work that another fit had done for it; alone it would have taken so much more.
    cpu_wait_s : float or None
        Seconds for which its threads and processes were ready to run and had no core, summed:
        beside other processes, at a quota, or taken by the hypervisor; None if not measured.
    imported : bool
        Whether it comes from an ordinary MLflow run: the time of all it did, no memory.
    schema_version : int
        Version of the record's layout.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> from fitcast import Outcome, Record, Request
    >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> record = Record(
    ...     record_id="w-c0-f0-a1", workflow_id="w", workflow_name="churn",
    ...     dataset="0123456789abcdef", candidate="lr C=1", candidate_index=0, fold=0, attempt=1,
    ...     request=Request(
    ...         algorithm="sklearn.linear_model.LogisticRegression", params={"C": 1.0},
    ...         rows_train=800, rows_test=200, columns=20, nonzeros=16_000, data_bytes=160_000,
    ...         dtype="float64", target="binary", classes=2,
    ...     ),
    ...     estimate=None, outcome=Outcome.WORKER_LOST, runtime_s=3.5,
    ...     cpu_s=None, peak_memory_bytes=None, base_memory_bytes=None,
    ...     memory_limit_bytes=2**30, deadline_s=None, pool="small", worker="w0", host="h0",
    ...     started_at=noon, ended_at=noon,
    ... )
    >>> print(record.outcome, record.peak_memory_bytes)
    worker_lost None
    """

    record_id: str
    workflow_id: str
    workflow_name: str
    dataset: str
    candidate: str
    candidate_index: int
    fold: int
    attempt: int
    request: Request
    estimate: Estimate | None
    outcome: Outcome
    runtime_s: float
    cpu_s: float | None
    peak_memory_bytes: int | None
    base_memory_bytes: int | None
    memory_limit_bytes: int
    deadline_s: float | None
    pool: str
    worker: str
    host: str
    started_at: datetime
    ended_at: datetime
    scores: Mapping[str, float] = field(default_factory=dict)
    error_type: str = ""
    error_message: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    machine_speed: float = 0.0
    shared_s: float = 0.0
    cpu_wait_s: float | None = None
    imported: bool = False
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        for name in _NEVER_ZERO:
            if not getattr(self, name):
                object.__setattr__(self, name, None)

    @property
    def runtime_alone_s(self) -> float:
        """What it would have taken in a process of its own, in seconds."""
        return self.runtime_s + self.shared_s

    @property
    def undisturbed_s(self) -> float:
        """What it would have taken so on a machine that nothing disturbs: that is forecast.

        Where waiting wasn't measured it is what it took.
        """
        took_s = undisturbed_s(self.runtime_s, self.cpu_s, self.cpu_wait_s, self.request.threads)
        if took_s >= self.runtime_s:
            return self.runtime_alone_s
        # what was shared was measured beside the same load
        return took_s * (1.0 + self.shared_s / self.runtime_s)

    @property
    def disturbed_sd(self) -> float:
        """How unsure that is by the disturbance, as a standard deviation of its logarithm."""
        return disturbed_sd(self.runtime_alone_s, self.undisturbed_s)

    @property
    def availability(self) -> float | None:
        """The share of a core that it got of what it wanted; None if that isn't known."""
        return availability_of(self.cpu_s, self.cpu_wait_s)
