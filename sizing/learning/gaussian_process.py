"""A law learned from records: a Gaussian process over logarithms, its mean the family's law.

In: kernels over points, conditioning on observations (values and lower bounds), the posterior
at other points. Not in: what a quantity is (:mod:`fitcast.sizing.learning.model`).

The uncertainty is a sum of components: the machine, the algorithm, slopes in size and
hyper-parameters (linear in logarithms, so they extrapolate), a smooth part, the dataset, the
workflow's run, the candidate, and noise from fit to fit.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, solve_triangular
from scipy.special import log_ndtr

from fitcast.sizing.learning.points import Array, Codes, Points

_JITTER = 1e-8
_FACTORS = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0)
_TOGETHER = (
    ("number", "smooth", "word"),  # what hyper-parameters change
    ("dataset",),
    ("rows", "columns", "classes"),
    ("content",),
)
"""Scales that are fitted by a common factor each."""
_OF_LAW = ("algorithm", "dataset", *(name for names in _TOGETHER for name in names))
_OWN_SURPRISE = 4.0  # as if that many points had been as far from the law as expected
_WIDEST = 3.0
_SOME = 12
_FAR = 3.0  # standard deviations, beyond which one fit counts for less
_FEW = 4  # points, below which scales stay as they are
_OWN_POINTS = 12.0  # as if that many points had been exactly as uncertain as expected
_OWN_DATASETS = 6.0
_ENOUGH = 250
# Of the variance of a number of rounds that fits themselves decide: what all of an algorithm have
# in common, what a dataset changes, what settings change on a dataset (both as measured by
# benchmarks/early_stopped.py); a slope per e-fold of rows and per decade of a hyper-parameter.
_ROUNDS_COMMON, _ROUNDS_DATASET, _ROUNDS_SETTING = 0.05, 0.81, 0.14
_ROUNDS_SLOPE = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """Standard deviations of all components of the uncertainty, in natural logarithms."""

    machine: float  # shared by all algorithms
    algorithm: float
    process: float  # of what every attempt costs
    rows: float  # of the slope over log rows; the others likewise
    columns: float
    classes: float
    content: float  # threads, type of number, distinct values, two of conditioning
    number: float  # per decade of a hyper-parameter
    word: float
    smooth: float
    dataset: float
    run: float
    candidate: float
    fit: float


@dataclass(frozen=True, eq=False)
class Learned:
    """A Gaussian process conditioned on its observations."""

    points: Points
    inverse_factor: Array  # of the lower Cholesky factor of the observations' covariance
    weights: Array  # its inverse times the residuals from the law
    scales: Scales
    stretch: float  # measured error over expected, by leaving each point out
    stretch_apart: float  # the same by leaving each dataset out: for datasets never observed

    def stretches(self, asked: Points) -> Array:
        """Return the factors by which standard deviations at points are calibrated."""
        return np.where(
            np.isin(asked.dataset, self.points.dataset), self.stretch, self.stretch_apart
        )


def kernel(a: Points, b: Points, scales: Scales) -> Array:
    """Return the prior covariance of points of one algorithm."""
    work = np.outer(a.share, b.share)
    rest = np.outer(1.0 - a.share, 1.0 - b.share)
    left, right = _linear(a, scales), _linear(b, scales)
    same_dataset = a.dataset[:, None] == b.dataset[None, :]
    same_candidate = (a.candidate[:, None] == b.candidate[None, :]) & same_dataset
    same_run = a.run[:, None] == b.run[None, :]
    nearness = np.exp(-0.5 * _distances(_smooth(a), _smooth(b)))
    straight: Array = left @ right.T
    total: Array = (
        scales.machine**2
        + scales.process**2 * rest
        + straight
        + work
        * (
            scales.algorithm**2
            + scales.smooth**2 * nearness * (0.5 + 0.5 * same_dataset)
            + scales.dataset**2 * same_dataset
        )
        + scales.run**2 * same_run
        + scales.candidate**2 * same_candidate
    )
    if a.foreign.any() and b.foreign.any():
        total += np.outer(a.foreign, b.foreign) * same_run
    if a.stopping.any() and b.stopping.any():
        total += _of_rounds(a, b, same_dataset, nearness)
    return total


def _of_rounds(
    a: Points,
    b: Points,
    same_dataset: npt.NDArray[np.bool_],
    nearness: Array,
) -> Array:
    """Return the covariance of how far off numbers of rounds are that fits themselves decide."""
    left, right = (np.concatenate([p.shape[:, :1], p.numbers], axis=1) for p in (a, b))
    slopes = _ROUNDS_SLOPE**2 * (left @ right.T)
    level = _ROUNDS_COMMON + same_dataset * (_ROUNDS_DATASET + _ROUNDS_SETTING * nearness)
    sds: Array = np.outer(a.share * a.stopping, b.share * b.stopping)
    together: Array = sds * (level + slopes)
    return together


def variances(a: Points, scales: Scales) -> Array:
    """Return the diagonal of ``kernel(a, a)``."""
    work = a.share**2
    total: Array = (
        scales.machine**2
        + scales.process**2 * (1.0 - a.share) ** 2
        + np.einsum("ij,ij->i", _linear(a, scales), _linear(a, scales))
        + work * (scales.algorithm**2 + scales.smooth**2 + scales.dataset**2)
        + scales.run**2
        + scales.candidate**2
    )
    total += a.foreign**2
    if a.stopping.any():
        columns = np.concatenate([a.shape[:, :1], a.numbers], axis=1)
        level = _ROUNDS_COMMON + _ROUNDS_DATASET + _ROUNDS_SETTING
        slopes = _ROUNDS_SLOPE**2 * np.einsum("ij,ij->i", columns, columns)
        total += (a.share * a.stopping) ** 2 * (level + slopes)
    return total


def learn(
    seen: Points,
    values: Array,
    noise: Array,
    scales: Scales,
    *,
    censored: Points | None = None,
    bounds: Array | None = None,
) -> Learned:
    """Condition on observations.

    Parameters
    ----------
    seen
        Points with measured values; may be empty.
    values
        Their natural logarithms.
    noise
        Noise variance of each value.
    scales
        The prior uncertainty.
    censored, bounds
        Points whose values are known only to be at least these.
    """
    if censored is not None and bounds is not None and len(censored):
        seen, values, noise = _with_bounds(seen, values, noise, scales, censored, bounds)
    covariance = kernel(seen, seen, scales)
    covariance[np.diag_indices_from(covariance)] += noise + _JITTER
    beyond = values - seen.log_mean
    for last in (False, True):
        factor = cholesky(covariance, lower=True)
        weights = _solve(factor, beyond)
        inverse_factor = solve_triangular(factor, np.eye(len(seen)), lower=True)
        inverse_diagonal = np.einsum("ij,ij->j", inverse_factor, inverse_factor)
        far = np.abs(weights) / np.sqrt(inverse_diagonal) / _FAR
        if last or len(seen) < _SOME or not (far > 1.0).any():
            break
        # A few fits that are unlike all others must not bend the forecasts of these.
        covariance[np.diag_indices_from(covariance)] += (
            np.maximum(far**2 - 1.0, 0.0) / inverse_diagonal
        )
    # Leaving one out needs no second fit: error and variance follow from the inverse.
    standard = np.clip(weights / np.sqrt(inverse_diagonal), -3.0, 3.0)
    stretch = _stretch(float(standard @ standard), len(seen), _OWN_POINTS)
    apart = _left_out(inverse_factor.T @ inverse_factor, weights, seen.dataset)
    stretch_apart = _stretch(sum(apart), len(apart), _OWN_DATASETS)
    return Learned(seen, inverse_factor, weights, scales, stretch, stretch_apart)


def fitted_scales(seen: Points, values: Array, noise: Array, scales: Scales) -> Scales:
    """Return the scales of maximum a posteriori likelihood.

    One factor for hyper-parameters, one for datasets, one for sizes, each shrunk towards 1: few
    candidates determine little.
    """
    if len(seen) < _SOME:  # too few to fit scales one by one: one factor for all of them
        scales = _surprised(seen, values, noise, scales)
    if len(seen) < _FEW:
        return scales
    if len(seen) > _ENOUGH:
        rows = np.linspace(0, len(seen) - 1, _ENOUGH).astype(np.intp)
        seen, values, noise = seen.take(rows), values[rows], noise[rows]
    best, best_score = scales, _likelihood(seen, values, noise, scales)
    for names in _TOGETHER:
        start = best
        for factor in _FACTORS:
            if factor == 1.0:
                continue
            tried = replace(start, **{name: getattr(start, name) * factor for name in names})
            score = _likelihood(seen, values, noise, tried) - 0.5 * math.log2(factor) ** 2
            if score > best_score:
                best, best_score = tried, score
    return best


def posterior(
    learned: Learned | None, asked: Points, scales: Scales
) -> tuple[Array, npt.NDArray[np.float64]]:
    """Return mean and covariance of the logarithms at points, without noise from fit to fit."""
    covariance = kernel(asked, asked, scales)
    if learned is None:
        return asked.log_mean.copy(), covariance
    across = kernel(learned.points, asked, scales)
    explained = learned.inverse_factor @ across
    mean = asked.log_mean + across.T @ learned.weights
    stretches = learned.stretches(asked)
    covariance = (covariance - explained.T @ explained) * np.outer(stretches, stretches)
    return mean, covariance


def posterior_shared(
    learned: Learned | None, asked: Points, scales: Scales, *, sample: int = 128
) -> tuple[Array, Array, Array]:
    """Return mean, variance, and the part of the variance common to all points.

    For many points: the full covariance is never built. The common part is the mean covariance
    with a sample of the other points.
    """
    rows = np.unique(np.linspace(0, len(asked) - 1, min(sample, len(asked))).astype(np.intp))
    others = asked.take(rows)
    variance = variances(asked, scales)
    shared = kernel(asked, others, scales)
    mean = asked.log_mean.copy()
    if learned is not None:
        across = kernel(learned.points, asked, scales)
        explained = learned.inverse_factor @ across
        mean += across.T @ learned.weights
        variance = variance - np.einsum("ij,ij->j", explained, explained)
        shared = shared - explained.T @ explained[:, rows]
        stretches = learned.stretches(asked)
        variance = variance * stretches**2
        shared = shared * np.outer(stretches, stretches[rows])
    variance = np.maximum(variance, 1e-6)
    if len(rows) == 1:
        return mean, variance, 0.5 * variance
    self_counted = np.zeros(len(asked))
    self_counted[rows] = variance[rows]
    counts = np.full(len(asked), float(len(rows)))
    counts[rows] -= 1.0
    common = (shared.sum(axis=1) - self_counted) / counts
    return mean, variance, np.clip(common, 0.0, variance)


def at_least(mean: float, variance: float, bound: float) -> tuple[float, float]:
    """Return mean and variance of a normal known to be at least ``bound``."""
    sd = math.sqrt(max(variance, 1e-12))
    z = (bound - mean) / sd
    if z < -6.0:
        return mean, variance
    # Mills' ratio through logarithms, so that far tails don't become 0 / 0.
    hazard = math.exp(-0.5 * z * z - 0.5 * math.log(2.0 * math.pi) - float(log_ndtr(-z)))
    if z > 30.0:
        hazard = z + 1.0 / z
    shrunk = 1.0 - hazard * (hazard - z)
    return mean + sd * hazard, variance * min(max(shrunk, 1e-3), 1.0)


def _likelihood(seen: Points, values: Array, noise: Array, scales: Scales) -> float:
    covariance = kernel(seen, seen, scales)
    covariance[np.diag_indices_from(covariance)] += noise + _JITTER
    factor = cholesky(covariance, lower=True)
    half = solve_triangular(factor, values - seen.log_mean, lower=True)
    return -0.5 * float(half @ half) - float(np.log(np.diag(factor)).sum())


def _surprised(seen: Points, values: Array, noise: Array, scales: Scales) -> Scales:
    """Return wider scales if observations are much farther from the law than expected."""
    covariance = kernel(seen, seen, scales)
    covariance[np.diag_indices_from(covariance)] += noise + _JITTER
    half = solve_triangular(cholesky(covariance, lower=True), values - seen.log_mean, lower=True)
    wider = math.sqrt((_OWN_SURPRISE + float(half @ half)) / (_OWN_SURPRISE + len(seen)))
    if wider <= 1.0:
        return scales
    wider = min(wider, _WIDEST)
    return replace(scales, **{name: getattr(scales, name) * wider for name in set(_OF_LAW)})


def _stretch(squares: float, count: int, own: float) -> float:
    return min(max(math.sqrt((own + squares) / (own + count)), 0.6), 2.0)


def _left_out(inverse: Array, weights: Array, dataset: Codes) -> list[float]:
    """Return for each dataset the mean square of its standard errors when it is left out."""
    told: list[float] = []
    for code in np.unique(dataset):
        rows = np.flatnonzero(dataset == code)
        covariance = np.linalg.inv(inverse[np.ix_(rows, rows)])
        error = covariance @ weights[rows]
        standard = np.clip(error / np.sqrt(np.diag(covariance)), -3.0, 3.0)
        told.append(float(standard @ standard) / len(rows))
    return told


def _with_bounds(
    seen: Points, values: Array, noise: Array, scales: Scales, censored: Points, bounds: Array
) -> tuple[Points, Array, Array]:
    """Turn lower bounds into values with noise that change the posterior as much (ADF)."""
    learned = learn(seen, values, noise, scales) if len(seen) else None
    mean, covariance = posterior(learned, censored, scales)
    covariance = covariance + 1e-6 * np.eye(len(censored))
    kept: list[int] = []
    pseudo_values: list[float] = []
    pseudo_noise: list[float] = []
    for i, bound in enumerate(bounds):
        before = float(covariance[i, i]), float(mean[i])
        after_mean, after_variance = at_least(before[1], before[0], float(bound))
        gained = 1.0 / after_variance - 1.0 / before[0]
        if gained <= 1e-6:
            continue
        value = (after_mean / after_variance - before[1] / before[0]) / gained
        kept.append(i)
        pseudo_values.append(value)
        pseudo_noise.append(1.0 / gained)
        gain = covariance[:, i] / (before[0] + 1.0 / gained)
        mean = mean + gain * (value - before[1])
        covariance = covariance - np.outer(gain, covariance[i])
    if not kept:
        return seen, values, noise
    together = joined(seen, censored.take(np.array(kept, dtype=np.intp)))
    return together, np.append(values, pseudo_values), np.append(noise, pseudo_noise)


def joined(a: Points, b: Points) -> Points:
    """Return the points of both, concatenated."""
    return Points(
        np.concatenate([a.log_mean, b.log_mean]),
        np.concatenate([a.share, b.share]),
        np.concatenate([a.shape, b.shape]),
        np.concatenate([a.numbers, b.numbers]),
        np.concatenate([a.words, b.words]),
        np.concatenate([a.dataset, b.dataset]),
        np.concatenate([a.candidate, b.candidate]),
        np.concatenate([a.run, b.run]),
        np.concatenate([a.stopping, b.stopping]),
        np.concatenate([a.foreign, b.foreign]),
    )


def _linear(points: Points, scales: Scales) -> Array:
    sizes = [scales.rows, scales.columns, scales.classes, scales.columns, 1.0]
    shape_sds = np.array(sizes + [scales.content] * (points.shape.shape[1] - len(sizes)))
    columns = np.concatenate(
        [points.shape * shape_sds, points.numbers * scales.number, points.words * scales.word],
        axis=1,
    )
    scaled_columns: Array = columns * points.share[:, None]
    return scaled_columns


def _smooth(points: Points) -> Array:
    return np.concatenate([points.shape * 0.5, points.numbers * 1.5, points.words], axis=1)


def _distances(a: Array, b: Array) -> Array:
    squares: Array = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None, :] - 2.0 * (a @ b.T)
    positive: Array = np.maximum(squares, 0.0)
    return positive


def _solve(factor: Array, values: Array) -> Array:
    half = solve_triangular(factor, values, lower=True)
    solved: Array = solve_triangular(factor, half, lower=True, trans="T")
    return solved
