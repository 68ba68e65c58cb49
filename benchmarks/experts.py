"""Simple forecasters of one task type's peak memory, each with its own errors laid open.

In: what was seen of a type; forecasters of the logarithm of the peak from the input's size, and
what each would have said of every task seen had it not seen that one. Not in: how they are mixed,
and what is allocated (:mod:`benchmarks.online`, :mod:`fitcast.sizing.allocation`).

All are smoothers, so leaving one out needs no second fit. Where requests differ, each also
forecasts the peak as a share of the request: many programs take what they are given.
"""

from dataclasses import dataclass, field

import numpy as np

from fitcast.sizing.allocation import Array, Places

NEIGHBOURS = (1, 3, 7)
LOCAL_SHARE = 0.5
"""Share of the tasks seen that a locally fitted line rests on."""

REQUEST_DISTANCE = 3.0
"""How much farther a factor in the request moves tasks apart than the same factor in the input."""

_LEAST_FOR_CURVE = 9
_LEAST_FOR_LOCAL_LINE = 7
_MOST_LEVERAGE = 0.95  # a task that alone determines a line still tells a little


@dataclass(frozen=True, slots=True, eq=False)
class TaskHistory:
    """What was seen of one task type, oldest first. All arrays have shape (tasks,)."""

    input_bytes: Array = field(default_factory=lambda: np.empty(0))
    requested_bytes: Array = field(default_factory=lambda: np.empty(0))  # 1 where not requested
    peak_memory_bytes: Array = field(default_factory=lambda: np.empty(0))
    runtime_s: Array = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(self.peak_memory_bytes)

    def with_task(
        self,
        *,
        input_bytes: float,
        requested_bytes: float,
        peak_memory_bytes: float,
        runtime_s: float,
        most: int,
    ) -> "TaskHistory":
        """Return this and one more task; of more than `most` the oldest are forgotten."""
        return TaskHistory(
            np.append(self.input_bytes, input_bytes)[-most:],
            np.append(self.requested_bytes, requested_bytes)[-most:],
            np.append(self.peak_memory_bytes, peak_memory_bytes)[-most:],
            np.append(self.runtime_s, runtime_s)[-most:],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Forecasts:
    """What the experts say: natural logarithms of bytes."""

    left_out: Array  # (experts, tasks): of each task seen, without it
    forecast: Array  # (experts,): of the task to come
    nearness: Places  # (tasks,): 0 for the task seen that is most like the one to come, 1, 2, …


def forecasts(seen: TaskHistory, input_bytes: float, requested_bytes: float) -> Forecasts:
    """Ask every expert.

    Parameters
    ----------
    seen
        At least three tasks.
    input_bytes, requested_bytes
        Of the task to come; 1 byte requested if there was no request, as in `seen`.
    """
    size = np.log1p(seen.input_bytes)
    new_size = float(np.log1p(input_bytes))
    request = np.log(seen.requested_bytes / requested_bytes)
    near = _Nearness.between(size, new_size, request)
    targets = [np.zeros_like(request)]
    if np.abs(request).max() > 0.0:
        targets.append(request)
    left_out: list[Array] = []
    forecast: list[float] = []
    for shift in targets:
        logs = np.log(seen.peak_memory_bytes) - shift
        for of_seen, of_new in _all(seen.input_bytes, input_bytes, size, new_size, logs, near):
            left_out.append(of_seen + shift)
            forecast.append(of_new)
    nearness = np.empty(len(seen), dtype=np.int64)
    nearness[near.new_order] = np.arange(len(seen))
    return Forecasts(np.array(left_out), np.array(forecast), nearness)


@dataclass(frozen=True, slots=True, eq=False)
class _Nearness:
    distance: Array  # (tasks, tasks); infinite to itself
    order: Places  # (tasks, most neighbours)
    new_distance: Array  # (tasks,)
    new_order: Places  # (tasks,)

    @classmethod
    def between(cls, size: Array, new_size: float, request: Array) -> "_Nearness":
        distance = np.abs(size[:, None] - size)
        if request.any():
            distance += REQUEST_DISTANCE * np.abs(request[:, None] - request)
        np.fill_diagonal(distance, np.inf)
        most = min(max(NEIGHBOURS), len(size) - 1)
        nearest = np.argpartition(distance, most - 1, axis=1)[:, :most]
        among = np.take_along_axis(distance, nearest, axis=1).argsort(axis=1, kind="stable")
        new_distance = np.abs(size - new_size) + REQUEST_DISTANCE * np.abs(request)
        return cls(
            distance,
            np.take_along_axis(nearest, among, axis=1),
            new_distance,
            # Of tasks equally near, the newest first.
            len(size) - 1 - np.argsort(new_distance[::-1], kind="stable"),
        )


def _all(
    inputs: Array, new_input: float, size: Array, new_size: float, logs: Array, near: _Nearness
) -> list[tuple[Array, float]]:
    n = len(logs)
    said = [((logs.sum() - logs) / (n - 1), float(logs.mean()))]
    z, new_z = _standardised(size, new_size)
    said.append(_regression([z], [new_z], logs))
    if n >= _LEAST_FOR_CURVE:
        # A parabola must not be followed beyond what was seen.
        inside = min(max(new_z, float(z.min())), float(z.max()))
        said.append(_regression([z, z**2], [inside, inside**2], logs, ridge=1e-3))
    said.append(_line_in_bytes(inputs, new_input, logs))
    for k in NEIGHBOURS:
        if k < n - 1:
            mean = logs[near.order[:, :k]].mean(axis=1)
            said.append((mean, float(logs[near.new_order[:k]].mean())))
    if n >= _LEAST_FOR_LOCAL_LINE:
        said.append(_local_line(size, new_size, logs, near))
    return said


def _standardised(values: Array, new: float) -> tuple[Array, float]:
    mean, sd = float(values.mean()), float(values.std())
    if sd <= 1e-12 * max(1.0, abs(mean)):
        return np.zeros_like(values), 0.0
    return (values - mean) / sd, (new - mean) / sd


def _regression(
    columns: list[Array], new: list[float], target: Array, ridge: float = 1e-9
) -> tuple[Array, float]:
    """Least squares with a constant; leaving one out by its leverage."""
    design = np.column_stack([np.ones(len(target)), *columns])
    square = design.T @ design + ridge * len(target) * np.eye(design.shape[1])
    pulled = np.linalg.solve(square, design.T)
    weights = pulled @ target
    leverage = np.minimum((design * pulled.T).sum(axis=1), _MOST_LEVERAGE)
    left_out = target - (target - design @ weights) / (1.0 - leverage)
    return left_out, float(np.array([1.0, *new]) @ weights)


def _line_in_bytes(inputs: Array, new_input: float, logs: Array) -> tuple[Array, float]:
    z, new_z = _standardised(inputs, new_input)
    least = float(logs.min()) + np.log(0.5)
    unit = float(logs.max())  # so that powers stay in range
    left_out, forecast = _regression([z], [new_z], np.exp(logs - unit))
    floor = np.exp(least - unit)
    return np.log(np.maximum(left_out, floor)) + unit, float(np.log(max(forecast, floor))) + unit


def _local_line(size: Array, new_size: float, logs: Array, near: _Nearness) -> tuple[Array, float]:
    """Fit a line with tricube weights around each task (loess)."""
    k = max(5, int(LOCAL_SHARE * len(size)))
    # A little farther than the farthest of them, so that tasks all equally far have a weight.
    reach = 1.05 * np.partition(near.distance, k - 1, axis=1)[:, k - 1] + 1e-6
    distance = np.where(np.isfinite(near.distance), near.distance, reach[:, None])
    of_seen = _loess(_tricube(distance / reach[:, None]), size, logs, size)
    new_reach = 1.05 * np.partition(near.new_distance, k - 1)[k - 1] + 1e-6
    weight = _tricube(near.new_distance / new_reach)[None]
    return of_seen, float(_loess(weight, size, logs, np.array([new_size]))[0])


def _tricube(share: Array) -> Array:
    return np.clip(1.0 - share**3, 0.0, 1.0) ** 3


def _loess(weight: Array, size: Array, logs: Array, at: Array) -> Array:
    total = weight.sum(axis=1) + 1e-12
    mean_size, mean_log = weight @ size / total, weight @ logs / total
    variance = np.maximum(weight @ size**2 / total - mean_size**2, 0.0)
    slope = (weight @ (size * logs) / total - mean_size * mean_log) / (
        variance + 1e-4 * size.var() + 1e-12
    )
    # Beyond three standard deviations of its own sizes, a local line is no evidence.
    reach = 3.0 * np.sqrt(variance)
    result: Array = mean_log + slope * np.clip(at - mean_size, -reach, reach)
    return result
