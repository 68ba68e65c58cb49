"""Request → estimate: the sizing model, from its cold start to what it learned from history.

In: training on records, estimating requests. Not in: learning within a running sweep
(:mod:`fitcast.sizing.learning.correction`), judging forecasts (:mod:`benchmarks.scoring`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np

from fitcast.history.records import Estimate, Record, Request
from fitcast.sizing.laws.features import Described, code_of, describe
from fitcast.sizing.laws.prior import FitCost, base_memory_bytes, cost_of
from fitcast.sizing.learning.failing import Failures
from fitcast.sizing.learning.forecast import Normal, estimate_of
from fitcast.sizing.learning.gaussian_process import (
    Learned,
    Scales,
    fitted_scales,
    learn,
    posterior_shared,
)
from fitcast.sizing.learning.groups import (
    FitObservation,
    Group,
    foreign_of,
    log_speed_of,
    observation_of,
    typical,
)
from fitcast.sizing.learning.points import (
    FRESH,
    Array,
    Codes,
    Places,
    Points,
    Vocabulary,
    places_of,
)
from fitcast.sizing.learning.quantities import (
    KNOWN_MACHINE_SD,
    Quantity,
    chance_variance,
    points_at,
    scales_of,
)

_MAX_LEARNED = 800  # groups of one algorithm; learning grows with its cube
_MAX_KEPT = 4000
_MAX_BOUNDS = 100
_MAX_BASES = 512

GroupKey = tuple[int, int, int]  # dataset, run, fit


@dataclass(frozen=True, eq=False)
class LearnedQuantity:
    """What was learned of one quantity of one algorithm."""

    learned: Learned | None = None
    fit_sd: float | None = None  # noise from fit to fit; None: the family's


@dataclass(frozen=True, eq=False)
class AlgorithmModel:
    """What was learned of one algorithm; empty for one never observed."""

    groups: Mapping[GroupKey, Group] = field(default_factory=dict)
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    runtime: LearnedQuantity = field(default_factory=LearnedQuantity)
    memory: LearnedQuantity = field(default_factory=LearnedQuantity)
    failures: Failures = field(default_factory=Failures)  # not to be changed
    records: int = 0  # with an observation of runtime or memory

    def quantity(self, quantity: Quantity) -> LearnedQuantity:
        """Return what was learned of a quantity."""
        return self.runtime if quantity is Quantity.RUNTIME else self.memory


@dataclass(frozen=True, slots=True, eq=False)
class ModelInputs:
    """The inputs of a posterior: fits of one algorithm as points, and what was learned of it."""

    learned: Learned | None
    points: Points
    scales: Scales
    fit_sd: float  # noise from fit to fit


UNSEEN = AlgorithmModel()


class SizingModel:
    """Forecasts what fits will need. Immutable: training gives a new one.

    Parameters
    ----------
    algorithms
        What was learned, by kind (:attr:`Described.kind`).
    shift
        Log ratio of this machine's runtimes to the laws', estimated from all observed algorithms.
    bases
        Memory of recent processes before their fits began, in bytes.
    record_ids
        Records already learned from; they count once.
    machine_speed
        Of the machine that is forecast for, over the reference machine's; 0 if unknown.
    """

    def __init__(
        self,
        algorithms: Mapping[str, AlgorithmModel] | None = None,
        *,
        shift: float = 0.0,
        bases: tuple[float, ...] = (),
        record_ids: frozenset[str] = frozenset(),
        machine_speed: float = 0.0,
    ) -> None:
        self._algorithms = dict(algorithms or {})
        self._shift = shift
        self._bases = bases
        self._record_ids = record_ids
        self.machine_speed = machine_speed

    @classmethod
    def prior(cls) -> "SizingModel":
        """Return the model before any training: the laws alone."""
        return cls()

    def for_machine(self, speed: float) -> "SizingModel":
        """Return the model for a machine of a known speed (``trainer.machine_speed``).

        What is learned is kept in seconds of the reference machine, so that records of one
        machine serve another.
        """
        return SizingModel(
            self._algorithms,
            shift=self._shift,
            bases=self._bases,
            record_ids=self._record_ids,
            machine_speed=speed if math.isfinite(speed) and speed > 0.0 else 0.0,
        )

    @property
    def log_speed(self) -> float:
        """Logarithm of the speed of the machine that is forecast for."""
        return log_speed_of(self.machine_speed)

    @property
    def record_count(self) -> int:
        """Records that it was trained on."""
        return len(self._record_ids)

    @property
    def base_memory_bytes(self) -> float:
        """Bytes that a fit's process holds before the fit begins."""
        return median(self._bases) if self._bases else base_memory_bytes()

    def algorithm(self, kind: str) -> AlgorithmModel:
        """Return what was learned of an algorithm."""
        return self._algorithms.get(kind, UNSEEN)

    def shift_for(self, quantity: Quantity, kind: str) -> float:
        """Return the shift of an algorithm's log runtime that other algorithms suggest."""
        known = self.algorithm(kind).runtime.learned is not None
        return 0.0 if known or quantity is Quantity.MEMORY else self._shift

    def train(self, records: Sequence[Record]) -> "SizingModel":
        """Return a model trained on these records as well; known ones count once.

        Parameters
        ----------
        records
            Of any workflows, in any order.
        """
        new = {r.record_id: r for r in records if r.record_id not in self._record_ids}
        if not new:
            return self
        by_kind: dict[str, list[tuple[Record, Described, FitObservation]]] = {}
        bases = list(self._bases)
        for record in sorted(new.values(), key=lambda r: (r.ended_at.timestamp(), r.record_id)):
            observed = observation_of(record)
            if observed.base_memory_bytes is not None:
                bases.append(observed.base_memory_bytes)
            if observed != FitObservation():
                fit = describe(record.request)
                by_kind.setdefault(fit.kind, []).append((record, fit, observed))
        algorithms = dict(self._algorithms)
        for name, told_of in by_kind.items():
            algorithms[name] = _trained(self.algorithm(name), told_of)
        return SizingModel(
            algorithms,
            shift=_machine_shift(algorithms),
            bases=tuple(bases[-_MAX_BASES:]),
            record_ids=self._record_ids | new.keys(),
            machine_speed=self.machine_speed,
        )

    def estimate(
        self, requests: Sequence[Request], *, dataset: str | None = None
    ) -> list[Estimate]:
        """Forecast what requests will need, in their order.

        Parameters
        ----------
        requests
            Of any algorithms; equal ones, such as the folds of a candidate, are computed once.
        dataset
            Fingerprint of the dataset that they are about, if known: observations of
            it count for more.
        """
        fits = [describe(request) for request in requests]
        first: dict[tuple[str, int], Described] = {}
        for fit in fits:
            first.setdefault((fit.kind, fit.key), fit)
        by_kind: dict[str, list[Described]] = {}
        for fit in first.values():
            by_kind.setdefault(fit.kind, []).append(fit)
        made: dict[tuple[str, int], Estimate] = {}
        code = dataset_code(dataset)
        for distinct in by_kind.values():
            for fit, estimate in zip(distinct, self._estimate(distinct, code), strict=True):
                made[fit.kind, fit.key] = estimate
        return [made[fit.kind, fit.key] for fit in fits]

    def model_inputs(
        self, fits: Sequence[Described], costs: Sequence[FitCost], dataset: int
    ) -> dict[Quantity, ModelInputs]:
        """Return the inputs of the posterior for fits of one algorithm, by quantity."""
        vocabulary = self.algorithm(fits[0].kind).vocabulary.extended(fits)
        n = len(fits)
        places = places_of(
            fits,
            vocabulary,
            dataset=np.full(n, dataset, dtype=np.int64),
            run=np.full(n, FRESH, dtype=np.int64),
        )
        return {
            quantity: self._model_inputs(quantity, fits, costs, places, vocabulary)
            for quantity in Quantity
        }

    def _model_inputs(
        self,
        quantity: Quantity,
        fits: Sequence[Described],
        costs: Sequence[FitCost],
        places: Places,
        vocabulary: Vocabulary,
    ) -> ModelInputs:
        known = self.algorithm(fits[0].kind).quantity(quantity)
        points = points_at(
            quantity, fits, costs, places, shift=self.shift_for(quantity, fits[0].kind)
        )
        learned = known.learned
        if learned is not None:
            learned = replace(learned, points=learned.points.padded(vocabulary))
        scales = scales_of(quantity, fits[0]) if learned is None else learned.scales
        if learned is None and self.machine_speed > 0.0 and quantity is Quantity.RUNTIME:
            scales = replace(scales, machine=min(scales.machine, KNOWN_MACHINE_SD))
        fit_sd = scales.fit if known.fit_sd is None else known.fit_sd
        return ModelInputs(learned, points, scales, fit_sd)

    def _estimate(self, fits: Sequence[Described], dataset: int) -> list[Estimate]:
        model = self.algorithm(fits[0].kind)
        costs = [cost_of(fit) for fit in fits]
        normals: dict[Quantity, list[Normal]] = {}
        for quantity, inputs in self.model_inputs(fits, costs, dataset).items():
            faster = self.log_speed if quantity is Quantity.RUNTIME else 0.0
            mean, variance, shared = posterior_shared(inputs.learned, inputs.points, inputs.scales)
            normals[quantity] = [
                Normal(
                    mean=m - faster,
                    shared=s,
                    own=v - s,
                    chance=chance_variance(quantity, inputs.fit_sd, m),
                )
                for m, v, s in zip(mean.tolist(), variance.tolist(), shared.tolist(), strict=True)
            ]
        base = self.base_memory_bytes
        return [
            estimate_of(
                fit,
                runtime=runtime,
                memory=memory,
                base_memory_bytes=base,
                failure=model.failures.probability(fit.params),
                like_records=model.records,
                cost=cost,
            )
            for fit, cost, runtime, memory in zip(
                fits, costs, normals[Quantity.RUNTIME], normals[Quantity.MEMORY], strict=True
            )
        ]


def dataset_code(dataset: str | None) -> int:
    """Return the code of a dataset's fingerprint."""
    return FRESH if not dataset else code_of(dataset) or 1


def _trained(
    before: AlgorithmModel, told: Sequence[tuple[Record, Described, FitObservation]]
) -> AlgorithmModel:
    groups = dict(before.groups)
    failures = before.failures.copy()
    records = before.records
    for record, fit, observed in told:
        if observed.failed is not None:
            failures.see(fit.params, failed=observed.failed)
        if observed.failed:
            continue
        records += 1
        dataset, run = dataset_code(record.dataset), code_of(record.workflow_id) or 1
        key = (dataset, run, fit.key)
        group = groups.pop(key, None) or Group(
            fit=fit,
            dataset=dataset,
            run=run,
            imported=record.imported,
            foreign=foreign_of(record, fit),
        )
        groups[key] = group.having(observed)  # popped first: the newest stand last
    groups = dict(list(groups.items())[-_MAX_KEPT:])
    chosen = _chosen(list(groups.values()))
    vocabulary = Vocabulary().extended([group.fit for group in chosen])
    return AlgorithmModel(
        groups=groups,
        vocabulary=vocabulary,
        runtime=_learned(Quantity.RUNTIME, chosen, vocabulary),
        memory=_learned(Quantity.MEMORY, chosen, vocabulary),
        failures=failures,
        records=records,
    )


def _chosen(groups: list[Group]) -> list[Group]:
    """Return the newest groups and, of the older, every so many-th."""
    if len(groups) <= _MAX_LEARNED:
        return groups
    half = _MAX_LEARNED // 2
    older = groups[:-half]
    rows = np.linspace(0, len(older) - 1, half).astype(int)
    return [older[row] for row in rows] + groups[-half:]


def _learned(
    quantity: Quantity, groups: Sequence[Group], vocabulary: Vocabulary
) -> LearnedQuantity:
    if not groups:
        return LearnedQuantity()
    scales = scales_of(quantity, groups[0].fit)
    runtime = quantity is Quantity.RUNTIME
    measured = [(g, g.log_runtimes if runtime else g.log_memories) for g in groups]
    fit_sd = _fit_sd([values for _, values in measured], scales.fit)
    exact = [(g, values) for g, values in measured if values]
    known = {(g.dataset, g.fit.key) for g, _ in exact}
    bounded: list[tuple[Group, float]] = []
    for group in groups:
        least = group.log_runtime_least if runtime else group.log_memory_least
        if least is not None and (group.dataset, group.fit.key) not in known:
            bounded.append((group, least))
    bounded = bounded[-_MAX_BOUNDS:]
    if not exact and not bounded:
        return LearnedQuantity()
    values = np.array([typical(v) for _, v in exact])
    noise = np.array(
        [
            chance_variance(quantity, fit_sd, value) / len(v) + (g.run_variance if runtime else 0.0)
            for value, (g, v) in zip(values.tolist(), exact, strict=True)
        ]
    )
    points = _points(quantity, [g for g, _ in exact], vocabulary)
    learned = learn(
        points,
        values,
        noise,
        fitted_scales(points, values, noise, scales),
        censored=_points(quantity, [g for g, _ in bounded], vocabulary),
        bounds=np.array([least for _, least in bounded]),
    )
    return LearnedQuantity(learned, fit_sd)


def _points(quantity: Quantity, groups: Sequence[Group], vocabulary: Vocabulary) -> Points:
    fits = [group.fit for group in groups]
    codes: list[Codes] = [
        np.array([g.dataset for g in groups], dtype=np.int64),
        np.array([g.run for g in groups], dtype=np.int64),
    ]
    foreign = np.zeros(len(groups))
    if quantity is Quantity.RUNTIME:
        foreign = np.array([g.foreign.log_sd for g in groups])
    places = places_of(fits, vocabulary, dataset=codes[0], run=codes[1], foreign=foreign)
    return points_at(quantity, fits, [cost_of(fit) for fit in fits], places)


def _fit_sd(groups: Sequence[tuple[float, ...]], expected: float) -> float:
    """Return the standard deviation among folds of a candidate, shrunk to the expected one."""
    weight = 10.0
    squares = weight * expected**2
    free = weight
    for values in groups:
        if len(values) > 1:
            middle = typical(values)
            squares += sum(min(abs(v - middle), 1.0) ** 2 for v in values)
            free += len(values) - 1
    return float(np.sqrt(squares / free))


def _machine_shift(algorithms: Mapping[str, AlgorithmModel]) -> float:
    """Return the log ratio of runtimes to the laws', shrunk to 0 if algorithms are few."""
    offsets: list[float] = []
    for model in algorithms.values():
        if model.runtime.learned is None:
            continue
        told_of = [g for g in model.groups.values() if g.log_runtimes]
        # Others' machines say something of the law, little of this one.
        exact = ([g for g in told_of if not g.foreign.log_sd] or told_of)[-100:]
        if exact:
            law = _points(Quantity.RUNTIME, exact, model.vocabulary).log_mean
            told: Array = np.array([typical(g.log_runtimes) for g in exact])
            offsets.append(float(np.median(told - law)))
    # Each algorithm's own law is off by about 0.5, the machine by about 0.35.
    return sum(offsets) / (len(offsets) + (0.5 / 0.35) ** 2) if offsets else 0.0
