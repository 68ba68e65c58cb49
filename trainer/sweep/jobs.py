"""A candidate → the job that is sent to a worker, as bytes.

In: which parameters take the plan's threads, which keyword of ``fit`` takes the weights, pickling
jobs so that what candidates have in common is kept once. Not in: pickling code that workers can't
import (:mod:`fitcast.trainer.sweep.users_code`), running it
(:mod:`fitcast.trainer.attempt.fitting`).
"""

import inspect
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import numpy as np
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from fitcast.errors import InvalidSweepError
from fitcast.trainer.attempt.searched import Extras
from fitcast.trainer.attempt.spec import Attached, Job, JobBytes, LargeValue
from fitcast.trainer.imports import named_in
from fitcast.trainer.naming import public_path
from fitcast.trainer.sweep.fit_params import MethodParams
from fitcast.trainer.sweep.kinds import lacks
from fitcast.trainer.sweep.models import Candidate, class_name
from fitcast.trainer.sweep.users_code import Dumps
from fitcast.trainer.sweep.users_modules import sources_for

THREAD_PARAMS = frozenset({"n_jobs", "nthread", "num_threads", "thread_count"})
WEIGHTS = "sample_weight"

_LARGE_BYTES = 4_096  # of what isn't pickled anew for each candidate, nor sent with each fit
_SMALL = (bool, int, float, complex, np.number, np.bool_, type(None))
_SHARED = ("estimator", "scorer", "extras")
_OWN = tuple(f.name for f in fields(Job) if f.name not in (*_SHARED, "params"))


def make_job(
    candidate: Candidate,
    configured: Any,
    scorer: Any,
    params: MethodParams,
    extras: Extras,
    *,
    predict_method: str | None,
    return_train_score: bool,
) -> Job:
    """Return the job of a candidate; ``configured`` is its estimator with its parameters set."""
    weighted = WEIGHTS in params.columns
    # Those among the parameters of `fit` are handed to scorers just so.
    column = WEIGHTS if weighted else dict(params.fit).get(WEIGHTS)
    scored = dict(params.score)
    if column is not None and WEIGHTS not in scored and _scored_weighted(configured, scorer):
        scored = {WEIGHTS: column, **scored}
    return Job(
        estimator=candidate.estimator,
        params=candidate.params,
        scorer=scorer,
        return_train_score=return_train_score,
        predict_method=available_method(configured, predict_method),
        fit_params=(*(((weight_keyword(configured), WEIGHTS),) if weighted else ()), *params.fit),
        score_params=tuple(scored.items()),
        thread_params=thread_params(configured, candidate.params),
        extras=extras,
    )


def available_method(configured: Any, method: str | None) -> str | None:
    """Return the method for predictions; None where an estimator doesn't predict at all."""
    # "predict" is what nobody asked for: a clusterer without it is fitted all the same.
    return None if method == "predict" and lacks(configured, method) else method


def thread_params(configured: Any, chosen: Iterable[str]) -> tuple[str, ...]:
    """Return the parameters to set to the number of threads; not those that the grid sets."""
    try:
        every = configured.get_params(deep=True)
    except Exception:  # what is inside refuses to tell: its threads stay as they are
        return ()
    chosen = set(chosen)
    found = []
    for name, value in every.items():
        prefix, _, last = name.rpartition("__")
        if last not in THREAD_PARAMS or name in chosen:
            continue
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            continue  # a sentinel such as "deprecated"
        owner = every.get(prefix) if prefix else configured
        # It has had no effect since scikit-learn 1.8, which warns in each fit when it is set.
        kinds = {public_path(kind) for kind in type(owner).__mro__}
        if "sklearn.linear_model.LogisticRegression" in kinds:
            continue
        found.append(name)
    return tuple(sorted(found))


def weight_keyword(estimator: Any) -> str:
    """Return the keyword of ``fit`` that takes the sample weights: of a pipeline's last step."""
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        return f"{name}__{weight_keyword(last)}"
    return WEIGHTS


def _scored_weighted(configured: Any, scorer: Any) -> bool:
    """Tell whether GridSearchCV would hand the weights to the scorer as well."""
    # From some version on, it does so for weights of the whole estimator, not of a pipeline's step.
    if not hasattr(BaseSearchCV, "_check_scorers_accept_sample_weight"):
        return False
    if weight_keyword(configured) != WEIGHTS:
        return False
    parts = getattr(scorer, "_scorers", None)
    if parts is not None and not all(hasattr(p, "_accept_sample_weight") for p in parts.values()):
        return False
    if hasattr(scorer, "_accept_sample_weight"):
        return bool(scorer._accept_sample_weight())
    return WEIGHTS in inspect.signature(scorer).parameters


def takes_weights(estimator: Any) -> bool:
    """Tell whether ``fit`` takes sample weights, by name or among any keywords."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    if not hasattr(estimator, "fit"):
        return False
    if has_fit_parameter(estimator, WEIGHTS):
        return True
    parameters = inspect.signature(estimator.fit).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


class JobPickler:
    """Pickles the jobs of a sweep, and what several of them hold only once.

    Parameters
    ----------
    dumps
        How things are pickled: :func:`~fitcast.trainer.sweep.users_code.users_code_by_value`.
    """

    def __init__(self, dumps: Dumps) -> None:
        self._dumps = dumps
        # By identity; the things themselves are kept, so that no other one gets their identity.
        self._models: dict[tuple[int, ...], tuple[Job, bytes, tuple[str, ...]]] = {}
        self._values: dict[int, tuple[Any, bytes]] = {}

    def dump(self, job: Job, label: str) -> JobBytes:
        """Pickle a job, and by value the user's own modules, which workers may not find.

        Raises
        ------
        InvalidSweepError
            If something in it can't be pickled.
        """
        try:
            return self._dump(job)
        except Exception as error:
            raise InvalidSweepError(
                f"Candidate {label!r} ({class_name(job.estimator)}) can't be sent to a worker: "
                f"{type(error).__name__}: {error}. {self._keywords_at_fault(job)}"
                "Hold no open files, locks or connections in an "
                "estimator, its hyper-parameters or its scorer: make them where they are used, "
                "and leave them out of what is pickled (__getstate__)."
            ) from error

    def with_users_modules(self, jobs: Iterable[JobBytes]) -> tuple[JobBytes, ...]:
        """Return jobs with the source of the user's modules that what was pickled mentions."""
        pickles = [data for _, data, _ in self._models.values()]
        pickles += [data for _, data in self._values.values()]
        sources = sources_for(pickles)
        return tuple(job._replace(users_modules=sources) for job in jobs)

    def _keywords_at_fault(self, job: Job) -> str:
        """Say which parameters of ``fit`` and of the scorer can't be pickled, if any."""
        told = ""
        extras = job.extras
        for method, values in (("fit", extras.fit_values), ("the scorer", extras.score_values)):
            for name, value in values.items():
                try:
                    self._dumps(value)
                except Exception:
                    told += (
                        f"The parameter {name!r} of {method} is what can't be ({class_name(value)}"
                        "): give it in another form that it takes, such as arrays or frames. "
                    )
        return told

    def _dump(self, job: Job) -> JobBytes:
        shared = (job.estimator, job.scorer, job.extras)
        model = tuple(map(id, shared))
        if model not in self._models:
            data = self._dumps(shared)
            self._models[model] = job, data, named_in(data)
        _, estimator, modules = self._models[model]
        params: dict[str, Any] = {}
        large: list[bytes] = []
        for name, value in job.params.items():
            data = b"" if _is_small(value) else self._value(value)
            params[name] = LargeValue(len(large)) if data else value
            if data:
                large.append(data)
        own = {name: getattr(job, name) for name in _OWN} | {"params": params}
        return JobBytes(self._dumps(own), estimator, tuple(large), modules)

    def _value(self, value: Any) -> bytes:
        """Return the bytes of a value that is large; none for one that goes into each job."""
        if id(value) not in self._values:
            self._values[id(value)] = value, self._dumps(value)
        data = self._values[id(value)][1]
        return data if len(data) > _LARGE_BYTES else b""


def _is_small(value: Any) -> bool:
    if isinstance(value, str | bytes):
        return len(value) <= _LARGE_BYTES
    return isinstance(value, _SMALL)


def attached(jobs: Iterable[JobBytes]) -> tuple[tuple[JobBytes, ...], tuple[bytes, ...]]:
    """Take out of jobs what is large, to be sent once with the dataset.

    Returns
    -------
    jobs, attachments
        The jobs with numbers of attachments in their place, and these.
    """
    attachments: list[bytes] = []
    numbers: dict[int, Attached] = {}  # by identity: equal parts are the same bytes already

    def outside(part: bytes | Attached) -> bytes | Attached:
        if isinstance(part, Attached) or len(part) <= _LARGE_BYTES:
            return part
        if id(part) not in numbers:
            numbers[id(part)] = Attached(len(attachments))
            attachments.append(part)
        return numbers[id(part)]

    smaller = tuple(
        job._replace(
            estimator=outside(job.estimator),
            values=tuple(map(outside, job.values)),
            users_modules=outside(job.users_modules),
        )
        for job in jobs
    )
    return smaller, tuple(attachments)
