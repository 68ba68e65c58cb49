"""Judges the sizing model on the campaign's measured fits, by honest splits and side by side.

    python -m benchmarks.bench_sizing [--data FILE] [--json FILE] [--markdown]

Measures nothing: the fits were measured by ``benchmarks/campaign.py``. Disturbed fits are not
judged on; fits that reached a limit are learned from as "at least that much" and not judged on.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.baselines import BASELINES, Array, like_autogluon, log_costs
from benchmarks.judge_risk import brier_rows, events_of, plot, reliability_rows
from benchmarks.judging import COLUMNS, Forecasts, Row, as_table, judged
from benchmarks.parallel import Processes, processes
from benchmarks.splits import (
    Split,
    by_cpu_time,
    is_held_out,
    is_judged,
    larger_than_seen,
    leave_algorithm_out,
    leave_dataset_out,
    model_of,
    other_threads,
    pairs_of_folds,
    unknown_algorithm,
    usable,
)
from fitcast.history.codec import read_parquet
from fitcast.history.records import Estimate, Outcome, Record
from fitcast.sizing.learning.correction import SweepCorrection
from fitcast.sizing.learning.model import SizingModel

DATA = Path(__file__).parent / "data" / "campaign.parquet"
ZOO = DATA.with_name("zoo.parquet")
WRAPPERS = DATA.with_name("wrappers.parquet")

Table = list[Row]


def main() -> None:
    """Judge and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", action="store_true", help="print tables for the document")
    parser.add_argument("--picture", type=Path, help="SVG of how reliable risks are")
    given = parser.parse_args()
    start = time.perf_counter()
    measured = read_parquet(given.data)
    records = usable(measured)
    print(_summary(measured, records))
    tables = all_tables(records, given.picture) | cold_tables()
    for title, table in tables.items():
        print(f"\n{title}\n\n{as_table(table, markdown=given.markdown)}")
    print(f"\n{time.perf_counter() - start:.0f} s")
    if given.json:
        plain = {title: [_plain(row) for row in table] for title, table in tables.items()}
        given.json.write_text(json.dumps(plain, indent=1) + "\n")


def all_tables(records: Sequence[Record], picture: Path | None = None) -> dict[str, Table]:
    """Return the rows of every table, by its title; draw the reliability of risks if wanted."""
    with processes() as several:
        return _all_tables(records, picture, several)


def cold_tables() -> dict[str, Table]:
    """Return what the laws alone say of models that the campaign left out, by CPU time."""
    zoo, wrappers = (_cold(by_cpu_time(read_parquet(path))) for path in (ZOO, WRAPPERS))
    names = sorted({model_of(r) for r in wrappers.records})
    return {
        "Cold, by CPU time": [
            judged("zoo", zoo),
            judged("zoo, of datasets that the prior is not fitted on", zoo.only(is_held_out)),
            judged("wrappers", wrappers),
            judged("wrappers, on datasets that nothing was set by", wrappers.only(is_held_out)),
        ],
        "Wrappers, cold": [
            judged(name, wrappers.only(lambda r, name=name: model_of(r) == name))  # type: ignore[misc]
            for name in names
        ],
    }


def _cold(records: Sequence[Record]) -> Forecasts:
    cold = Forecasts()
    cold.add(*forecast(SizingModel.prior().for_machine(1.0), records))
    return cold


def _all_tables(
    records: Sequence[Record], picture: Path | None, several: Processes
) -> dict[str, Table]:
    ways = (leave_dataset_out, leave_algorithm_out, unknown_algorithm, larger_than_seen)
    known, unknown, generic, larger, threads = (
        _learned(several, way(records)) for way in (*ways, other_threads)
    )
    prior = Forecasts()
    held_out = [r for r in records if is_held_out(r)]
    prior.add(*forecast(SizingModel.prior().for_machine(1.0), held_out))
    first, corrected = _after_one_fold(several, records)
    models = sorted({model_of(r) for r in known.records})
    by_model = [
        judged(name, known.only(lambda r, name=name: model_of(r) == name))  # type: ignore[misc]
        for name in models
    ]
    events = events_of(known)
    sizes = [(0.0, 0.1), (0.1, 0.3), (0.3, 1.0), (1.0, math.inf)]
    by_size = [
        judged(f"{low:g} to {high:g} s", known.only(lambda r, a=low, b=high: a <= r.runtime_s < b))  # type: ignore[misc]
        for low, high in sizes
    ]
    if picture is not None:
        plot(events, picture)
    return {
        "Splits": [
            judged("unseen dataset", known),
            judged("unseen dataset, of those the prior is not fitted on", known.only(is_held_out)),
            judged("prior only", prior),
            judged("unseen algorithm, family known", unknown),
            judged("unheard-of algorithm", generic),
            judged("data 10 × larger than seen", larger),
            judged("two threads, one seen", threads),
            judged("second fold, nothing seen of it", first),
            judged("second fold, after the first", corrected),
        ],
        "Unseen dataset, by model": [*by_model, judged("all", known)],
        "Unseen dataset, by runtime": by_size,
        "Unseen dataset, side by side": _side_by_side(several, records, leave_dataset_out, known),
        "Data 10 × larger than seen, side by side": _side_by_side(
            several, records, larger_than_seen, larger
        ),
        "Memory where AutoGluon has a formula": _beside_autogluon(known),
        "Memory at equal safety": _equally_safe(known),
        "From fold to fold": [_noise(records)],
        "Risks": brier_rows(events),
        "Risks, forecast and happened": reliability_rows(events),
    }


def _learned(several: Processes, splits: Iterable[Split]) -> Forecasts:
    """Forecast the test records of all splits, each in a process of its own."""
    together = Forecasts()
    for told in several.mapped(learned, splits):
        together.add(*told)
    return together


def learned(split: Split) -> tuple[list[Record], list[Estimate], float]:
    """Forecast the test records of a split with the prior trained on its training records."""
    return forecast(SizingModel.prior().train(split.train), split.test)


def forecast(
    model: SizingModel, records: Iterable[Record]
) -> tuple[list[Record], list[Estimate], float]:
    """Forecast records that succeeded, dataset by dataset; return the model's base memory too."""
    by_dataset: dict[str, list[Record]] = {}
    for record in records:
        if is_judged(record):
            by_dataset.setdefault(record.dataset, []).append(record)
    asked: list[Record] = []
    estimates: list[Estimate] = []
    for dataset, own in by_dataset.items():
        asked += own
        estimates += model.estimate([r.request for r in own], dataset=dataset)
    return asked, estimates, model.base_memory_bytes


def _after_one_fold(several: Processes, records: Sequence[Record]) -> tuple[Forecasts, Forecasts]:
    first, corrected = Forecasts(), Forecasts()
    for told in several.mapped(_pairs, leave_dataset_out(records)):
        for seen, asked, before, after, base in told:
            first.add([asked], [before], base)
            corrected.add([asked], [after], float(seen.base_memory_bytes))
    return first, corrected


def _pairs(split: Split) -> list[tuple[Record, Record, Estimate, Estimate, float]]:
    """Forecast second folds before and after the first of the same candidate was seen."""
    model = SizingModel.prior().train(split.train)
    told = []
    for seen, asked in pairs_of_folds(split.test):
        estimates = []
        for observe in (False, True):
            correction = SweepCorrection(
                model,
                {"seen": seen.request, "asked": asked.request},
                dataset=seen.dataset,
                candidates={"seen": 0, "asked": 0},
            )
            if observe:
                correction.observe("seen", seen)
            estimates.append(correction.estimates()["asked"])
        told.append((seen, asked, estimates[0], estimates[1], model.base_memory_bytes))
    return told


def _side_by_side(
    several: Processes,
    records: Sequence[Record],
    splits: Callable[[Sequence[Record]], Iterable[Split]],
    ours: Forecasts,
) -> Table:
    table = [judged("fitcast", ours)]
    parts = [
        Split(split.train, [r for r in split.test if is_judged(r)]) for split in splits(records)
    ]
    truth = log_costs([r for part in parts for r in part.test])
    for name, baseline in BASELINES.items():
        answers = several.mapped(baseline, [p.train for p in parts], [p.test for p in parts])
        runtime, memory = (np.concatenate(costs) for costs in zip(*answers, strict=True))
        table.append(_errors(name, runtime - truth[0], memory - truth[1]))
    return table


def _beside_autogluon(ours: Forecasts) -> Table:
    formula = like_autogluon(ours.records)
    kept = np.isfinite(formula)
    error = formula[kept] - log_costs(ours.records)[1][kept]
    has = {r.record_id for r, keep in zip(ours.records, kept, strict=True) if keep}
    fitcast = judged("fitcast", ours.only(lambda r: r.record_id in has))
    nothing = np.full(len(error), math.nan)
    return [fitcast, _errors("AutoGluon 1.6.3's formulas", nothing, error)]


def _equally_safe(ours: Forecasts) -> Table:
    """Scale both so that a twentieth of fits needs more than it is given; compare what is given.

    Ours is the P95, above what the process holds before; the formulas are of that alone. All fits
    are scaled by one factor, then those of each kind by their own.
    """
    formula = like_autogluon(ours.records)
    kept = np.flatnonzero(np.isfinite(formula))
    used = log_costs(ours.records)[1][kept]
    said = np.array([float(e.peak_memory_bytes_p95) for e in ours.estimates]) - np.array(ours.bases)
    ways = {"fitcast": np.log(np.maximum(said[kept], 1e5)), "AutoGluon 1.6.3": formula[kept]}
    packages = np.array([_package(ours.records[row]) for row in kept])
    table = [_given("all", name, way - used) for name, way in ways.items()]
    # Small fits need what any process needs, which most formulas leave out.
    large = used > math.log(_LARGE_BYTES)
    table += [_given("over 50 MB", name, (way - used)[large]) for name, way in ways.items()]
    for package in sorted(set(packages)):
        own = packages == package
        table += [_given(package, name, (way - used)[own]) for name, way in ways.items()]
    return table


_UNSAFE = 0.05
_LARGE_BYTES = 50e6


def _given(what: str, name: str, beyond: Array) -> Row:
    """Return how much more than needed is given, with a common factor to the wanted safety."""
    factor = -float(np.quantile(beyond, _UNSAFE))
    given = beyond + factor
    low, high = np.quantile(given, [0.1, 0.9])
    return {
        "": f"{what}: {name}",
        "fits": len(given),
        "above it": float((beyond < 0.0).mean()),
        "scaled by": math.exp(factor),
        "given/needed median": math.exp(float(np.median(given))),
        "given/needed mean": float(np.exp(given).mean()),
        "spread P90/P10": math.exp(float(high - low)),
    }


def _package(record: Record) -> str:
    name = record.request.algorithm.rpartition(".")[2]
    groups = {"LGBM": "LightGBM", "XGB": "XGBoost", "RandomForest": "forests"}
    groups |= {"ExtraTrees": "forests", "KNeighbors": "k-NN"}
    return next((group for start, group in groups.items() if name.startswith(start)), "linear")


def _noise(records: Sequence[Record]) -> Row:
    """Judge one fold as the forecast of the other: no forecast can be expected to do better."""
    pairs = pairs_of_folds(records)
    first, second = (log_costs([pair[i] for pair in pairs]) for i in (0, 1))
    return _errors("one fold as the other's forecast", first[0] - second[0], first[1] - second[1])


def _errors(name: str, runtime: Array, memory: Array) -> Row:
    row: Row = {"": name, "fits": len(runtime)}
    for prefix, error in (("runtime", np.abs(runtime)), ("memory", np.abs(memory))):
        row[f"{prefix} median"] = math.expm1(float(np.median(error)))
        row[f"{prefix} P90"] = math.exp(float(np.quantile(error, 0.9)))
        row[f"{prefix} within 2 ×"] = float((error <= math.log(2.0)).mean())
    if np.isnan(runtime).all():
        row = {key: value for key, value in row.items() if "runtime" not in key}
    return row


def _summary(measured: Sequence[Record], records: Sequence[Record]) -> str:
    outcomes = {str(o): sum(r.outcome is o for r in measured) for o in Outcome}
    ended = ", ".join(f"{n} {o}" for o, n in outcomes.items() if n)
    models = len({model_of(r) for r in measured})
    datasets = len({r.dataset for r in measured})
    return (
        f"{len(measured)} fits measured ({ended}) of {models} kinds of models on {datasets} "
        f"datasets, {sum(r.runtime_s for r in measured):.0f} s in all; {len(records)} of them "
        f"learned from, {sum(is_judged(r) for r in records)} judged on"
    )


def _plain(row: Row) -> dict[str, Any]:
    return {
        name or "name": round(value, 4) if isinstance(value, float) else value
        for name, value in row.items()
        if not (isinstance(value, float) and math.isnan(value))
    }


__all__ = ["COLUMNS", "all_tables", "forecast", "learned", "main"]

if __name__ == "__main__":
    main()
