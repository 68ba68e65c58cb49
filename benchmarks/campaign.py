"""Measures real fits of many algorithms on many datasets, for the prior and for judging it.

    python -m benchmarks.campaign --minutes 25 --out campaign.parquet
    python -m benchmarks.campaign --minutes 5 --out campaign.parquet --again

Draws datasets and models from a seed, so that the fits measured in any time are a fair sample, and
appends their records to a Parquet file; called again, it goes on where it stopped. Each fit runs in
a process of its own as on a worker, one at a time. Fits that the prior thinks too long or too large
are left out; one that reaches the deadline or the memory limit is kept as such.

A record's `scores` hold no scores but `other_cpu_s`: the CPU seconds that other processes took
meanwhile. A fit waits a little for a quiet machine; disturbed ones are measured again, and the
quietest run is kept. `--again` takes those that were disturbed nevertheless. `--describe` measures
nothing: it makes the requests of the records kept anew, once requests say more than they did.
"""

import argparse
import itertools
import math
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.campaign_data import (
    COLLECTION_SIZE,
    DataPlan,
    draw,
    draw_large,
    draw_small,
    draw_wrapped,
    make,
)
from benchmarks.campaign_models import draw_model
from benchmarks.drawing import Rng
from benchmarks.measuring import running
from benchmarks.records import attempt_record
from benchmarks.wrapper_models import draw_wrapper
from benchmarks.zoo_models import draw_zoo_model
from fitcast.errors import FitcastError
from fitcast.flights import load_flights
from fitcast.history.codec import read_parquet, write_parquet
from fitcast.history.records import Outcome, Record, Request
from fitcast.sizing.learning.model import SizingModel
from fitcast.trainer.attempt.runner import AttemptRunner
from fitcast.trainer.attempt.spec import AttemptSpec, Measured
from fitcast.trainer.machine_speed import machine_speed
from fitcast.trainer.sealing import new_key, seal
from fitcast.trainer.sweep.prepared import Fit, PreparedSweep, Sweep
from fitcast.trainer.sweep.requests import Shape, request_for, shape_of

_MODELS_PER_DATASET = 20  # drawn; about half are measured
_SECOND_FOLD = 0.25  # share of candidates of which two folds are measured
_WAITED = 0.07  # share of its runtime that a fit with one thread may have waited for a core
_OTHERS = 0.2  # CPUs that others may take from a fit with several threads
_OWN_S = 0.15  # CPU seconds that go into starting and ending a fit, by our own processes
_TRIES = 2
_FEWEST_FLIGHTS = 50_000  # of the seed workload's records
_FRESH = frozenset(
    (
        *("distinct_values", "categorical_columns", "missing_share", "condition_decades"),
        "scale_decades",
        *("correlation_decades", "bases", "library_version"),
    )
)
_PATIENCE = 20  # times that it is looked whether the machine is quiet, before a fit


@dataclass(frozen=True, slots=True)
class Collection:
    """Which datasets and models are drawn."""

    seed: int
    plan: Callable[[int, int], DataPlan]
    model: Callable[[DataPlan, Rng], tuple[str, Any]]
    one_thread: bool  # what disturbs such a fit shows in its CPU time: it needn't wait for quiet
    shortest_s: float = 0.0  # by the prior's median; shorter ones are left out
    longest_s: float = 10.0
    deadline_s: float = 40.0
    limit_bytes: int = 2 * 2**30
    share: float = 1.0  # of the fits drawn, with one thread: fewer are of more datasets


COLLECTIONS = {
    "usual": Collection(0, draw, draw_model, one_thread=False),
    "zoo": Collection(1, draw_small, draw_zoo_model, one_thread=True),
    "wrappers": Collection(
        3, draw_wrapped, draw_wrapper, one_thread=True, longest_s=3.0, share=0.35
    ),
    "large": Collection(
        2,
        draw_large,
        draw_model,
        one_thread=True,
        shortest_s=40.0,
        longest_s=300.0,
        deadline_s=900.0,
        limit_bytes=8 * 2**30,
    ),
}


def main() -> None:
    """Measure until time is up."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--collection", choices=COLLECTIONS, default="usual")
    parser.add_argument("--again", action="store_true", help="measure disturbed fits again")
    parser.add_argument("--describe", action="store_true", help="only make requests anew")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    chosen = COLLECTIONS[given.collection]
    if given.describe:
        _write(_described_again(read_parquet(given.out), chosen), given.out)
        return
    end = time.monotonic() + 60.0 * given.minutes
    records = read_parquet(given.out) if given.out.exists() else []
    before = len(records)
    known = {r.record_id: r for r in records}
    # The datasets before the last are done; of the last, what isn't there yet.
    last = max((i for r in records if (i := index_of(r)) < _FEWEST_FLIGHTS), default=0)
    if given.again:
        disturbed_ones = {index_of(r) for r in records if is_disturbed(r)}
        indices: Iterable[int] = sorted(i for i in disturbed_ones if i < _FEWEST_FLIGHTS)
    else:
        indices = itertools.count(last)
    with running() as runner:
        for index in indices:
            if time.monotonic() > end:
                break
            done = {key for key, r in known.items() if not (given.again and is_disturbed(r))}
            for record in _measured(runner, chosen, index, done, end):
                if not given.again or _better(record, known.get(record.record_id)):
                    known[record.record_id] = record
            _write(known.values(), given.out)
    records = list(known.values())
    disturbed = sum(is_disturbed(r) for r in records)
    print(
        f"{len(records)} records ({len(records) - before} new), "
        f"{sum(r.runtime_s for r in records):.0f} s of fits, {disturbed} disturbed"
    )


def _write(records: Iterable[Record], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_suffix(".new")
    write_parquet(records, written)
    written.replace(path)


def _described_again(records: Iterable[Record], chosen: Collection) -> Iterator[Record]:
    """Return the records, what their requests say of dataset and library made anew."""
    by_index: dict[int, list[Record]] = {}
    for record in records:
        by_index.setdefault(index_of(record), []).append(record)
    for index, own in sorted(by_index.items()):
        # Of the seed workload, the number is that of its flights.
        if index >= _FEWEST_FLIGHTS:
            X, y = load_flights(index)
        else:
            X, y = make(chosen.plan(chosen.seed, index), chosen.seed)
        shape = shape_of(X, y)
        for record in own:
            if record.request.columns != shape.columns:
                raise ValueError(f"{record.dataset} isn't what its number gives now")
            yield replace(record, request=_described(record.request, shape))


def _described(request: Request, shape: Shape) -> Request:
    module, _, name = request.algorithm.rpartition(".")
    estimator = getattr(import_module(module), name)()
    fresh = request_for(estimator, request.params, shape, None, None)
    told = {item.name: getattr(fresh, item.name) for item in fields(Request) if item.name in _FRESH}
    return replace(request, **told)


def is_disturbed(record: Record) -> bool:
    """Tell whether other work on the machine made a fit's runtime longer."""
    if record.request.threads == 1:
        return record.runtime_s - record.cpu_s > 0.008 + _WAITED * record.runtime_s
    return record.scores.get("other_cpu_s", 0.0) > _OWN_S + _OTHERS * record.runtime_s


def index_of(record: Record) -> int:
    """Return the number of a record's dataset."""
    number = int(record.dataset.rpartition(":")[2])
    return number if number >= _FEWEST_FLIGHTS else number % COLLECTION_SIZE


def _better(record: Record, before: Record | None) -> bool:
    if before is None:
        return False  # another time it would not have been chosen either
    return not is_disturbed(record) or record.runtime_s < before.runtime_s


@dataclass(frozen=True, slots=True)
class _Asked:
    """One fit that is to be measured."""

    fit: Fit
    request: Request
    record_id: str
    chance: float  # it is measured if this is below its share


def _measured(
    runner: AttemptRunner, chosen: Collection, index: int, done: set[str], end: float
) -> Iterator[Record]:
    plan = chosen.plan(chosen.seed, index)
    prepared, asked = _asked(plan, chosen)
    asked = [one for one in asked if one.record_id not in done]
    if prepared is None or not asked:
        return
    key = new_key()
    with tempfile.TemporaryDirectory() as folder:
        key_file = Path(folder) / "key"
        key_file.write_bytes(key)
        uri = str(Path(folder) / "data.sealed")
        dataset_id = seal(
            prepared.content,
            uri,
            key,
            workflow_id=prepared.submission.name,
            attachments=prepared.attachments,
        ).dataset_id
        runner.open_dataset(dataset_id, uri, key_file)
        try:
            for one in asked:
                if time.monotonic() > end:
                    return
                yield _quietest(runner, prepared, one, dataset_id, plan, chosen)
        finally:
            runner.close_dataset(dataset_id)


def _asked(plan: DataPlan, chosen: Collection) -> tuple[PreparedSweep | None, list[_Asked]]:
    """Return the sweep of a dataset and which of its fits are measured, in a random order."""
    sweep, possible = _possible(plan, chosen)
    prior = SizingModel.prior()
    asked: list[_Asked] = []
    for one in possible:
        (estimate,) = prior.estimate([one.request])
        forecast_s = estimate.runtime_s_p50
        # Tiny fits tell little each, long ones cost much: fewer of both.
        taken = math.sqrt(min(1.0, forecast_s / 0.08)) * min(1.0, 0.4 / forecast_s) ** 0.8
        fitting = chosen.shortest_s <= forecast_s < chosen.longest_s
        fitting &= estimate.peak_memory_bytes_p50 < chosen.limit_bytes / 1.5
        if fitting and one.chance < (chosen.share if chosen.one_thread else taken):
            asked.append(one)
    rng = np.random.default_rng((chosen.seed, 8, plan.index))
    return sweep, [asked[i] for i in rng.permutation(len(asked))]


def _possible(plan: DataPlan, chosen: Collection) -> tuple[PreparedSweep | None, list[_Asked]]:
    """Return the sweep of a dataset and the fits of which some are measured."""
    rng = np.random.default_rng((chosen.seed, 7, plan.index))
    X, y = make(plan, chosen.seed)
    order = [rng.permutation(plan.rows) for _ in range(2)]
    cut = max(1, round(plan.test_share * plan.rows))
    folds = [(rows[cut:], rows[:cut]) for rows in order]
    models: dict[str, Any] = {}
    for number in range(_MODELS_PER_DATASET):
        name, estimator = chosen.model(plan, rng)
        models[f"{name} {number}"] = estimator
    sweep = _sweep(plan, X, y, folds, models)
    if sweep is None:
        return None, []
    second = {c.index for c in sweep.candidates if rng.random() < _SECOND_FOLD}
    several = 0.0 if chosen.one_thread else 0.33
    threads = {c.index: int(rng.random() < several) + 1 for c in sweep.candidates}
    chance = {c.index: rng.random() for c in sweep.candidates}
    return sweep, [
        _Asked(
            fit,
            replace(fit.request, threads=threads[fit.candidate.index]),
            f"{sweep.submission.name}-{fit.fit_id}",
            chance[fit.candidate.index],
        )
        for fit in sweep.fits
        if fit.fold == 0 or fit.candidate.index in second
    ]


def _sweep(
    plan: DataPlan, X: Any, y: Any, folds: list[Any], models: dict[str, Any]
) -> PreparedSweep | None:
    """Return the prepared sweep without those models that don't take the data."""
    scoring = "roc_auc" if plan.target == "binary" and plan.index % 3 == 0 else None

    def prepared(chosen: dict[str, Any]) -> PreparedSweep:
        name = f"campaign-{plan.collection * COLLECTION_SIZE + plan.index}"
        return Sweep(chosen, X, y, cv=folds, refit=False, scoring=scoring, name=name).prepare()

    try:
        return prepared(models)
    except FitcastError:
        kept = {}
        for name, estimator in models.items():
            try:
                prepared({name: estimator})
            except FitcastError as error:
                print(f"{plan.name}: without {name}: {error}"[:160], flush=True)
            else:
                kept[name] = estimator
        return prepared(kept) if kept else None


def _quietest(
    runner: AttemptRunner,
    prepared: PreparedSweep,
    one: _Asked,
    dataset_id: str,
    plan: DataPlan,
    chosen: Collection,
) -> Record:
    best: Record | None = None
    for _ in range(1 if chosen.one_thread else _TRIES):
        if not chosen.one_thread:
            _wait_for_quiet(one.request.threads)
        before_s = _busy_s()
        measured = runner.run_one(
            AttemptSpec(
                workflow_id=prepared.submission.name,
                fit_id=one.fit.fit_id,
                attempt=1,
                dataset_id=dataset_id,
                job=prepared.job(one.fit.candidate.index),
                fold=one.fit.fold,
                threads=one.request.threads,
                memory_limit_bytes=chosen.limit_bytes,
                deadline_s=chosen.deadline_s,
            )
        )
        others_s = max(0.0, _busy_s() - before_s - measured.cpu_s)
        record = _record(prepared, one, measured, plan, others_s, chosen)
        quieter = best is None or record.runtime_s < best.runtime_s
        best = record if best is None or quieter else best
        if record.outcome is not Outcome.SUCCEEDED or not is_disturbed(record):
            break
        if record.runtime_s > 4.0:
            break  # again would take too long
    assert best is not None
    print(
        f"{best.dataset:22} {best.candidate:26} {best.request.rows_train:>8,} × "
        f"{best.request.columns:<5,} {best.request.threads} {best.runtime_s:8.3f} s "
        f"{(best.peak_memory_bytes - best.base_memory_bytes) / 2**20:7.1f} Mi "
        f"{best.scores['other_cpu_s']:5.2f} {best.outcome} {best.error_message[:60]}",
        flush=True,
    )
    return best


def _wait_for_quiet(threads: int) -> None:
    """Wait until so many CPUs are free but for work of low priority, which gives way."""
    cpus = os.cpu_count() or 1
    for _ in range(_PATIENCE):
        before_s = _busy_s(low_priority=False)
        time.sleep(0.05)
        if _busy_s(low_priority=False) - before_s < 0.05 * max(0, cpus - threads) + 0.03:
            return


def _busy_s(*, low_priority: bool = True) -> float:
    """Return the seconds that all CPUs were busy since the machine's start."""
    numbers = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    user, nice, system, _, _, *others = numbers
    busy = user + system + sum(others) + (nice if low_priority else 0)
    return busy / os.sysconf("SC_CLK_TCK")


def _record(
    prepared: PreparedSweep,
    one: _Asked,
    measured: Measured,
    plan: DataPlan,
    others_s: float,
    chosen: Collection,
) -> Record:
    return attempt_record(
        one.record_id,
        one.request,
        measured,
        workflow=prepared.submission.name,
        dataset=plan.name,
        candidate=one.fit.candidate.label,
        candidate_index=one.fit.candidate.index,
        fold=one.fit.fold,
        memory_limit_bytes=chosen.limit_bytes,
        deadline_s=chosen.deadline_s,
        scores={"other_cpu_s": round(others_s, 3)},
        machine_speed=_speed(),
    )


@cache
def _speed() -> float:
    return machine_speed()


if __name__ == "__main__":
    main()
