"""Learning within a running sweep: finished fits update the forecasts of the remaining ones.

In: one joint Gaussian over the candidates of the sweep, updated exactly by each fit as it ends.
Not in: the model that it starts from (:mod:`fitcast.sizing.learning.model`).
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fitcast.history.records import Estimate, Outcome, Record, Request
from fitcast.sizing.laws.features import Described, describe
from fitcast.sizing.laws.prior import FitCost, cost_of
from fitcast.sizing.learning.failing import Failures
from fitcast.sizing.learning.forecast import Normal, estimate_of
from fitcast.sizing.learning.gaussian_process import at_least, posterior
from fitcast.sizing.learning.groups import FitObservation, observation_of
from fitcast.sizing.learning.model import ModelInputs, SizingModel, dataset_code
from fitcast.sizing.learning.points import Array
from fitcast.sizing.learning.quantities import Quantity, chance_variance

_MAX_JOINT = 400  # candidates in one Gaussian: what each fit tells costs the square of it
_SURPRISE = 3.0  # standard deviations, beyond which one fit counts for less

_Place = tuple[str, int, int]  # algorithm, candidate, key of what it costs


@dataclass(slots=True, eq=False)
class _Joint:
    """The joint Gaussian of one quantity's logarithms over a block."""

    quantity: Quantity
    mean: Array
    covariance: Array
    fit_sd: list[float]

    def see(
        self, row: int, value: float, *, at_least_only: bool = False, own_sd: float = 0.0
    ) -> None:
        """Update on the measured logarithm of one fit, or on a lower bound of it.

        `own_sd` is how unsure the value itself is.
        """
        mean, variance = float(self.mean[row]), float(self.covariance[row, row])
        noise = chance_variance(self.quantity, self.fit_sd[row], mean) + own_sd**2
        if at_least_only:
            after, after_variance = at_least(mean, variance + noise, value)
            gained = 1.0 / after_variance - 1.0 / (variance + noise)
            if gained <= 1e-9:
                return
            value = (after / after_variance - mean / (variance + noise)) / gained
            noise += 1.0 / gained
        else:
            surprise = abs(value - mean) / math.sqrt(variance + noise)
            if surprise > _SURPRISE:
                # A fit that was disturbed or that is unlike the rest must not move them all.
                noise += (surprise / _SURPRISE - 1.0) * (variance + noise)
        gain = self.covariance[:, row] / (variance + noise)
        self.mean = self.mean + gain * (value - mean)
        self.covariance -= np.outer(gain, self.covariance[row])


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """Fits that learn from each other."""

    fits: list[Described]
    costs: list[FitCost]
    runtime: _Joint
    memory: _Joint
    algorithms: list[str]


class SweepCorrection:
    """Forecasts of the fits of a running sweep that get better with every fit done.

    Parameters
    ----------
    model
        The model that was in use when the sweep began.
    requests
        By fit, all that the sweep will run.
    dataset
        Fingerprint of the sweep's dataset.
    candidates
        By fit, the number of its candidate.
    """

    def __init__(
        self,
        model: SizingModel,
        requests: Mapping[str, Request],
        *,
        dataset: str,
        candidates: Mapping[str, int],
    ) -> None:
        self._model = model
        self._place: dict[str, _Place] = {}
        fits: dict[_Place, Described] = {}
        for fit_id, request in requests.items():
            fit = describe(request)
            place = (fit.kind, candidates.get(fit_id, -1), fit.key)
            self._place[fit_id] = place
            fits.setdefault(place, fit)
        self._waiting = dict.fromkeys(requests)
        self._where: dict[_Place, tuple[int, int]] = {}  # block, row
        self._blocks: list[_Block] = []
        code = dataset_code(dataset)
        for places in _split(list(fits)):
            for row, place in enumerate(places):
                self._where[place] = (len(self._blocks), row)
            self._blocks.append(_block(model, [fits[place] for place in places], code))
        self._records: Counter[str] = Counter()
        self._failures: dict[str, Failures] = {}
        self._bases: list[float] = []
        self._made: dict[int, dict[int, Estimate]] = {}

    def observe(self, fit_id: str, record: Record) -> None:
        """Learn from one attempt; of a fit that isn't in the sweep, nothing.

        Parameters
        ----------
        fit_id
            The fit.
        record
            What its attempt cost and how it ended.
        """
        place = self._place.get(fit_id)
        if place is None:
            return
        observed = observation_of(record)
        if record.outcome in (Outcome.SUCCEEDED, Outcome.FAILED):
            self._waiting.pop(fit_id, None)
        if observed == FitObservation():
            return
        number, row = self._where[place]
        block = self._blocks[number]
        if observed.failed is not None:
            self._failures_of(place[0], own=True).see(
                block.fits[row].params, failed=observed.failed
            )
        if not observed.failed:
            self._records[place[0]] += 1
        if observed.log_runtime is not None:
            block.runtime.see(row, observed.log_runtime, own_sd=observed.runtime_sd)
        if observed.log_memory is not None:
            block.memory.see(row, observed.log_memory)
        if observed.log_runtime_least is not None:
            block.runtime.see(row, observed.log_runtime_least, at_least_only=True)
        if observed.log_memory_least is not None:
            block.memory.see(row, observed.log_memory_least, at_least_only=True)
        if observed.base_memory_bytes is not None and len(self._bases) < 256:
            self._bases.append(observed.base_memory_bytes)
        self._made.pop(number, None)

    def estimates(self) -> dict[str, Estimate]:
        """Return the forecasts of the fits that aren't done, by fit.

        A fit whose attempt ran out of memory or time, or lost its worker, isn't done.
        """
        wanted: dict[int, set[int]] = {}
        for fit_id in self._waiting:
            number, row = self._where[self._place[fit_id]]
            wanted.setdefault(number, set()).add(row)
        for number, rows in wanted.items():
            made = self._made.get(number)
            if made is None or not rows <= made.keys():
                self._made[number] = self._make(number, sorted(rows))
        found: dict[str, Estimate] = {}
        for fit_id in self._waiting:
            number, row = self._where[self._place[fit_id]]
            found[fit_id] = self._made[number][row]
        return found

    def _make(self, number: int, rows: list[int]) -> dict[int, Estimate]:
        block = self._blocks[number]
        runtime = _normals(block.runtime, block.algorithms, rows, faster=self._model.log_speed)
        memory = _normals(block.memory, block.algorithms, rows)
        base = float(np.median(self._bases)) if self._bases else self._model.base_memory_bytes
        made: dict[int, Estimate] = {}
        for row, of_runtime, of_memory in zip(rows, runtime, memory, strict=True):
            fit = block.fits[row]
            made[row] = estimate_of(
                fit,
                runtime=of_runtime,
                memory=of_memory,
                base_memory_bytes=base,
                failure=self._failures_of(fit.kind).probability(fit.params),
                like_records=self._model.algorithm(fit.kind).records + self._records[fit.kind],
                cost=block.costs[row],
            )
        return made

    def _failures_of(self, kind: str, *, own: bool = False) -> Failures:
        if own and kind not in self._failures:
            self._failures[kind] = self._model.algorithm(kind).failures.copy()
        return self._failures.get(kind) or self._model.algorithm(kind).failures


def _split(places: list[_Place]) -> list[list[_Place]]:
    """Return one block of all fits; of many, blocks by algorithm and of bounded size."""
    if len(places) <= _MAX_JOINT:
        return [places] if places else []
    by_algorithm: dict[str, list[_Place]] = {}
    for place in places:
        by_algorithm.setdefault(place[0], []).append(place)
    # Taken in strides, so that each part holds something of the whole grid.
    return [
        of_one[start :: -(-len(of_one) // _MAX_JOINT)]
        for of_one in by_algorithm.values()
        for start in range(-(-len(of_one) // _MAX_JOINT))
    ]


def _block(model: SizingModel, fits: list[Described], dataset: int) -> _Block:
    costs = [cost_of(fit) for fit in fits]
    algorithms = [fit.kind for fit in fits]
    rows_of: dict[str, list[int]] = {}
    for row, fit in enumerate(fits):
        rows_of.setdefault(fit.kind, []).append(row)
    inputs = [
        (
            rows,
            model.model_inputs([fits[row] for row in rows], [costs[row] for row in rows], dataset),
        )
        for rows in rows_of.values()
    ]
    runtime, memory = (
        _joint(quantity, algorithms, [(rows, each[quantity]) for rows, each in inputs])
        for quantity in Quantity
    )
    return _Block(fits, costs, runtime, memory, algorithms)


def _joint(
    quantity: Quantity, algorithms: list[str], several: list[tuple[list[int], ModelInputs]]
) -> _Joint:
    n = len(algorithms)
    mean, covariance = np.zeros(n), np.zeros((n, n))
    fit_sd = [0.0] * n
    run, unseen, machine = math.inf, np.zeros(n, dtype=bool), math.inf
    for rows, inputs in several:
        mean[rows], covariance[np.ix_(rows, rows)] = posterior(
            inputs.learned, inputs.points, inputs.scales
        )
        stretch = 1.0 if inputs.learned is None else inputs.learned.stretch
        run = min(run, (inputs.scales.run * stretch) ** 2)
        machine = min(machine, inputs.scales.machine**2)
        unseen[rows] = inputs.learned is None
        for row in rows:
            fit_sd[row] = inputs.fit_sd
    # The run is shared by all algorithms; the machine by those that weren't seen on it.
    algorithm = np.array([hash(kind) for kind in algorithms])
    apart = algorithm[:, None] != algorithm[None, :]
    covariance += apart * (run + machine * np.outer(unseen, unseen))
    return _Joint(quantity, mean, covariance, fit_sd)


def _normals(
    joint: _Joint, algorithms: list[str], rows: list[int], *, faster: float = 0.0
) -> list[Normal]:
    index = np.array(rows)
    names = {name: number for number, name in enumerate(dict.fromkeys(algorithms))}
    codes = np.array([names[name] for name in algorithms])
    variance = np.maximum(np.diag(joint.covariance), 1e-8)
    shared = 0.5 * variance
    for code in range(len(names)):
        of_one = index[codes[index] == code]
        if len(of_one) > 1:
            part = joint.covariance[np.ix_(of_one, of_one)]
            others = (part.sum(axis=1) - np.diag(part)) / (len(of_one) - 1)
            shared[of_one] = np.clip(others, 0.0, variance[of_one])
    return [
        Normal(
            mean=float(joint.mean[row]) - faster,
            shared=float(shared[row]),
            own=float(variance[row] - shared[row]),
            chance=chance_variance(joint.quantity, joint.fit_sd[row], float(joint.mean[row])),
        )
        for row in rows
    ]
