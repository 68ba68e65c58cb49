"""Memory of tasks forecast while they come in: from type and input size to attempts.

In: a forecaster that sees a task's type, input size and request, says which attempts to make, and
learns from every task that ends. Not in: its experts (:mod:`benchmarks.experts`), the choice of
attempts (:mod:`fitcast.sizing.allocation`), fits of known algorithms, of which more is known before
they run (:mod:`fitcast.sizing.learning.model`).

Every expert's errors on the tasks seen, leaving each out, are scenarios of its error on the next
one, weighted by runtime. Experts are looked at in several *views* of what was seen: all of it or
the tasks most like the next one; all times alike or the recent ones more. Within a view, an expert
counts by what it would be expected to waste; how fast the past is forgotten is chosen by what
either choice did waste, task by task. What remains is one mixture of scenarios.
"""

import math
from dataclasses import dataclass

import numpy as np

from benchmarks.experts import TaskHistory, forecasts
from fitcast.errors import InvalidInputError
from fitcast.sizing.allocation import (
    Array,
    Attempts,
    Places,
    Scenarios,
    best_steps,
    plan_attempts,
)

MOST_SEEN = 400  # tasks of a type; older ones are forgotten

LEAST_SEEN = 3
"""With fewer tasks of a type than this, the tasks of all other types are asked."""

NEAR_SHARE = 0.4
LEAST_NEAR = 8
"""Size of the neighbourhood that the nearby view looks at: a share of the tasks seen, at least."""

HALF_LIVES: tuple[float, ...] = (math.inf, 25.0)  # in tasks
"""How fast the past may be forgotten."""

SHARPNESS = 1.3
"""One expert that wastes twice as much as another counts 2 ** (this × ∛ tasks seen) times less."""

HALF_LIFE_SHARPNESS = 8.0
HALF_LIFE_MEMORY = 0.97  # of the score by which half-lives are chosen, per task
_LEAST_JUDGED = 6

TAIL_EXCESS = (0.1, 0.3, 0.6, 1.1, 2.0, 5.0, 12.0, 30.0)
TAIL_SHARE = (0.16, 0.16, 0.16, 0.16, 0.16, 0.12, 0.06, 0.02)
"""Where the next task may lie if it exceeds all seen, in mean excesses, and how likely that is:
a little heavier than a generalised Pareto tail of shape ½. An exponential tail misses by a hair too
often, and then nothing is left between that and the limit."""

TAIL_FLOOR = 0.0005  # as a share: no tail is thinner, however alike the tasks seen were

_MOST_OF_ONE_EXPERT = 72
_LEAST_WEIGHT = 1e-6


@dataclass(frozen=True, slots=True)
class Task:
    """What is known of a task before it runs."""

    kind: str  # tasks of one kind run the same program
    input_bytes: float
    requested_bytes: float | None = None  # what its user asked for; it is taken as a limit


class OnlineForecaster:
    """Says how much memory the attempts at a task should get; learns from each that ends.

    Tasks that end are to be told in the order in which they did.
    """

    def __init__(self) -> None:
        self._seen: dict[str, TaskHistory] = {}
        self._waste: dict[str, Array] = {}  # (half-lives,)
        self._requests_hold = True
        self._last: dict[Task, list[Scenarios]] = {}  # of tasks to come, until one ends

    def attempts(self, task: Task, *, least_bytes: float = 0.0) -> Attempts:
        """Choose the attempts.

        Parameters
        ----------
        task
            The task to come.
        least_bytes
            What an attempt at it has proved to be too little.
        """
        most = self._limit(task)
        scenarios = self.scenarios(task)
        if least_bytes >= most:  # the request was no limit after all
            most = math.inf
        return plan_attempts(scenarios, least_bytes=least_bytes, most_bytes=most)

    def scenarios(self, task: Task) -> Scenarios:
        """Return what the task's peak memory may turn out to be."""
        _check(task)
        views = self._views(task)
        if len(views) == 1:
            return views[0]
        waste = self._waste.get(task.kind, np.zeros(len(HALF_LIVES)))
        share = _shares(waste + 1e-3 * float(self._seen[task.kind].peak_memory_bytes.mean()))
        return Scenarios.of(
            np.concatenate([view.peak_memory_bytes for view in views]),
            np.concatenate([view.weight * s for view, s in zip(views, share, strict=True)]),
        )

    def observe(self, task: Task, *, peak_memory_bytes: float, runtime_s: float) -> None:
        """Learn from a task that ended.

        Parameters
        ----------
        task
            As it was forecast.
        peak_memory_bytes, runtime_s
            What it needed, and how long its successful attempt took.
        """
        _check(task)
        if not (math.isfinite(peak_memory_bytes) and peak_memory_bytes > 0.0):
            raise InvalidInputError(
                f"peak_memory_bytes is {peak_memory_bytes}; give a positive one"
            )
        if not (math.isfinite(runtime_s) and runtime_s >= 0.0):
            raise InvalidInputError(f"runtime_s is {runtime_s}; give one that isn't negative")
        seen = self._seen.get(task.kind, TaskHistory())
        if len(seen) >= _LEAST_JUDGED:
            self._judge(task, seen, peak_memory_bytes, runtime_s)
        if task.requested_bytes is not None and peak_memory_bytes > task.requested_bytes:
            self._requests_hold = False
        self._seen[task.kind] = seen.with_task(
            input_bytes=task.input_bytes,
            requested_bytes=task.requested_bytes or 1.0,
            peak_memory_bytes=peak_memory_bytes,
            runtime_s=max(runtime_s, 1e-3),
            most=MOST_SEEN,
        )
        self._last.clear()

    def _limit(self, task: Task) -> float:
        """Return the request, unless one was exceeded: then nobody enforces them here."""
        if task.requested_bytes is None or not self._requests_hold:
            return math.inf
        return task.requested_bytes

    def _judge(
        self, task: Task, seen: TaskHistory, peak_memory_bytes: float, runtime_s: float
    ) -> None:
        """Score the half-lives by what each alone would have wasted on a task, as told before."""
        waste = np.zeros(len(HALF_LIVES))
        for place, view in enumerate(self._views(task)):
            plan = plan_attempts(view, most_bytes=self._limit(task))
            held = 0.0
            while plan.memory_bytes:
                too_small = [step for step in plan.memory_bytes if step < peak_memory_bytes]
                held += sum(too_small)
                if len(too_small) < len(plan.memory_bytes):
                    held += plan.memory_bytes[len(too_small)]
                    break
                plan = plan_attempts(view, least_bytes=too_small[-1])
            waste[place] = held - peak_memory_bytes
        # By the root of the runtime: by itself, one long task would outvote all others.
        importance = math.sqrt(runtime_s / float(seen.runtime_s.mean()))
        before = self._waste.get(task.kind, np.zeros(len(HALF_LIVES)))
        self._waste[task.kind] = HALF_LIFE_MEMORY * before + importance * waste

    def _views(self, task: Task) -> list[Scenarios]:
        if task not in self._last:
            seen = self._seen.get(task.kind, TaskHistory())
            if len(seen) < LEAST_SEEN:
                self._last[task] = [self._borrowed(task, seen)]
            else:
                self._last[task] = _views(seen, task, self._limit(task))
        return self._last[task]

    def _borrowed(self, task: Task, own: TaskHistory) -> Scenarios:
        """Ask the tasks of all types, as shares of what was requested for them."""
        requested = task.requested_bytes or 1.0
        others = [seen for kind, seen in self._seen.items() if kind != task.kind]
        shares = np.concatenate(
            [own.peak_memory_bytes / own.requested_bytes]
            + [seen.peak_memory_bytes / seen.requested_bytes for seen in others]
        )
        weight = np.concatenate(
            [np.full(len(own), 1.0), *(np.full(len(seen), 1.0 / len(seen)) for seen in others)]
        )
        if not len(shares):
            if task.requested_bytes is None:
                raise InvalidInputError(
                    f"nothing is known of {task.kind}: no task was seen and none requested; "
                    "give requested_bytes for the first"
                )
            return Scenarios.of([requested])
        # One scenario that is unlike any: the whole request, or twice the largest seen.
        unlike = max(1.0, float(shares.max())) if task.requested_bytes else 2.0 * shares.max()
        return Scenarios.of(requested * np.append(shares, unlike), np.append(weight, 1.0)).merged()


def _check(task: Task) -> None:
    if not (math.isfinite(task.input_bytes) and task.input_bytes >= 0.0):
        raise InvalidInputError(f"input_bytes is {task.input_bytes}; give one that isn't negative")
    requested = task.requested_bytes
    if requested is not None and not (math.isfinite(requested) and requested > 0.0):
        raise InvalidInputError(f"requested_bytes is {requested}; give a positive one, or None")


def _shares(waste: Array) -> Array:
    share = (waste / waste.min()) ** -HALF_LIFE_SHARPNESS
    result: Array = share / share.sum()
    return result


def _views(seen: TaskHistory, task: Task, limit_bytes: float) -> list[Scenarios]:
    n = len(seen)
    said = forecasts(seen, task.input_bytes, task.requested_bytes or 1.0)
    errors = np.log(seen.peak_memory_bytes) - said.left_out
    peaks = np.exp(np.minimum(said.forecast[:, None] + errors, 80.0))
    near = max(LEAST_NEAR, NEAR_SHARE * n)
    looked_at = [np.ones(n)]
    if near < n:
        looked_at.append(np.maximum(1.0 - (said.nearness / near) ** 2, 0.0))
    recencies = [0.5 ** (np.arange(n)[::-1] / half_life) for half_life in HALF_LIVES]
    parts = [
        _part(peaks, look * recency, seen.runtime_s) for recency in recencies for look in looked_at
    ]
    most = max(values.shape[1] for values, _ in parts)
    # Parts of fewer tasks are filled up with scenarios of no weight, to be solved at once.
    fill = [((0, 0), (most - values.shape[1], 0)) for values, _ in parts]
    values = np.vstack([np.pad(part[0], f, "edge") for part, f in zip(parts, fill, strict=True)])
    weight = np.vstack([np.pad(part[1], f) for part, f in zip(parts, fill, strict=True)])
    need = (values * weight).sum(axis=1)
    # As a share of what each forecasts: else the one that forecasts least would look best.
    with np.errstate(divide="ignore", invalid="ignore"):  # of experts without any weight
        waste = np.maximum(best_steps(values, weight)[0] / need - 1.0, 1e-12)
    views = []
    of_one = len(values) // len(HALF_LIVES)
    for place, recency in enumerate(recencies):
        rows = slice(place * of_one, (place + 1) * of_one)
        mixed = _mixture(values[rows], weight[rows], waste[rows], _effective(recency), limit_bytes)
        views.append(mixed)
    return views


def _effective(weight: Array) -> float:
    """Return how many equal weights tell as much as these."""
    return float(weight.sum() ** 2 / (weight**2).sum())


def _part(peaks: Array, look: Array, runtime_s: Array) -> tuple[Array, Array]:
    """Return each expert's scenarios in one view, ascending, with their weight.

    Their tail begins at the largest: that the next task exceeds all of `n` has the chance
    1 / (n + 1), and by how much is told by how far the largest few lie above those that follow.
    """
    used = look > 0.0
    peaks, look, weight = peaks[:, used], look[used], (look * runtime_s)[used]
    effective = _effective(look)
    order = peaks.argsort(axis=1)
    peaks = np.take_along_axis(peaks, order, axis=1)
    weights = (weight / weight.sum() * effective)[order]
    top = min(max(2, int(math.sqrt(effective))), peaks.shape[1] - 1)
    excess = peaks[:, -top:].mean(axis=1) - peaks[:, -top - 1]
    largest = peaks[:, -1]
    tail = np.outer(excess + TAIL_FLOOR * largest, TAIL_EXCESS) + largest[:, None]
    peaks, weights = _thinned(peaks, weights, _MOST_OF_ONE_EXPERT - len(TAIL_EXCESS))
    weights = np.hstack([weights, np.tile(TAIL_SHARE, (len(tail), 1))])
    return np.hstack([peaks, tail]), weights / (effective + 1.0)


def _thinned(values: Array, weight: Array, most: int) -> tuple[Array, Array]:
    """Join neighbours, each group as large as its largest; the upper third stays as it is."""
    n = values.shape[1]
    if n <= most:
        return values, weight
    alone = most // 3
    edges = np.unique(np.linspace(0, n - alone, most - alone + 1).astype(np.int64))
    first: Places = np.append(edges[:-1], np.arange(n - alone, n))
    last = np.append(first[1:], n) - 1
    return values[:, last], np.add.reduceat(weight, first, axis=1)


def _mixture(
    values: Array, weight: Array, waste: Array, effective: float, limit_bytes: float
) -> Scenarios:
    """Mix the experts' scenarios, each expert by what it expects to waste."""
    # An expert that was never off, or whose numbers overflowed, must not divide by nothing.
    known = np.maximum(np.nan_to_num(waste, nan=1e300, posinf=1e300), 1e-12)
    share = (known / known.min()) ** -(SHARPNESS * effective ** (1.0 / 3.0))
    mixed = (weight * (share / share.sum())[:, None]).ravel()
    kept = mixed > _LEAST_WEIGHT
    peaks = np.minimum(values.ravel()[kept], limit_bytes)
    return Scenarios.of(peaks, mixed[kept]).merged()
