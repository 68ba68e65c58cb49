"""Questions to an estimator about itself that must be answered for any class.

scikit-learn's own ``is_classifier`` and ``get_tags`` raise for classes that follow its protocol
without deriving from ``BaseEstimator``.
"""

from typing import Any

from sklearn import base
from sklearn.utils import get_tags

from fitcast.trainer.sweep.models import final_estimator, steps_of

_LIBRARIES = frozenset({"sklearn", "xgboost", "lightgbm"})


def tags_of(estimator: Any) -> Any | None:
    """Return scikit-learn's tags of an estimator, None if it has none."""
    try:
        return get_tags(estimator)
    except Exception:  # a class without tags, or with tags of another scikit-learn
        return None


def is_classifier(estimator: Any) -> bool:
    """Return whether an estimator predicts classes."""
    return _is("classifier", estimator, base.is_classifier)


def is_regressor(estimator: Any) -> bool:
    """Return whether an estimator predicts numbers."""
    return _is("regressor", estimator, base.is_regressor)


def library_of(estimator: Any) -> str:
    """Return the package that an estimator's class is written in; a subclass is in its own."""
    return type(estimator).__module__.partition(".")[0]


def is_known(estimator: Any) -> bool:
    """Return whether an estimator, with all that it is made of, is a well-known library's own."""
    parts = [estimator, *(s for s in steps_of(estimator) if s is not None and s != "passthrough")]
    return all(
        library_of(part) in _LIBRARIES and all(map(is_known, inner_estimators(part)))
        for part in parts
    )


def lacks(estimator: Any, method: str) -> bool:
    """Return whether an estimator surely won't have a method, not even once it is fitted."""
    if hasattr(estimator, method):
        return False
    last = final_estimator(estimator)
    if not hasattr(type(last), method) and not hasattr(type(last), "__getattr__"):
        return True
    # A method that hangs on hyper-parameters shows before fitting, as SVC's predict_proba; one
    # that hangs on an inner estimator may appear later only, as StackingClassifier's predict.
    return not hasattr(last, method) and not inner_estimators(last)


def inner_estimators(estimator: Any) -> list[Any]:
    """Return the estimators that an estimator is built around."""
    return [
        value
        for value in estimator.get_params(deep=True).values()
        if callable(getattr(value, "fit", None)) and not isinstance(value, type)
    ]


def _is(kind: str, estimator: Any, ask: Any) -> bool:
    try:
        return bool(ask(estimator))
    except Exception:  # no tags: older protocol, or a probability method tells
        known = getattr(estimator, "_estimator_type", None)
        if known is None and kind == "classifier":
            return hasattr(estimator, "predict_proba")
        return bool(known == kind)
