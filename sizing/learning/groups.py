"""Records → groups of similar fits, from which the model learns.

In: what is observed by outcome (a value, a lower bound, a failure, nothing), and combining the
folds of one candidate into one group. Not in: the learning itself
(:mod:`fitcast.sizing.learning.model`).
"""

import math
from dataclasses import dataclass, replace
from statistics import median

from fitcast.history.records import SHARED_POOL, Outcome, Record
from fitcast.sizing.laws.features import Described
from fitcast.sizing.laws.prior import cost_of

IMPORTED_SD = 0.4
"""Standard deviation, in natural logarithms, of an ordinary MLflow run's time around its fit's: it
includes logging, loading and whatever else the run did."""

UNKNOWN_SD, KNOWN_SD = 0.4, 0.15
"""Of a machine's shift, in natural logarithms: where nothing is known of its speed, and where its
four kernels were measured."""

_MOST_THREADS = 16
_MAX_VALUES = 32  # of one group; more add nothing
_OUTLIER = 0.7  # of a logarithm, beyond which a fold was disturbed


@dataclass(frozen=True, slots=True)
class FitObservation:
    """What is observed of one attempt; logarithms of bytes and of reference-machine seconds."""

    log_runtime: float | None = None
    runtime_sd: float = 0.0  # how unsure that is by what disturbed the attempt
    log_memory: float | None = None
    log_runtime_least: float | None = None
    log_memory_least: float | None = None
    base_memory_bytes: float | None = None
    failed: bool | None = None  # None if it is no evidence of failing or not


@dataclass(frozen=True, slots=True)
class Foreign:
    """What isn't known of fits on another's machine, alike for all fits of a workflow there."""

    log_gain: float = 0.0  # taken to have been won by threads that nobody counted
    log_sd: float = 0.0  # of that, and of the machine's speed


OWN = Foreign()


def foreign_of(record: Record, fit: Described) -> Foreign:
    """Return what isn't known of a record's machine and threads; nothing of our own.

    Unknown threads are between one and :data:`_MOST_THREADS`, and what they won is between nothing
    and what the law says of so many, each as likely.
    """
    if not record.imported and record.pool != SHARED_POOL:
        return OWN
    variance = (KNOWN_SD if log_speed_of(record.machine_speed) else UNKNOWN_SD) ** 2
    gain = 0.0
    if record.request.threads < 1:
        cost = cost_of(fit)
        most = max(0.0, math.log(cost.runtime_s(1) / cost.runtime_s(_MOST_THREADS)))
        gain = 0.5 * most
        variance += most**2 / 12.0
    return Foreign(gain, math.sqrt(variance))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Fits of one candidate in one workflow, on as many rows."""

    fit: Described
    dataset: int
    run: int
    log_runtimes: tuple[float, ...] = ()
    log_memories: tuple[float, ...] = ()
    log_runtime_least: float | None = None
    log_memory_least: float | None = None
    disturbed_sds: tuple[float, ...] = ()  # of the log runtimes, by what disturbed them
    imported: bool = False
    foreign: Foreign = OWN

    @property
    def run_variance(self) -> float:
        """Variance of the log runtime common to all values of the group.

        What disturbs one fold of a run disturbs the others: it doesn't even out among them.
        """
        disturbed = sum(sd**2 for sd in self.disturbed_sds) / max(1, len(self.disturbed_sds))
        return disturbed + (IMPORTED_SD**2 if self.imported else 0.0)

    def having(self, observed: FitObservation) -> "Group":
        """Return the group with one more attempt."""
        return replace(
            self,
            log_runtimes=_appended(
                self.log_runtimes, _plus(observed.log_runtime, self.foreign.log_gain)
            ),
            disturbed_sds=self.disturbed_sds
            if observed.log_runtime is None
            else _appended(self.disturbed_sds, observed.runtime_sd),
            log_memories=_appended(self.log_memories, observed.log_memory),
            log_runtime_least=_larger(self.log_runtime_least, observed.log_runtime_least),
            log_memory_least=_larger(self.log_memory_least, observed.log_memory_least),
        )


def observation_of(record: Record) -> FitObservation:
    """Return what is observed from a record.

    A lost worker and a cancelled attempt give nothing. One ended at its memory limit or its
    deadline gives a lower bound. One that failed counts as a failure only: its cost until then
    is not that of a fit. Of runtimes only that counts which would have passed on an undisturbed
    machine, where waiting for a core was measured.
    """
    base = record.base_memory_bytes or 0
    peak = record.peak_memory_bytes
    log_speed = log_speed_of(record.machine_speed)
    base_known = float(base) if base > 0 else None
    if record.outcome is Outcome.SUCCEEDED:
        return FitObservation(
            log_runtime=_log(record.undisturbed_s, log_speed),
            runtime_sd=record.disturbed_sd,
            log_memory=None if peak is None else _log(max(peak - base, 1e5)),
            base_memory_bytes=base_known,
            failed=False,
        )
    if record.outcome is Outcome.OUT_OF_MEMORY:
        reached = (peak or record.memory_limit_bytes) - base
        return FitObservation(log_memory_least=_log(reached), base_memory_bytes=base_known)
    if record.outcome is Outcome.OUT_OF_TIME:
        reached_s = record.undisturbed_s
        if record.cpu_wait_s is None:
            reached_s = max(record.runtime_s, record.deadline_s or 0.0)
        return FitObservation(
            log_runtime_least=_log(reached_s, log_speed), base_memory_bytes=base_known
        )
    if record.outcome is Outcome.FAILED:
        return FitObservation(base_memory_bytes=base_known, failed=True)
    return FitObservation()


def log_speed_of(machine_speed: float) -> float:
    """Return the logarithm of a machine's speed; 0 for one that isn't known."""
    known = math.isfinite(machine_speed) and machine_speed > 0.0
    return math.log(machine_speed) if known else 0.0


def typical(values: tuple[float, ...]) -> float:
    """Return the winsorised mean of the folds: a disturbed one counts for less."""
    middle = median(values)
    return sum(min(max(v, middle - _OUTLIER), middle + _OUTLIER) for v in values) / len(values)


def _appended(values: tuple[float, ...], value: float | None) -> tuple[float, ...]:
    return values if value is None else (*values, value)[-_MAX_VALUES:]


def _plus(value: float | None, more: float) -> float | None:
    return None if value is None else value + more


def _larger(a: float | None, b: float | None) -> float | None:
    if a is None or b is None:
        return b if a is None else a
    return max(a, b)


def _log(value: float, log_speed: float = 0.0) -> float | None:
    return math.log(value) + log_speed if math.isfinite(value) and value > 0 else None
