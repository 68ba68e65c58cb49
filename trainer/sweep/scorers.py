"""What ``scoring`` means: a scorer per candidate, their names, and what ``refit`` goes by.

Not in: calling scorers (:mod:`fitcast.trainer.attempt.fitting`).
"""

from collections.abc import Callable, Mapping
from typing import Any

from sklearn.metrics import check_scoring, get_scorer_names

from fitcast.errors import InvalidSweepError
from fitcast.trainer.sweep.models import Candidate, class_name
from fitcast.trainer.sweep.spelling import nearest

SINGLE = ("score",)


def scorer_for(candidate: Candidate, scoring: Any) -> Any:
    """Return what scikit-learn makes of ``scoring`` for a candidate's estimator.

    One of several scorers that fails gives its error instead of raising, as in GridSearchCV.
    """
    if callable(scoring) and not isinstance(scoring, type):
        return _checked(candidate, scoring)
    if isinstance(scoring, list | tuple | set | Mapping):
        return _checked(candidate, dict(scoring) if isinstance(scoring, Mapping) else scoring)
    return _checked(candidate, scoring)


def scorer_names(scoring: Any) -> tuple[str, ...]:
    """Return the names of the scores; ``("score",)`` when there is one scorer.

    Raises
    ------
    InvalidSweepError
        If a scorer is unknown or ``scoring`` is of no kind that scikit-learn takes.
    """
    if scoring is None or isinstance(scoring, str):
        _known(scoring)
        return SINGLE
    if isinstance(scoring, Mapping):
        entries: dict[Any, Any] = dict(scoring)
    elif isinstance(scoring, list | tuple | set):
        entries = {name: name for name in scoring}
        if len(entries) != len(scoring):
            raise InvalidSweepError(f"scoring={scoring!r} names a scorer twice; name each once.")
    elif callable(scoring) and not isinstance(scoring, type):
        return SINGLE
    else:
        raise InvalidSweepError(
            f"scoring must be a scorer's name, a callable(estimator, X, y), or a list or dict of "
            f"those, not {scoring!r}."
        )
    if not entries:
        raise InvalidSweepError("scoring is empty. Name at least one scorer, or leave it out.")
    for name, scorer in entries.items():
        if not isinstance(name, str):
            raise InvalidSweepError(
                f"scoring: {name!r} is no name. In a list, name scorers by strings; give "
                "callables as a dict of name → callable."
            )
        if isinstance(scorer, str):
            _known(scorer)
        elif not callable(scorer):
            raise InvalidSweepError(f"scoring: {name!r} must be a name or a callable.")
    return tuple(entries)


def check_refit(
    refit: bool | str | Callable[..., Any], names: tuple[str, ...], scoring: Any
) -> None:
    """Refuse a ``refit`` that doesn't say which of several scores decides."""
    if callable(refit):
        return
    if not isinstance(refit, bool | str):
        raise InvalidSweepError(f"refit must be True, False or a scorer's name, not {refit!r}.")
    if names == SINGLE and not isinstance(scoring, Mapping | list | tuple | set):
        return  # with one scorer, and for a callable that may return several, any name goes
    if refit is False or refit in names:
        return
    if refit is True:
        raise InvalidSweepError(
            "With several scorers, refit must name the one that decides: "
            f"refit={names[0]!r}, for instance, or refit=False."
        )
    raise InvalidSweepError(
        f"refit={refit!r} is none of the scorers {', '.join(map(repr, names))}"
        f"{nearest(str(refit), names)}"
    )


def response_methods(scorer: Any) -> list[tuple[str, ...]]:
    """Return, per scorer, the estimator's methods of which it needs one; [] if unknown."""
    parts = list(getattr(scorer, "_scorers", {}).values()) or [scorer]
    needed: list[tuple[str, ...]] = []
    for part in parts:
        methods = getattr(part, "_response_method", None)
        if isinstance(methods, str):
            needed.append((methods,))
        elif isinstance(methods, list | tuple):
            needed.append(tuple(methods))
    return needed


def score_functions(scorer: Any) -> list[str]:
    """Return the names of the metrics behind a scorer, as far as it shows them."""
    parts = list(getattr(scorer, "_scorers", {}).values()) or [scorer]
    return [getattr(getattr(part, "_score_func", None), "__name__", "") for part in parts]


def _checked(candidate: Candidate, scoring: Any) -> Any:
    try:
        if isinstance(scoring, list | tuple | set | dict):
            return check_scoring(candidate.estimator, scoring, raise_exc=False)
        return check_scoring(candidate.estimator, scoring)
    except TypeError as error:
        if scoring is None:
            raise InvalidSweepError(
                f"{class_name(candidate.estimator)} has no score method of its own. Say how to "
                'score it, as in scoring="roc_auc".'
            ) from error
        raise InvalidSweepError(f"scoring can't be used: {error}") from error
    except ValueError as error:
        raise InvalidSweepError(f"scoring can't be used: {error}") from error


def _known(name: str | None) -> None:
    if name is None:
        return
    names = get_scorer_names()
    if name not in names:
        raise InvalidSweepError(
            f"There is no scorer {name!r}{nearest(name, names)} "
            "sklearn.metrics.get_scorer_names() lists them all."
        )
