"""A candidate → the job that is sent to a worker, as bytes.

In: which parameters take the plan's threads, which keyword of ``fit`` takes the weights, pickling
code that workers can't import. Not in: running it (:mod:`fitcast.trainer.attempt.fitting`).
"""

import inspect
import sys
import sysconfig
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from fitcast.errors import InvalidSweepError
from fitcast.trainer.attempt.spec import Job
from fitcast.trainer.naming import public_path
from fitcast.trainer.sweep.kinds import lacks
from fitcast.trainer.sweep.models import Candidate, class_name

THREAD_PARAMS = frozenset({"n_jobs", "nthread", "num_threads", "thread_count"})
WEIGHTS = "sample_weight"

_by_value_lock = threading.Lock()


def make_job(
    candidate: Candidate,
    configured: Any,
    scorer: Any,
    *,
    weighted: bool,
    predict_method: str | None,
    return_train_score: bool,
    return_model: bool,
) -> Job:
    """Return the job of a candidate; ``configured`` is its estimator with its parameters set."""
    return Job(
        estimator=candidate.estimator,
        params=candidate.params,
        scorer=scorer,
        return_train_score=return_train_score,
        predict_method=available_method(configured, predict_method),
        fit_params=((weight_keyword(configured), WEIGHTS),) if weighted else (),
        score_params=((WEIGHTS, WEIGHTS),)
        if weighted and _scored_weighted(configured, scorer)
        else (),
        thread_params=thread_params(configured, candidate.params),
        return_model=return_model,
    )


def available_method(configured: Any, method: str | None) -> str | None:
    """Return the method for predictions; None where an estimator doesn't predict at all."""
    # "predict" is what nobody asked for: a clusterer without it is fitted all the same.
    return None if method == "predict" and lacks(configured, method) else method


def thread_params(configured: Any, chosen: Iterable[str]) -> tuple[str, ...]:
    """Return the parameters to set to the number of threads; not those that the grid sets."""
    every = configured.get_params(deep=True)
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
        if public_path(owner) == "sklearn.linear_model.LogisticRegression":
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


def dump(job: Job, label: str) -> bytes:
    """Pickle a job, and by value the user's own modules, which workers may not find.

    Raises
    ------
    InvalidSweepError
        If something in it can't be pickled.
    """
    with suppress(Exception), _users_modules_by_value():
        return _dumps(job)
    try:
        # A module of theirs may hold what can't be pickled; the worker then has to import it.
        return _dumps(job)
    except Exception as error:
        raise InvalidSweepError(
            f"Candidate {label!r} ({class_name(job.estimator)}) can't be sent to a worker: "
            f"{type(error).__name__}: {error}. Hold no open files, locks or connections in an "
            "estimator, its hyper-parameters or its scorer; open them in fit."
        ) from error


def _dumps(job: Job) -> bytes:
    data: bytes = cloudpickle.dumps(job, protocol=5)
    return data


@contextmanager
def _users_modules_by_value() -> Iterator[None]:
    """Make cloudpickle send the code of modules that aren't installed, as it does for __main__."""
    with _by_value_lock:  # cloudpickle's registry is global
        known = cloudpickle.list_registry_pickle_by_value()
        fresh = []
        for name in _users_modules(frozenset(sys.modules)):
            module = sys.modules.get(name)
            if isinstance(module, ModuleType) and name not in known:
                cloudpickle.register_pickle_by_value(module)
                fresh.append(module)
        try:
            yield
        finally:
            for module in fresh:
                cloudpickle.unregister_pickle_by_value(module)


@lru_cache(maxsize=1)
def _users_modules(loaded: frozenset[str]) -> tuple[str, ...]:
    found = []
    for name in loaded:
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None) if isinstance(module, ModuleType) else None
        if not isinstance(file, str) or name != getattr(module, "__name__", None):
            continue
        if _is_users(name, file):
            found.append(name)
    return tuple(found)


@lru_cache(maxsize=10_000)
def _is_users(name: str, file: str) -> bool:
    if name.split(".")[0] in {"fitcast", "__main__", "__mp_main__"} or not file.endswith(".py"):
        return False
    path = Path(file).resolve()
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not any(path.is_relative_to(folder) for folder in _INSTALLED)


_INSTALLED = tuple(
    Path(folder).resolve()
    for key in ("stdlib", "platstdlib", "purelib", "platlib")
    if (folder := sysconfig.get_path(key))
)
