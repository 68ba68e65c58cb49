"""Answers of a model for its test rows, kept where nothing can tell the difference.

In: where that is so, and keeping them: a scorer's answer serves the out-of-fold predictions too.
Not in: scoring and predicting (:mod:`fitcast.trainer.attempt.fitting`), what fits share
(:mod:`fitcast.trainer.reuse`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from functools import wraps
from typing import Any

_LIBRARIES = frozenset({"sklearn", "xgboost", "lightgbm"})
_METHODS = ("predict_proba", "decision_function", "predict")


def is_seen_by_scorers(scorer: Any) -> bool:
    """Tell whether code of the user's sees the model when it is scored.

    scikit-learn's own scorers hand only rows and answers to a metric, whoever wrote that. Any other
    callable gets the model: it may change it, copy it, pickle it, or look into it.
    """
    from sklearn.metrics import _scorer

    parts = [scorer]
    if type(scorer) is _scorer._MultimetricScorer:
        parts = list(scorer._scorers.values())
    plain = (_scorer._Scorer, _scorer._PassthroughScorer)
    return not all(type(part) in plain for part in parts)


@contextmanager
def answers_kept(estimator: Any, X: Any, scorer: Any) -> Iterator[None]:
    """Let an estimator answer for the same rows once, if only libraries' code sees it meanwhile.

    A forest's ``predict`` asks its own ``predict_proba``, which for a hundred trees costs a
    twentieth of the fit.
    """
    kept: list[str] = []
    library = type(estimator).__module__.partition(".")[0]
    if library in _LIBRARIES and not is_seen_by_scorers(scorer):
        for name in _METHODS:
            with suppress(Exception):  # it has no such method: nothing is kept
                setattr(estimator, name, _keeping(getattr(estimator, name), X))
                kept.append(name)
    try:
        yield
    finally:
        for name in kept:
            with suppress(Exception):
                delattr(estimator, name)


def _keeping(method: Callable[..., Any], X: Any) -> Callable[..., Any]:
    answers: list[Any] = []

    @wraps(method)
    def answer(*args: Any, **kwargs: Any) -> Any:
        if kwargs or len(args) != 1 or args[0] is not X:
            return method(*args, **kwargs)
        if not answers:
            answers.append(method(X))
        return deepcopy(answers[0])  # libraries work on their own answers in place

    return answer
