"""What is asked of a worker for one attempt, and what comes back.

Only data: the process that runs it is in :mod:`fitcast.trainer.attempt.supervisor`, the way there
in :mod:`fitcast.trainer.attempt.runner`.
"""

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from fitcast.history.records import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The code of a fit; pickled by value (cloudpickle), opened only in the fit's own process."""

    estimator: Any  # unfitted; cloned before use
    params: dict[str, Any]  # set on the clone; empty for an estimator alone
    scorer: Any  # what sklearn.metrics.check_scoring returned
    return_train_score: bool = False
    predict_method: str | None = "predict"  # method for out-of-fold predictions
    fit_params: tuple[tuple[str, str], ...] = ()  # (keyword of fit, column kept in the dataset)
    score_params: tuple[tuple[str, str], ...] = ()  # (keyword of the scorer, column), same rows
    thread_params: tuple[str, ...] = ()  # parameters set to the number of threads given
    return_model: bool = False  # send the fitted estimator back (the refit)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSpec:
    """One attempt, as sent to a worker. Holds no key."""

    workflow_id: str
    fit_id: str
    attempt: int
    dataset_id: str
    job: bytes  # cloudpickle of a Job
    fold: int
    threads: int
    memory_limit_bytes: int
    deadline_s: float | None  # from its own beginning
    share_bytes: int = 0  # what the plan counts it with on its worker; 0 for the limit
    begin_within_s: float = math.inf  # of its process; a later turn is given back
    common_work: str = ""  # equal for fits that begin with the same steps on the same rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What an attempt cost and gave."""

    outcome: Outcome
    runtime_s: float
    cpu_s: float
    peak_memory_bytes: int
    base_memory_bytes: int
    started_at: datetime  # UTC
    ended_at: datetime  # UTC
    shared_s: float = 0.0  # work that an earlier fit of the same process had done for it
    fit_time_s: float = 0.0  # as cv_results_' mean_fit_time counts it
    score_time_s: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)  # "score" when there is one scorer
    train_scores: dict[str, float] = field(default_factory=dict)
    predictions: npt.NDArray[np.generic] | None = None  # one row per test row of the fold
    model: bytes | None = None  # cloudpickle of the fitted estimator
    stdout: str = ""
    stderr: str = ""
    warnings: tuple[str, ...] = ()
    error_type: str = ""
    error_message: str = ""
    traceback: str = ""
