"""Sets the constants of the laws so that they forecast the campaign's fits best.

    python -m benchmarks.fit_prior [--data FILE...] [--out sizing/laws/prior.json]

A robust regression of the logarithms, law by law, started at the constants as they are and held
near them where the fits tell nothing. Datasets that ``bench_sizing`` judges the prior on are left
out. Then the same without one fifth of the datasets after the other: how far the laws are off on
those is how far they are taken to be off. Prints it.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import least_squares

from benchmarks.bench_sizing import DATA, ZOO
from benchmarks.parallel import processes
from benchmarks.splits import FOLDS, fold_of, group_of, is_held_out, usable
from fitcast.history.codec import read_parquet
from fitcast.history.records import Outcome, Record, Request
from fitcast.sizing.laws.families import FAMILIES
from fitcast.sizing.laws.features import Described, describe
from fitcast.sizing.laws.prior import FitCost, constants, cost_of, law_name
from fitcast.sizing.learning.quantities import Quantity, chance_variance, law_of

Array = npt.NDArray[np.float64]

_PRIOR = Path(__file__).parents[1] / "sizing" / "laws" / "prior.json"
_HOLD = 0.1  # weight of a constant's distance from where it started, per e-fold
_HOLD_POWER = 0.5  # of an exponent's
_SOFT = 0.25  # of a logarithm, beyond which a fit pulls less
_FIXED_ENDINGS = ("_cap", "early_share", "rows_per_value", "rows_per_bin", "parallel_share")

Named = tuple[str, str]  # law, constant


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, nargs="+", default=[DATA, ZOO])
    parser.add_argument("--out", type=Path, default=_PRIOR)
    parser.add_argument("--all", action="store_true", help="also on datasets held out")
    parser.add_argument("--laws", nargs="+", default=[], help="only these; others stay as they are")
    given = parser.parse_args()
    records = [
        r
        for path in given.data
        for r in usable(read_parquet(path))
        if r.outcome is Outcome.SUCCEEDED and (given.all or not is_held_out(r))
    ]
    apart = [[r for r in records if fold_of(group_of(r)) != fold] for fold in range(FOLDS)]
    wanted = frozenset(given.laws)
    with processes() as several:
        whole, *parts = several.mapped(
            fit_constants, [records, *apart], repeat(constants()), repeat(wanted)
        )
    found = spreads(records, parts)
    kept = {name: spread for name, spread in found.items() if not wanted or name in wanted}
    whole["spreads"] = dict(whole["spreads"]) | kept
    given.out.write_text(as_json(whole))


def spreads(records: Sequence[Record], parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return by law how far it is off on datasets that its constants weren't fitted on.

    Parameters
    ----------
    records
        All of them.
    parts
        The constants fitted without one fold of the datasets after the other.
    """
    errors: dict[str, list[tuple[str, float, float]]] = {}
    for fold, part in enumerate(parts):
        fitted = part | {"work_factor": 1.0}
        for record in [r for r in records if fold_of(group_of(r)) == fold]:
            fit = describe(record.request)
            guessed = unheard(record.request)
            for name, taken in (
                (law_name(fit), fit),
                ("guessed" if guessed.family.guessed else "", guessed),
                ("generic", _as_generic(fit)),
            ):
                cost = cost_of(taken, fitted)
                law = law_of(Quantity.RUNTIME, taken, cost)
                runtime, memory = _told(record)
                # What the process costs hides the law of short fits.
                of_runtime = (runtime - law.log_mean) / law.share if law.share > 0.5 else math.nan
                of_memory = memory - math.log(cost.memory_bytes)
                errors.setdefault(name, []).append((record.dataset, of_runtime, of_memory))
    errors.pop("", None)
    found = {}
    for name, told in sorted(errors.items()):
        runtime = _parts([(dataset, error) for dataset, error, _ in told if math.isfinite(error)])
        memory = _parts([(dataset, error) for dataset, _, error in told])
        if runtime is not None and memory is not None:
            found[name] = {"runtime": runtime, "memory": memory}
            print(f"{name:20} spreads: runtime {runtime}, memory {memory}", flush=True)
    return found


def _parts(errors: Sequence[tuple[str, float]]) -> list[float] | None:
    """Split errors into what is the law's own, the dataset's, the hyper-parameters'."""
    if len(errors) < 8:
        return None
    by_dataset: dict[str, list[float]] = {}
    for dataset, error in errors:
        by_dataset.setdefault(dataset, []).append(error)
    whole = _robust_sd([error for _, error in errors])
    within = [
        (error - float(np.mean(own))) * math.sqrt(len(own) / (len(own) - 1))
        for own in by_dataset.values()
        if len(own) > 1
        for error in own
    ]
    smooth = min(_robust_sd(within), whole) if len(within) >= 8 else 0.6 * whole
    of_dataset = math.sqrt(max(whole**2 - smooth**2, (0.3 * whole) ** 2))
    least = ((0.08, 0.4 * whole), (0.04, of_dataset), (0.04, smooth), (0.02, 0.15 * of_dataset))
    return [round(max(bound, sd), 3) for bound, sd in least]


def _robust_sd(errors: Sequence[float]) -> float:
    near: Array = np.asarray(errors)
    width = 1.4826 * float(np.median(np.abs(near)))
    # A mean of squares in which the farthest count as if three of those away.
    return float(np.sqrt(np.mean(np.clip(near, -3.0 * width, 3.0 * width) ** 2)))


def fit_constants(
    records: Sequence[Record], start: Mapping[str, Any], wanted: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return constants like those at the start that forecast records better.

    Parameters
    ----------
    records
        What was measured.
    start
        The constants to begin with.
    wanted
        The laws whose constants are set; all if empty.
    """
    found = json.loads(json.dumps(start))
    factor = found["work_factor"]
    found["work_factor"] = 1.0  # a campaign's fit has the machine to itself
    described = [(describe(r.request), r) for r in records]
    # What a process costs by itself is told by fits on a quiet machine, whose speed is 1.
    quiet = [(fit, r) for fit, r in described if not r.machine_speed]
    bases = [r.base_memory_bytes for _, r in quiet]
    if bases and not wanted:
        found["base_memory_bytes"] = int(np.median(bases))
    laws = sorted({law_name(fit) for fit, _ in described})

    def fitted(law: str, own: list[tuple[Described, Record]]) -> None:
        if not wanted or law in wanted:
            _fit_law(law, own, found)

    for _ in range(2):  # what each leaves, the others take up
        fitted("generic", [(_as_generic(fit), r) for fit, r in described])
        for law in laws:
            fitted(law, [(fit, r) for fit, r in described if law_name(fit) == law])
        fitted("process", quiet)
        fitted("steps", [(fit, r) for fit, r in described if len(fit.steps) > 1])
    found["work_factor"] = factor
    return dict(found)


def unheard(request: Request) -> Described:
    """Return a request as that of an algorithm whose name tells nothing."""
    return describe(replace(request, algorithm="unheard.Of", bases=()))


def _as_generic(fit: Described) -> Described:
    return replace(fit, family=FAMILIES["generic"])


def _fit_law(law: str, fits: list[tuple[Described, Record]], found: dict[str, Any]) -> None:
    names = [name for name in found[law] if not name.endswith(_FIXED_ENDINGS)]
    if len(fits) < 5 or not names:
        return
    is_power = np.array([name.endswith("_power") for name in names])
    begin: Array = np.array(
        [
            found[law][name] if power else math.log(found[law][name])
            for name, power in zip(names, is_power, strict=True)
        ]
    )
    hold = np.where(is_power, _HOLD_POWER, _HOLD)
    told = [_told(record) for _, record in fits]
    values = np.array([runtime for runtime, _ in told] + [memory for _, memory in told])
    sds = np.array(
        [math.sqrt(chance_variance(Quantity.RUNTIME, 0.08, runtime)) / 0.08 for runtime, _ in told]
        + [0.4] * len(fits)
    )

    def residuals(at: Array) -> Array:
        changed = found | {law: _filled(found[law], names, is_power, at)}
        costs = [cost_of(fit, changed) for fit, _ in fits]
        error: Array = (_laws(fits, costs) - values) / sds
        # Soft beyond what is usual, so that a few odd datasets don't bend the law.
        soft: Array = np.sign(error) * _SOFT * np.sqrt(2 * (np.sqrt(1 + (error / _SOFT) ** 2) - 1))
        scaled: Array = np.concatenate([soft, hold * (at - begin)])
        return scaled

    bounds = np.where(is_power, 1.5, 12.0)
    best = least_squares(
        residuals,
        begin,
        bounds=(begin - bounds, begin + bounds),
        max_nfev=40,
        jac_sparsity=_sparsity(law, names, [fit for fit, _ in fits], found),
    )
    found[law] = _filled(found[law], names, is_power, best.x)


class _Noting(dict[str, float]):
    """Constants that note which of them were asked for."""

    def __init__(self, constants: Mapping[str, float]) -> None:
        super().__init__(constants)
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> float:
        self.asked.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)


def _sparsity(
    law: str, names: Sequence[str], fits: Sequence[Described], found: Mapping[str, Any]
) -> sparse.csr_array:
    """Return which residuals depend on which constants: a law of many has few for each fit."""
    depends = sparse.lil_array((2 * len(fits) + len(names), len(names)), dtype=np.int8)
    column = {name: number for number, name in enumerate(names)}
    for row, fit in enumerate(fits):
        noting = _Noting(found[law])
        cost_of(fit, dict(found) | {law: noting})
        for name in noting.asked & column.keys():
            depends[row, column[name]] = depends[len(fits) + row, column[name]] = 1
    for name, number in column.items():
        depends[2 * len(fits) + column[name], number] = 1
    return depends.tocsr()


def _laws(fits: Sequence[tuple[Described, Record]], costs: Sequence[FitCost]) -> Array:
    pairs = list(zip(fits, costs, strict=True))
    runtime = [law_of(Quantity.RUNTIME, fit, cost).log_mean for (fit, _), cost in pairs]
    return np.array(runtime + [math.log(cost.memory_bytes) for cost in costs])


def _filled(
    old: Mapping[str, float], names: Sequence[str], is_power: Any, at: Array
) -> dict[str, float]:
    new = {
        name: float(value) if power else math.exp(float(value))
        for name, power, value in zip(names, is_power, at, strict=True)
    }
    return {name: new.get(name, value) for name, value in old.items()}


def _told(record: Record) -> tuple[float, float]:
    above = max(record.peak_memory_bytes - record.base_memory_bytes, 1e5)
    return math.log(record.runtime_s * (record.machine_speed or 1.0)), math.log(above)


def as_json(found: Mapping[str, Any]) -> str:
    """Return constants as a file: a line per law, three digits."""
    lines = []
    for name, value in found.items():
        if name == "spreads":
            rows = [f"    {json.dumps(key)}: {json.dumps(value[key])}" for key in sorted(value)]
            lines.append('  "spreads": {\n' + ",\n".join(rows) + "\n  }")
            continue
        if isinstance(value, Mapping):
            value = {key: float(f"{number:.3g}") for key, number in value.items()}
        lines.append(f"  {json.dumps(name)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    main()
