"""Answers of a model for its test rows, kept where nothing can tell the difference.

In: where that is so, and keeping them: a scorer's answer serves the out-of-fold predictions too.
Not in: scoring and predicting (:mod:`fitcast.trainer.attempt.fitting`), what fits share
(:mod:`fitcast.trainer.reuse`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
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
    """Let an estimator answer for the same rows once, where nothing can tell the difference.

    A forest's ``predict`` asks its own ``predict_proba``, which for a hundred trees costs a
    twentieth of the fit. Methods that the user wrote are asked once by scorers and us, too, but
    while they run there is nothing of ours on the model, and what they ask of it isn't kept.
    """
    held = getattr(estimator, "__dict__", None)
    ours: dict[str, Any] = {}
    if isinstance(held, dict) and not is_seen_by_scorers(scorer) and _scored_by_library(estimator):
        for name in _METHODS:
            with suppress(Exception):  # it has no such method: nothing is kept
                if name not in held:
                    method = getattr(estimator, name)
                    aside = None if _is_of_library(method) else _aside(held, ours)
                    ours[name] = _keeping(method, X, aside)
        held.update(ours)
    try:
        yield
    finally:
        for name, method in ours.items():
            if held is not None and held.get(name) is method:
                del held[name]


def _is_of_library(thing: Any) -> bool:
    return str(getattr(thing, "__module__", "")).partition(".")[0] in _LIBRARIES


def _scored_by_library(estimator: Any) -> bool:
    """Tell whether no code of the user's would see the model in ``score``, if that is asked."""
    score = getattr(type(estimator), "score", None)
    return score is None or _is_of_library(score)


def _aside(held: dict[str, Any], ours: dict[str, Any]) -> Callable[[], Any]:
    @contextmanager
    def aside() -> Iterator[None]:
        for name in ours:
            held.pop(name, None)
        try:
            yield
        finally:
            held.update({name: method for name, method in ours.items() if name not in held})

    return aside


def _keeping(
    method: Callable[..., Any], X: Any, aside: Callable[[], Any] | None
) -> Callable[..., Any]:
    answers: list[Any] = []

    @wraps(method)
    def answer(*args: Any, **kwargs: Any) -> Any:
        with nullcontext() if aside is None else aside():
            if kwargs or len(args) != 1 or args[0] is not X:
                return method(*args, **kwargs)
            if not answers:
                answers.append(method(X))
        return deepcopy(answers[0])  # libraries work on their own answers in place

    return answer
