"""Described fits of one algorithm → feature matrices in which similar fits are near each other.

In: the vocabulary of hyper-parameters that vary, and the points made with it. Not in: the
kernels over points (:mod:`fitcast.sizing.learning.gaussian_process`).
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fitcast.sizing.laws.families import COSTLY_CATEGORIES
from fitcast.sizing.laws.features import Described, scaled

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

FRESH = 0
"""Code of an unobserved dataset or run; real codes are positive."""

_MAX_COLUMNS = 400  # of categories, against hyper-parameters with a new value each time
_MAX_DECADES = 4.0
_ABSENT = "~"
SHAPE_COLUMNS = 11


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Hyper-parameters of one algorithm that vary, each with its reference value."""

    references: dict[str, float] = field(default_factory=dict)  # numeric
    usual: dict[str, str] = field(default_factory=dict)  # categorical
    word_columns: dict[tuple[str, str], int] = field(default_factory=dict)
    number_columns: dict[str, int] = field(default_factory=dict)

    def extended(self, fits: Sequence[Described]) -> "Vocabulary":
        """Return a vocabulary extended by these fits; existing columns keep their places."""
        distinct = list({fit.params.key: fit.params for fit in fits}.values())
        references = dict(self.references)
        usual = dict(self.usual)
        word_columns = dict(self.word_columns)
        number_columns = dict(self.number_columns)
        values: dict[str, list[float]] = {}
        words: dict[str, Counter[str]] = {}
        for params in distinct:
            for name, value in params.numbers.items():
                values.setdefault(name, []).append(value)
            for name, word in params.words.items():
                words.setdefault(name, Counter())[word] += 1
        for name, seen in values.items():
            if name in number_columns:
                continue
            if max(seen) > min(seen) or name in references:
                number_columns[name] = len(number_columns)
            if name not in references:
                references[name] = float(np.median([scaled(value) for value in seen]))
        for name, counted in words.items():
            absent = len(distinct) - sum(counted.values())
            if absent:
                counted[_ABSENT] += absent
            if name not in usual:
                usual[name] = counted.most_common(1)[0][0]
            for word in sorted(counted):
                if word != usual[name] and len(word_columns) < _MAX_COLUMNS:
                    word_columns.setdefault((name, word), len(word_columns))
        return Vocabulary(references, usual, word_columns, number_columns)


@dataclass(frozen=True, eq=False)
class Points:
    """Fits of one algorithm as matrices, a row each."""

    log_mean: Array  # the law's value, natural logarithm
    share: Array  # the part of it that is the fit's own work; the rest is the process's
    shape: Array  # (n, SHAPE_COLUMNS): see `_shape_of`
    numbers: Array  # (n, vocabulary.number_columns): decades from the reference value
    words: Array  # (n, vocabulary.word_columns): 1 where it isn't the reference category
    dataset: Codes
    candidate: Codes
    run: Codes
    stopping: Array  # standard deviation of the logarithm by rounds that the fit itself decides
    foreign: Array  # that of a shift which the fits of another's machine share

    def __len__(self) -> int:
        return len(self.log_mean)

    def padded(self, vocabulary: Vocabulary) -> "Points":
        """Return the points with the columns of an extended vocabulary."""
        return self.replaced(
            numbers=_pad(self.numbers, len(vocabulary.number_columns)),
            words=_pad(self.words, len(vocabulary.word_columns)),
        )

    def take(self, rows: npt.NDArray[np.intp]) -> "Points":
        """Return some of the points."""
        return Points(
            self.log_mean[rows],
            self.share[rows],
            self.shape[rows],
            self.numbers[rows],
            self.words[rows],
            self.dataset[rows],
            self.candidate[rows],
            self.run[rows],
            self.stopping[rows],
            self.foreign[rows],
        )

    def replaced(
        self,
        *,
        log_mean: Array | None = None,
        share: Array | None = None,
        numbers: Array | None = None,
        words: Array | None = None,
    ) -> "Points":
        """Return the points with some columns replaced."""
        return Points(
            self.log_mean if log_mean is None else log_mean,
            self.share if share is None else share,
            self.shape,
            self.numbers if numbers is None else numbers,
            self.words if words is None else words,
            self.dataset,
            self.candidate,
            self.run,
            self.stopping,
            self.foreign,
        )


@dataclass(frozen=True, eq=False)
class Places:
    """The features of fits that don't depend on the quantity: :class:`Points` without the law."""

    shape: Array
    numbers: Array
    words: Array
    dataset: Codes
    candidate: Codes
    run: Codes
    foreign: Array

    def points(self, log_mean: Array, share: Array, stopping: Array) -> Points:
        """Return points of a quantity at these places."""
        return Points(
            log_mean,
            share,
            self.shape,
            self.numbers,
            self.words,
            self.dataset,
            self.candidate,
            self.run,
            stopping,
            self.foreign,
        )


def places_of(
    fits: Sequence[Described],
    vocabulary: Vocabulary,
    *,
    dataset: Codes,
    run: Codes,
    foreign: Array | None = None,
) -> Places:
    """Return the features of fits.

    Parameters
    ----------
    fits
        Of one algorithm.
    vocabulary
        Of that algorithm, extended by these fits.
    dataset, run
        Codes of the dataset and of the workflow that each belongs to.
    foreign
        Standard deviation of the shift that fits of the run share, if its machine is another's.
    """
    n = len(fits)
    shape = np.zeros((n, SHAPE_COLUMNS))
    numbers = np.zeros((n, len(vocabulary.number_columns)))
    words = np.zeros((n, len(vocabulary.word_columns)))
    rows: dict[int, tuple[Array, Array]] = {}
    for i, fit in enumerate(fits):
        encoded = rows.get(fit.params.key)
        if encoded is None:
            encoded = rows[fit.params.key] = _encoded(fit, vocabulary)
        numbers[i], words[i] = encoded
        shape[i] = _shape_of(fit)
    candidate = np.array([fit.key for fit in fits], dtype=np.int64)
    foreign = np.zeros(n) if foreign is None else foreign
    return Places(shape, numbers, words, dataset, candidate, run, foreign)


def is_costly(name: str) -> bool:
    """Return whether another category of this hyper-parameter may change the cost much."""
    return name.rpartition("__")[2] in COSTLY_CATEGORIES


def _shape_of(fit: Described) -> tuple[float, ...]:
    cells = fit.rows_train * fit.columns
    item_bytes = fit.data_bytes / max(1.0, (fit.rows_train + fit.rows_test) * fit.columns)
    return (
        math.log(fit.rows_train) - math.log(20_000.0),
        math.log(fit.columns) - math.log(20.0),
        math.log(max(1.0, fit.classes)) - math.log(2.0) if fit.classes > 2.0 else 0.0,
        math.log(min(1.0, fit.nonzeros / cells) + 1e-6),
        0.25 if fit.rows_test else 0.0,
        math.log2(fit.threads),
        1.0 if item_bytes < 6.0 else 0.0,  # single precision, or sparse
        math.log2(256.0 / min(256.0, fit.distinct)) / 4.0,
        0.5 * fit.scale,
        0.5 * fit.condition,
        0.5 * fit.correlation,
    )


def _encoded(fit: Described, vocabulary: Vocabulary) -> tuple[Array, Array]:
    numbers = np.zeros(len(vocabulary.number_columns))
    words = np.zeros(len(vocabulary.word_columns))
    for name, column in vocabulary.number_columns.items():
        value = fit.params.numbers.get(name)
        if value is not None:
            away = scaled(value) - vocabulary.references[name]
            numbers[column] = max(-_MAX_DECADES, min(_MAX_DECADES, away))
    for name, usual in vocabulary.usual.items():
        word = fit.params.words.get(name, _ABSENT)
        if word != usual:
            found = vocabulary.word_columns.get((name, word))
            if found is not None:
                words[found] = 1.0 if is_costly(name) else 0.5
    return numbers, words


def _pad(matrix: Array, columns: int) -> Array:
    missing = columns - matrix.shape[1]
    return matrix if missing <= 0 else np.pad(matrix, ((0, 0), (0, missing)))
