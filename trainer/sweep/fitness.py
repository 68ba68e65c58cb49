"""Which fits are known to fail on this data, and whether any is left that may not.

In: what is known of scikit-learn's, XGBoost's and LightGBM's own estimators. Not in: settings and
data as such (:mod:`fitcast.trainer.sweep.validation`), where values are missing
(:mod:`fitcast.trainer.sweep.missing`), which folds' rows hold what
(:mod:`fitcast.trainer.sweep.fold_data`).

A sweep does what ``GridSearchCV`` does on the same input: fits that fail get ``error_score``, which
is said beforehand. Only where every candidate is known to come to nothing is it refused. Nothing is
guessed of other people's estimators, be they derived from known ones: they are run.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from fitcast.errors import InvalidDataError, InvalidInputError, InvalidSweepError
from fitcast.trainer.sweep.containers import Look
from fitcast.trainer.sweep.fold_data import Failing, FoldData
from fitcast.trainer.sweep.jobs import takes_weights, weight_keyword
from fitcast.trainer.sweep.kinds import (
    inner_estimators,
    is_classifier,
    is_known,
    is_regressor,
    lacks,
    library_of,
    tags_of,
)
from fitcast.trainer.sweep.missing import looks_at_rows, refuses
from fitcast.trainer.sweep.models import Candidate, class_name, final_estimator, steps_of
from fitcast.trainer.sweep.requests import Shape
from fitcast.trainer.sweep.scorers import response_methods, score_functions
from fitcast.trainer.sweep.splits import Splits, advice_on_classes

if TYPE_CHECKING:
    from fitcast.trainer.sweep.prepared import Sweep

_NEEDS_BOTH_CLASSES = frozenset({"roc_auc_score"})

NEEDS_TWO_CLASSES = frozenset(
    {
        "CalibratedClassifierCV",
        "GaussianProcessClassifier",
        "GradientBoostingClassifier",
        "LinearSVC",
        "LogisticRegression",
        "LogisticRegressionCV",
        "NearestCentroid",
        "NuSVC",
        "PassiveAggressiveClassifier",
        "Perceptron",
        "QuadraticDiscriminantAnalysis",
        "SGDClassifier",
        "SVC",
    }
)
"""Classifiers of scikit-learn whose fit fails where it finds one class."""


@dataclass(frozen=True)
class _Doom:
    """Why fits of a candidate are known to fail, and which."""

    error: type[InvalidInputError]
    message: str
    failing: Failing


def check_fitness(
    candidates: Sequence[Candidate],
    configured: Sequence[Any],
    scorers: Sequence[Any],
    X: Look,
    y: Look,
    shape: Shape,
    splits: Splits | None,
    *,
    weighted: bool,
    sweep: "Sweep",
) -> None:
    """Refuse a sweep no fit of which can succeed; warn of fits that are known to fail.

    Raises
    ------
    InvalidDataError
        No candidate can take this data.
    InvalidSweepError
        No candidate can be scored, or weighted, as asked.
    """
    data = FoldData(X, y, shape, splits, bool(sweep.refit))
    found: list[list[_Doom]] = []
    for candidate, estimator, scorer in zip(candidates, configured, scorers, strict=True):
        label = repr(candidate.label)
        dooms = [
            *_of_values(label, estimator, data),
            *_of_rows(label, estimator, data),
            *_of_target(label, estimator, data, from_file=sweep.data is not None),
            *_of_classes(label, estimator, data, sweep.cv),
            *_of_asked(candidate, estimator, scorer, data, weighted=weighted),
        ]
        found.append([doom for doom in dooms if doom.failing])
    if all(any(doom.failing.hopeless for doom in dooms) for dooms in found):
        worst = next(doom for doom in found[0] if doom.failing.hopeless)
        raise worst.error(worst.message)
    if splits is not None:
        _warn(found, len(splits))
        _warn_of_undefined(configured, scorers, data, sweep.cv)


def _warn(found: list[list[_Doom]], n_splits: int) -> None:
    doomed = [dooms[0] for dooms in found if dooms]
    if not doomed:
        return
    folds = doomed[0].failing.folds
    which = "All its fits" if len(folds) == n_splits else f"Its fits of folds {_listed(folds)}"
    others = f" So will fits of {len(doomed) - 1} more candidates." if len(doomed) > 1 else ""
    warnings.warn(
        f"{doomed[0].message} {which if folds else 'Its refit'} will fail, and score error_score "
        f"as in GridSearchCV.{others}",
        stacklevel=5,
    )


def _of_values(label: str, estimator: Any, data: FoldData) -> Iterator[_Doom]:
    missing, infinite = data.holes
    if data.missing and (culprit := refuses(estimator, infinite=False)):
        yield _Doom(
            InvalidDataError,
            f"{label}: {culprit} takes no missing values, but X has {missing}. Put a "
            "SimpleImputer before it in a Pipeline, drop those rows, or use an estimator that "
            "takes NaN, such as HistGradientBoostingClassifier or XGBClassifier.",
            data.missing,
        )
    if data.infinite and (culprit := refuses(estimator, infinite=True)):
        yield _Doom(
            InvalidDataError,
            f"{label}: {culprit} takes no infinite values, but X has {infinite}. Drop those "
            "rows, cap the values, or make them NaN and impute them.",
            data.infinite,
        )


def _of_rows(label: str, estimator: Any, data: FoldData) -> Iterator[_Doom]:
    plain, wrong = data.X.plain, ""
    if plain is None:
        if _is_ragged(data.X.given):
            wrong = (
                f"{label} takes a table, but the rows of X differ in length. Give every row the "
                "same columns."
            )
    elif plain.ndim == 1 and np.asarray(plain).dtype.kind in "biufc":
        wrong = (
            f"X has one dimension, but {label} takes rows and columns. For a single column, give "
            "X.reshape(-1, 1); for a series, series.to_frame()."
        )
    elif 0 in plain.shape[1:]:
        wrong = f"There are no columns in X. {label} needs at least one to learn from."
    if wrong and _wants_table(estimator):
        yield _Doom(InvalidDataError, wrong, data.all)


def _wants_table(estimator: Any) -> bool:
    """Return whether an estimator is known to refuse all that isn't rows by columns."""
    steps = [s for s in steps_of(estimator) or [estimator] if s is not None and s != "passthrough"]
    if not steps or not looks_at_rows(steps[0]):
        return False
    takes = tags_of(steps[0]).input_tags  # type: ignore[union-attr]
    if takes.one_d_array or takes.string or takes.dict or not takes.two_d_array:
        return False
    return all(_wants_table(part) for part in inner_estimators(steps[0]))


def _is_ragged(given: Any) -> bool:
    if not isinstance(given, list | tuple) or not given or not isinstance(given[0], list | tuple):
        return False
    return len({len(row) if isinstance(row, list | tuple) else -1 for row in given}) > 1


def _of_target(label: str, estimator: Any, data: FoldData, *, from_file: bool) -> Iterator[_Doom]:
    y, kind = data.y, data.shape.target_type
    if y.given is None:
        tags = tags_of(estimator)
        if tags is not None and tags.target_tags.required and is_known(estimator):
            what = "say which column it is: target='name'" if from_file else "give y"
            yield _Doom(InvalidDataError, f"{label} learns from a target; {what}.", data.all)
        return
    if y.plain is None:
        return
    numeric, classifies = is_regressor(estimator), is_classifier(estimator)
    wrong: list[_Doom] = []
    if (
        sp.issparse(y.plain)
        or np.asarray(y.plain).dtype.kind == "f"
        or (classifies and kind == "unknown")
    ):
        # Elsewhere, as among texts, None is a class to some.
        wrong.extend(_of_holes_in_target(data))
    if classifies and kind == "unknown" and not data.has_texts:
        what = (
            f"y can't be read as classes by {label}: its values are of mixed or unusual types. "
            "Convert it, as in y.astype(str) for classes or y.astype(float) for numbers."
        )
        wrong.append(_Doom(InvalidDataError, what, data.all))
    elif classifies and data.fractions:
        fraction, failing = data.fractions
        what = (
            f"{label} is a classifier, but y holds fractions, such as {fraction!r}. Use a "
            "regressor, or turn y into classes."
        )
        wrong.append(_Doom(InvalidDataError, what, failing))
    elif numeric and data.has_words:
        what = (
            f"{label} is a regressor, but y holds text. Use a classifier, or turn y into numbers."
        )
        wrong.append(_Doom(InvalidDataError, what, data.all))
    if wrong and (numeric or classifies) and is_known(estimator) and _checks(estimator):
        yield from wrong


def _checks(estimator: Any) -> bool:
    """Return whether an estimator isn't one that takes anything, as DummyClassifier does."""
    tags = tags_of(final_estimator(estimator))
    return tags is not None and not tags.no_validation


def _of_holes_in_target(data: FoldData) -> Iterator[_Doom]:
    if data.missing_targets:
        rows, failing = data.missing_targets
        yield _Doom(
            InvalidDataError,
            f"y has no value in {int(rows.sum())} of {len(rows)} rows, first in row "
            f"{int(np.argmax(rows))}. Drop those rows from X and y, or fill them in.",
            failing,
        )
    if data.infinite_targets:
        rows, failing = data.infinite_targets
        yield _Doom(
            InvalidDataError,
            f"y is infinite in row {int(np.argmax(rows))}. Drop that row, or cap y.",
            failing,
        )


def _of_classes(label: str, estimator: Any, data: FoldData, cv: Any) -> Iterator[_Doom]:
    if data.classes is None or not (data.of_one_class or data.unnumbered):
        return
    classes, final = data.classes[0], final_estimator(estimator)
    library, name = library_of(final), type(final).__name__
    shown = ", ".join(map(repr, classes.tolist()[:4])) + (", …" if len(classes) > 4 else "")
    if library == "sklearn" and name in NEEDS_TWO_CLASSES and data.of_one_class:
        if len(classes) == 1:
            error: type[InvalidInputError] = InvalidDataError
            why, advice = f"y holds one class only ({shown})", "Give rows of at least two classes."
        else:
            error, why = InvalidSweepError, "some training rows are of one class only"
            advice = advice_on_classes(cv)
        if is_known(estimator):
            what = f"{why}, so {label} has nothing to tell apart there. {advice}"
            yield _Doom(error, what[0].upper() + what[1:], data.of_one_class)
    if library == "xgboost" and name in ("XGBClassifier", "XGBRFClassifier") and data.unnumbered:
        yield _Doom(
            InvalidDataError,
            f"{label}: {name} takes classes numbered from 0, in each fold's training rows too, but "
            f"y holds {shown}. Give LabelEncoder().fit_transform(y), and folds that train on rows "
            "of each class.",
            data.unnumbered,
        )


def _of_asked(
    candidate: Candidate, estimator: Any, scorer: Any, data: FoldData, *, weighted: bool
) -> Iterator[_Doom]:
    if weighted and not takes_weights(estimator):
        yield _Doom(
            InvalidSweepError,
            f"Candidate {candidate.label!r}: {class_name(estimator)} takes no sample weights "
            f"({weight_keyword(estimator)} is no argument of its fit). Leave sample_weight "
            "out, or that model.",
            data.all,
        )
    # Only of what calls itself a classifier is it known how scikit-learn's scorers ask it.
    if not is_classifier(estimator):
        return
    for methods in response_methods(scorer):
        if methods and all(lacks(estimator, method) for method in methods):
            yield _Doom(
                InvalidSweepError,
                f"Candidate {candidate.label!r}: the scoring needs {' or '.join(methods)}, which "
                f"{class_name(estimator)} doesn't have with these hyper-parameters. Choose "
                "another scoring, or set what gives it (for SVC, probability=True).",
                data.all,
            )


def _warn_of_undefined(
    configured: Sequence[Any], scorers: Sequence[Any], data: FoldData, cv: Any
) -> None:
    """Say where ROC AUC will be NaN; scikit-learn says it of each score."""
    if not any(_NEEDS_BOTH_CLASSES & set(score_functions(scorer)) for scorer in scorers):
        return
    if data.classes is None or data.splits is None or not any(map(is_classifier, configured)):
        return
    codes = data.classes[1]
    folds = [f for f, (_, test) in enumerate(data.splits) if (codes[test] == codes[test[0]]).all()]
    if folds:
        warnings.warn(
            f"ROC AUC will be NaN in {len(folds)} of {len(data.splits)} folds ({_listed(folds)}): "
            f"all their test rows are of one class. {advice_on_classes(cv)}",
            stacklevel=5,
        )


def _listed(folds: Sequence[int]) -> str:
    return ", ".join(map(str, folds[:10])) + (", …" if len(folds) > 10 else "")
