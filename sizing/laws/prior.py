"""What a fit costs by the law of its family, before any similar fit was observed.

In: which law a fit follows, what a pipeline's earlier steps add, the constants (``prior.json``, set
by ``benchmarks/fit_prior.py``). Not in: the laws themselves (:mod:`fitcast.sizing.laws.tree`,
:mod:`fitcast.sizing.laws.linear`, :mod:`fitcast.sizing.laws.point`), which hyper-parameters a law
depends on (:mod:`fitcast.sizing.laws.families`) and what is learned
(:mod:`fitcast.sizing.learning.gaussian_process`).
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from fitcast.sizing.laws import linear, pairs, paths, point, projections, transforms, tree
from fitcast.sizing.laws.bills import Bill
from fitcast.sizing.laws.composition import Walk
from fitcast.sizing.laws.families import amdahl
from fitcast.sizing.laws.features import Described, Params
from fitcast.sizing.laws.inside import is_composed
from fitcast.sizing.laws.law import Constants, Work, between, is_sparse, item_bytes, outputs
from fitcast.sizing.laws.passing import Passed

MAX_LOG = 34.0  # of bytes: 580 TB; nothing larger is meant seriously
MAX_LOG_S = 18.0  # of seconds: two years


_UNKNOWN_STEP_SHARE = 0.25
_MOST_TEXT = 240
# Of what a fit's memory is beyond its library's: what its model is.
_KEPT_SHARES = {"forest": 0.6, "tree": 0.2, "bagging": 0.6, "exact_boosting": 0.3}
_KEPT_SHARES |= {"histogram_boosting": 0.2, "adaboost": 0.3, "gaussian_process": 0.4}
_REMEMBERING = frozenset({"neighbours", "kernel", "label_model"})
_BINNING_CELL_S = 4e-8  # XGBoost 45 ns, LightGBM 38 ns: 48,000 rows × 21 columns, one thread


@dataclass(frozen=True, slots=True)
class FitCost:
    """One fit's cost by the law of its family."""

    work_s: float  # at one thread, without starting the process
    process_s: float  # what every attempt costs, however small
    memory_bytes: float  # above the process's own
    text: str  # "forest of 200 trees, depth 12"
    parallel_fraction: float  # Amdahl's share of work_s that threads divide
    threading_s: float  # what several threads cost, however few
    rounds_log_sd: float = 0.0  # of work_s, by rounds that nobody knows before
    rounds_memory_log_sd: float = 0.0  # of memory_bytes, likewise

    def runtime_s(self, threads: int) -> float:
        """Return wall clock at a number of threads."""
        runtime_s = self.process_s + self.work_s * amdahl(self.parallel_fraction, threads)
        return runtime_s + (self.threading_s if threads > 1 else 0.0)

    def effective_fraction(self, threads: int) -> float:
        """Return Amdahl's share that gives the same gain from one thread to these, or to two."""
        threads = max(2, threads)
        gain = 1.0 - self.runtime_s(threads) / self.runtime_s(1)
        return between(gain / (1.0 - 1.0 / threads), 0.0, 1.0)


@cache
def constants() -> Mapping[str, Any]:
    """Return the measured constants."""
    text = (files("fitcast.sizing.laws") / "prior.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def base_memory_bytes() -> float:
    """Return the memory of a fit's process before the fit begins, in bytes."""
    return float(constants()["base_memory_bytes"])


def process_start_s(machine_speed: float = 0.0) -> float:
    """Return the seconds that starting its own process adds to a fit.

    Parameters
    ----------
    machine_speed
        Of the machine (``trainer.machine_speed``); 0 while it isn't known.
    """
    return float(constants()["process"]["start_s"]) / (machine_speed or 1.0)


def own_memory_bytes() -> float:
    """Return the memory that the smallest fit adds to its process, in bytes."""
    return float(constants()["process"]["own_bytes"])


@dataclass(frozen=True, slots=True)
class Spread:
    """A law's uncertainty: standard deviations of natural logarithms (0.3 is about a third)."""

    algorithm: float  # of its constant
    dataset: float  # of what the data's content changes, given its shape
    smooth: float  # of what hyper-parameters change beyond the law
    slope: float  # of its slopes over logarithms of sizes


def spread_of(fit: Described, quantity: str) -> Spread:
    """Return the uncertainty of a fit's law for a quantity, "runtime" or "memory"."""
    spreads = constants()["spreads"]
    if not is_composed(fit.made_of):
        return Spread(*spreads.get(_told_by(fit), spreads["generic"])[quantity])
    bill = _bill_of(fit, constants())
    whole = sum(bill.laws.values()) or 1.0
    shares = {name: seconds / whole for name, seconds in bill.laws.items()} or {"generic": 1.0}
    # What is fitted within is off by the same for each: the laws' errors don't even out.
    parts = [(w, spreads.get(name, spreads["generic"])[quantity]) for name, w in shares.items()]
    algorithm, dataset, smooth, slope = (sum(w * told[i] for w, told in parts) for i in range(4))
    own: float = spreads["composition"][quantity][0]
    return Spread(math.hypot(algorithm, own, bill.unsure), dataset, smooth, slope)


def _told_by(fit: Described) -> str:
    return "guessed" if fit.family.guessed else law_name(fit)


def law_name(fit: Described) -> str:
    """Return the name of the constants that a fit's law takes: its family's, or its package's."""
    if fit.family.name == "histogram_boosting":
        name = fit.algorithm.rpartition(".")[2]
        for start, package in (("XGB", "xgboost"), ("Hist", "sklearn_histogram")):
            if name.startswith(start):
                return package
        return "lightgbm"
    return fit.family.name


def cost_of(fit: Described, given: Mapping[str, Any] | None = None) -> FitCost:
    """Return a fit's cost by the law of its family.

    Parameters
    ----------
    fit
        The fit.
    given
        Constants other than those measured, for fitting them.
    """
    c = constants() if given is None else given
    if is_composed(fit.made_of):
        return _composed_cost(fit, c)
    last, steps_s, steps_bytes = _through_steps(fit, c["steps"])
    priced = _priced(last, c)
    own, work = priced.own, priced.work
    serial_s = priced.serial_s + steps_s + c["predict_cell_s"] * fit.rows_test * fit.columns
    total_s = max(serial_s + priced.parallel_s, 1e-9)
    process: Constants = c["process"]
    # What several threads need of their own: their stacks, or less, if the process had it before.
    own_share = own["threads_share"] if fit.threads > 1 else 1.0
    # Touched pages of the mapped data count as the process's own.
    memory = work.memory_bytes + steps_bytes + process["own_bytes"] * own_share + fit.data_bytes
    return FitCost(
        work_s=between(total_s, 1e-5, math.exp(MAX_LOG_S)),
        process_s=process["start_s"],
        memory_bytes=between(memory, 1e5, math.exp(MAX_LOG)),
        text=work.text,
        parallel_fraction=between(priced.divided_s / total_s, 0.0, 1.0),
        threading_s=own["threads_start_s"] + priced.threading_s,
        rounds_log_sd=work.rounds_log_sd * (priced.serial_s + priced.parallel_s) / total_s,
        rounds_memory_log_sd=work.rounds_log_sd * work.rounds_bytes / memory,
    )


def _composed_cost(fit: Described, c: Mapping[str, Any]) -> FitCost:
    """Return the cost of an estimator that is made of others."""
    bill = _bill_of(fit, c)
    total_s = max(bill.seconds, 1e-9)
    process: Constants = c["process"]
    names = [name for name in bill.laws if name in c] or ["generic"]
    owns = [c[name] for name in names]
    own_share = max(own["threads_share"] for own in owns) if fit.threads > 1 else 1.0
    memory = bill.memory_bytes + process["own_bytes"] * own_share + fit.data_bytes
    return FitCost(
        work_s=between(total_s, 1e-5, math.exp(MAX_LOG_S)),
        process_s=process["start_s"],
        memory_bytes=between(memory, 1e5, math.exp(MAX_LOG)),
        text=bill.text[:_MOST_TEXT],
        parallel_fraction=between(bill.parallel_s / total_s, 0.0, 1.0),
        threading_s=max(own["threads_start_s"] for own in owns) + bill.threading_s,
    )


def _bill_of(fit: Described, c: Mapping[str, Any]) -> Bill:
    """Return what an estimator's parts cost together."""

    def leaf(part: Described) -> Bill:
        return _leaf_bill(part, c)

    def transform(part: Described) -> Passed:
        return _passed_by(part, c["steps"])

    assert fit.made_of is not None  # composed
    return Walk(leaf, transform, c["composition"]).whole(fit.made_of, fit)


def _leaf_bill(fit: Described, c: Mapping[str, Any]) -> Bill:
    """Return the cost of a single estimator within another."""
    priced = _priced(fit, c)
    undivided_s = priced.serial_s + priced.parallel_s - priced.divided_s
    return Bill(
        serial_s=undivided_s + c["predict_cell_s"] * fit.rows_test * fit.columns,
        parallel_s=priced.divided_s,
        threading_s=priced.threading_s,
        memory_bytes=priced.work.memory_bytes,
        kept_bytes=_kept_bytes(fit, priced.own, priced.work),
        laws={_told_by(fit): priced.serial_s + priced.parallel_s},
        text=priced.work.text,
    )


@dataclass(frozen=True, slots=True)
class _Priced:
    """What a law says, in the seconds of cores that share caches with others."""

    own: Constants  # of the law
    work: Work
    serial_s: float
    parallel_s: float
    divided_s: float  # of these, what threads divide
    threading_s: float


def _priced(fit: Described, c: Mapping[str, Any]) -> _Priced:
    own: Constants = c[law_name(fit)]
    work: Work = _LAWS[fit.family.name](fit, own)
    factor = c["work_factor"]  # constants are those of a core alone; here, cores share caches
    if item_bytes(fit) < 6.0 and not is_sparse(fit):
        factor *= own["single_factor"]  # half the bytes are moved
    parallel_s = factor * work.parallel_s
    return _Priced(
        own=own,
        work=work,
        serial_s=factor * work.serial_s,
        parallel_s=parallel_s,
        divided_s=between(own.get("parallel_share", 0.0), 0.0, 0.99) * parallel_s,
        threading_s=factor * work.threading_s,
    )


def _kept_bytes(fit: Described, own: Constants, work: Work) -> float:
    """Return the bytes of a fitted model: trees, rows that it remembers, or coefficients."""
    beyond = max(0.0, work.memory_bytes - own.get("memory_bytes", 0.0))
    coefficients = 8.0 * fit.columns * outputs(fit)
    if fit.family.name in _REMEMBERING:
        return min(beyond, 8.0 * fit.nonzeros) + coefficients
    return max(_KEPT_SHARES.get(fit.family.name, 0.0) * beyond, coefficients)


def steps_share(fit: Described, count: int, runtime_s: float) -> float:
    """Return which share of a pipeline's runtime its first steps take, 0 to 1.

    Steps without a law are assumed to take a good part; fits that reuse them measure it.

    Parameters
    ----------
    fit
        The fit.
    count
        How many steps.
    runtime_s
        Its forecast in seconds.
    """
    first = replace(fit, steps=(*fit.steps[:count], fit.algorithm))
    _, steps_s, _ = _through_steps(first, constants()["steps"])
    share = steps_s / max(steps_s, runtime_s)
    names = {step.rpartition(".")[2] for step in fit.steps[:count]}
    return max(share, _UNKNOWN_STEP_SHARE if names - _TRANSFORMS.keys() else 0.0)


def bins_share(fit: Described, runtime_s: float) -> float:
    """Return which share of a boosting's runtime the binning of its rows takes, 0 to 1.

    Parameters
    ----------
    fit
        The fit.
    runtime_s
        Its forecast in seconds.
    """
    last, _, _ = _through_steps(fit, constants()["steps"])
    binning_s = _BINNING_CELL_S * last.nonzeros
    return binning_s / max(binning_s, runtime_s)


def _through_steps(fit: Described, c: Constants) -> tuple[Described, float, float]:
    """Return the fit that a pipeline's last step gets, and the cost of the steps before it.

    Of memory, the most that is held at once: what a step got, what it needs and what it gives.
    """
    seconds = most = got = 0.0
    last = fit
    for step in fit.steps[:-1]:
        name = step.rpartition(".")[2]
        own = replace(last, algorithm=step, params=_params_of_step(fit.params, name))
        passed = _passed_by(own, c)
        seconds += passed.seconds
        most = max(most, got + passed.memory_bytes)
        last = replace(passed.after, algorithm=fit.algorithm, params=fit.params)
        got = 12.0 * last.nonzeros if is_sparse(last) else 8.0 * last.nonzeros
    return last, seconds, max(most, got)


def _passed_by(fit: Described, c: Constants) -> Passed:
    """Return what a single transformer costs and hands on."""
    name = fit.algorithm.rpartition(".")[2]
    return _TRANSFORMS.get(name, transforms.other)(fit, c)


def _params_of_step(params: Params, name: str) -> Params:
    """Return the hyper-parameters of a pipeline's step, without its prefix."""
    places = [place for place, word in params.words.items() if word == name and "__" not in place]
    start = f"{places[0]}__" if places else "__"
    skipped = len(start)
    return Params(
        numbers={n[skipped:]: v for n, v in params.numbers.items() if n.startswith(start)},
        words={n[skipped:]: v for n, v in params.words.items() if n.startswith(start)},
        key=params.key,
    )


_TRANSFORMS = transforms.TRANSFORMS | projections.PROJECTIONS

_LAWS: dict[str, Callable[[Described, Constants], Work]] = {
    "histogram_boosting": tree.histogram_boosting,
    "exact_boosting": tree.exact_boosting,
    "forest": tree.forest,
    "tree": tree.tree,
    "bagging": tree.bagging,
    "adaboost": tree.adaboost,
    "coordinate_descent": linear.coordinate_descent,
    "iterative_linear": linear.iterative_linear,
    "closed_linear": linear.closed_linear,
    "stochastic": linear.stochastic,
    "newton": paths.newton,
    "ridge_path": paths.ridge_path,
    "lasso_path": paths.lasso_path,
    "stepwise": paths.stepwise,
    "logistic_path": paths.logistic_path,
    "evidence": paths.evidence,
    "subsampled": paths.subsampled,
    "quantile": paths.quantile,
    "latent": paths.latent,
    "kernel": pairs.kernel,
    "gaussian_process": pairs.gaussian_process,
    "neighbours": pairs.neighbours,
    "label_model": pairs.label_model,
    "neural": point.neural,
    "counting": point.counting,
    "generic": point.generic,
}
