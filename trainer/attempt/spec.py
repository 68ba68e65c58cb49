"""What is asked of a worker for one attempt, and what comes back.

Only data: the process that runs it is in :mod:`fitcast.trainer.attempt.supervisor`, the way there
in :mod:`fitcast.trainer.attempt.runner`.
"""

import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from fitcast.history.records import Outcome
from fitcast.trainer.attempt.searched import NO_EXTRAS, Extras

CHOICE_FOLD: Final = -2
"""Stands where a fit has its fold: no fit, but the sweep's own rule chooses the best candidate."""

BEST_INDEX: Final = "best_index"
"""What that gives, among the scores."""

RESULT_BYTES = 2**30
"""What the result of a fit may take, unless a setting says otherwise."""


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
    extras: Extras = NO_EXTRAS  # what a search hands to its fits
    first_task: int = 0  # number of the first fold's fit in its search


@dataclass(frozen=True, slots=True)
class LargeValue:
    """Stands in a pickled job for a hyper-parameter's value that other candidates have too."""

    number: int  # in JobBytes.values


class Attached(NamedTuple):
    """Stands for bytes that were sent once, attached to the dataset."""

    number: int


Attachment: TypeAlias = Callable[[int], bytes | memoryview]
"""Returns what was attached to the dataset, by its number."""


class JobBytes(NamedTuple):
    """A pickled job. Candidates share the bytes of what they have in common.

    What is large is attached to the dataset, so that it comes to a worker once, not with each fit.
    """

    job: bytes  # a dict of Job's fields, but for those in estimator
    estimator: bytes | Attached  # (estimator, scorer, extras), as all candidates of a model have
    values: tuple[bytes | Attached, ...] = ()  # of large hyper-parameters
    modules: tuple[str, ...] = ()  # installed libraries that it needs, beyond the usual ones
    users_modules: bytes | Attached = b""  # their source

    def load(self, attachment: Attachment) -> Job:
        """Put the job together: runs the user's code, so only in the fit's own process."""

        def opened(part: bytes | Attached) -> Any:
            data = attachment(part.number) if isinstance(part, Attached) else part
            return pickle.loads(data)  # noqa: S301 - the workflow's own worker

        fields: dict[str, Any] = opened(self.job)
        estimator, scorer, extras = opened(self.estimator)
        params = {
            name: opened(self.values[value.number]) if isinstance(value, LargeValue) else value
            for name, value in fields.pop("params").items()
        }
        return Job(estimator=estimator, scorer=scorer, extras=extras, params=params, **fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSpec:
    """One attempt, as sent to a worker. Holds no key."""

    workflow_id: str
    fit_id: str
    attempt: int
    dataset_id: str
    job: JobBytes
    fold: int
    threads: int
    memory_limit_bytes: int
    deadline_s: float | None  # from its own beginning
    share_bytes: int = 0  # what the plan counts it with on its worker; 0 for the limit
    begin_within_s: float = math.inf  # of its process; a later turn is given back
    common_work: str = ""  # equal for fits that begin with the same steps on the same rows
    return_model: bool = False  # send the fitted estimator back (the refit)
    rows_test: int | None = None  # predictions must have as many rows; None if that isn't known
    result_bytes: int = RESULT_BYTES  # what predictions and model may take together
    surroundings: bytes = b""  # of the user's code; see fitcast.trainer.surroundings


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
    cpu_wait_s: float | None = None  # ready to run and without a core; None: not measured
    loading_s: float = 0.0  # that a fit which follows in its process is spared, imports mostly
    fit_time_s: float = 0.0  # as cv_results_' mean_fit_time counts it
    score_time_s: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)  # "score" when there is one scorer
    train_scores: dict[str, float] = field(default_factory=dict)
    predictions: npt.NDArray[np.generic] | None = None  # one row per test row of the fold
    model: bytes | None = None  # cloudpickle of the fitted estimator
    model_error: str = ""  # why there is none, though it was wanted and the fit succeeded
    stdout: str = ""
    stderr: str = ""
    warnings: tuple[str, ...] = ()
    error_type: str = ""
    error_message: str = ""
    traceback: str = ""
    places: str = ""  # the traceback without messages: types of errors and places in code
