"""What 400 analysts submit in two weeks: measured fits, with forecasts of the sizing model.

In: fits with their forecasts, workflows, arrivals by working hours. Not in: playing them
(:mod:`benchmarks.week_play`).

A workflow's fits are those that the campaign measured on one dataset, of up to six kinds of models,
drawn again and again and as large as analysts' data is: sixty times as long, ten times the memory.
Each is forecast by a model that has seen nothing of its dataset, and errs as that did. Who submits
how much, and how many fits a workflow has, is heavy-tailed and made up.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from benchmarks.bench_sizing import DATA, learned
from benchmarks.parallel import processes
from benchmarks.splits import Split, leave_dataset_out, model_of, usable
from fitcast.history.codec import read_parquet
from fitcast.history.records import Estimate, Record
from fitcast.scheduler.broker.resources import Demand, Resources
from fitcast.scheduler.broker.sharers import DAY_S

Array = npt.NDArray[np.float64]

LONGER, LARGER = 60.0, 10.0
LARGEST_BYTES = 48e9
CANDIDATE_LOG_SD = 0.5  # candidates of a model differ, and forecasts know it
FOLD_LOG_SD = 0.07  # what one fold differs from another: 5 % in the median, as measured
MEDIAN_FITS, FITS_LOG_SD, MOST_FITS = 30.0, 1.3, 4_000
MEDIAN_A_DAY, USER_LOG_SD = 2.0, 0.8
HOURS = np.array([0.2] * 7 + [0.5, 2, 5, 6, 6, 3, 5, 6, 6, 4, 2, 1, 0.7, 0.5, 0.4, 0.3, 0.2])
"""How many submit at each hour of a working day, relative to other hours."""
WEEKEND = 0.06  # of a working day
WEEK_S = 7 * DAY_S
MONDAY_S = 4 * DAY_S  # since 1970
_Z10 = 1.2816
_DRAWS = 40


@dataclass(frozen=True, slots=True)
class Priced:
    """A measured fit and its forecast."""

    record: Record
    estimate: Estimate


@dataclass(eq=False)
class Flow:
    """A workflow: what its fits take and what was forecast of them, the longest forecast first."""

    name: str
    user: str
    at_s: float
    runtime_s: list[float]
    cpus: list[int]
    memory_bytes: list[float]
    said_s: Array  # mean forecasts of the runtimes
    demand: Demand  # as forecast
    forecast_s: tuple[float, float, float]  # alone
    needs: Demand  # in truth
    alone_s: float  # in truth
    own: dict[str, float] = field(default_factory=dict)

    @property
    def fits(self) -> int:
        """How many."""
        return len(self.runtime_s)


def priced(quick: bool = False) -> dict[str, list[Priced]]:
    """Return measured fits with the forecasts of a model that hasn't seen their dataset."""
    splits = list(leave_dataset_out(usable(read_parquet(DATA))))
    if quick:
        first = splits[0]
        told = [learned(Split(first.train[::8], first.test[::2]))]
    else:
        with processes() as several:
            told = several.mapped(learned, splits)
    by_dataset: dict[str, list[Priced]] = {}
    for records, estimates, _ in told:
        for record, estimate in zip(records, estimates, strict=True):
            by_dataset.setdefault(record.dataset, []).append(Priced(record, estimate))
    return {name: own for name, own in sorted(by_dataset.items()) if len(own) >= 4}


def trace(
    costs: dict[str, list[Priced]], capacity: Resources, *, users: int, seed: int, days: int = 14
) -> list[Flow]:
    """Return what is submitted from a Monday on, in order."""
    rng = np.random.default_rng(seed)
    datasets = list(costs.values())
    flows = []
    a_day = MEDIAN_A_DAY * np.exp(USER_LOG_SD * rng.standard_normal(users))
    for user in range(users):
        own = rng.integers(len(datasets), size=3)  # an analyst has some datasets
        for at_s in _arrivals(rng, float(a_day[user]), days):
            dataset = datasets[int(own[rng.integers(3)])]
            flows.append(_flow(f"u{user}", at_s, dataset, capacity, rng))
    flows.sort(key=lambda flow: flow.at_s)
    for number, flow in enumerate(flows):
        flow.name = f"w{number:05d}"
    return flows


def _arrivals(rng: np.random.Generator, a_day: float, days: int) -> list[float]:
    times: list[float] = []
    for day in range(days):
        mean = a_day * (WEEKEND if day % 7 >= 5 else 1.0)
        hours = rng.choice(24, size=rng.poisson(mean), p=HOURS / HOURS.sum())
        times += (MONDAY_S + day * DAY_S + 3600.0 * (hours + rng.random(len(hours)))).tolist()
    return times


def _flow(
    user: str, at_s: float, dataset: Sequence[Priced], capacity: Resources, rng: np.random.Generator
) -> Flow:
    count = int(np.clip(MEDIAN_FITS * math.exp(FITS_LOG_SD * rng.standard_normal()), 5, MOST_FITS))
    kinds = sorted({model_of(one.record) for one in dataset})
    chosen = set(rng.choice(kinds, size=min(len(kinds), int(rng.integers(2, 7))), replace=False))
    among = [one for one in dataset if model_of(one.record) in chosen]
    which = rng.integers(len(among), size=count)
    records = [among[number].record for number in which]
    estimates = [among[number].estimate for number in which]
    size = LONGER * np.exp(CANDIDATE_LOG_SD * rng.standard_normal(count))
    noise = np.exp(FOLD_LOG_SD * rng.standard_normal(count))
    runtime = size * noise * np.array([one.runtime_s for one in records])
    median = size * np.array([one.runtime_s_p50 for one in estimates])
    sds = np.array(
        [
            (one.runtime_log_sd_algorithm, one.runtime_log_sd_candidate, one.runtime_log_sd_fit)
            for one in estimates
        ]
    )
    cpus = np.array([one.request.threads for one in records])
    memory = np.minimum(
        LARGER * np.array([one.peak_memory_bytes for one in records]), LARGEST_BYTES
    )
    said_memory = np.minimum(
        LARGER * np.array([float(one.peak_memory_bytes_p50) for one in estimates]), LARGEST_BYTES
    )
    order = np.argsort(-median, kind="stable")
    runtime, median, sds, cpus, memory = (a[order] for a in (runtime, median, sds, cpus, memory))
    said_memory, which = said_memory[order], which[order]
    algorithms = np.unique([among[n].record.request.algorithm for n in which], return_inverse=True)[
        1
    ]
    drawn = _drawn(median, sds, algorithms, which, rng)
    said = drawn.mean(axis=0)
    demand = _demand(said, cpus, said_memory)
    most = min(demand.most.cpus, capacity.cpus)
    alone = np.maximum((drawn * cpus).sum(axis=1) / most, drawn.max(axis=1))
    p10, p50, p90 = (float(q) for q in np.quantile(alone, (0.1, 0.5, 0.9)))
    needs = _demand(runtime, cpus, memory)
    alone_s = max(needs.least_s(capacity), float(runtime.max()))
    return Flow(
        name="",
        user=user,
        at_s=at_s,
        runtime_s=runtime.tolist(),
        cpus=cpus.tolist(),
        memory_bytes=memory.tolist(),
        said_s=said,
        demand=demand,
        forecast_s=(p10, p50, p90),
        needs=needs,
        alone_s=alone_s,
    )


def _drawn(
    median: Array, sds: Array, algorithms: Array, which: Array, rng: np.random.Generator
) -> Array:
    """Draw runtimes as they may turn out, errors together where they are shared."""
    shared = rng.standard_normal((_DRAWS, int(algorithms.max()) + 1))[:, algorithms]
    # The fits drawn from one measured fit are candidates of one model: they err together.
    own = rng.standard_normal((_DRAWS, int(which.max()) + 1))[:, which.astype(np.int64)]
    log = sds[:, 0] * shared + np.hypot(sds[:, 1], sds[:, 2]) * own
    drawn: Array = median * np.exp(log)
    return drawn


def _demand(runtime_s: Array, cpus: Array, memory_bytes: Array) -> Demand:
    return Demand(
        cpu_s=float(runtime_s @ cpus),
        memory_byte_s=float(runtime_s @ memory_bytes),
        most=Resources(float(cpus.sum()), float(memory_bytes.sum())),
        frees_in_s=float(runtime_s**2 @ cpus / (2.0 * (runtime_s @ cpus))),
    )
