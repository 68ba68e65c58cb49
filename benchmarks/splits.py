"""Honest ways to split the campaign's records into what was seen and what is forecast.

In: which records a model may learn from before it forecasts others. Not in: models, metrics.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from benchmarks.campaign import is_disturbed
from fitcast.history.records import Outcome, Record
from fitcast.sizing.laws.features import describe

FOLDS = 5
_SMALL_CELLS = 100_000
_LEAST_SEEN = 5
_UNCOUNTED_S = 0.004  # of starting a fit, in which its process isn't there yet
_CORRECTED = {"corrected": 1.0}
_HELD_OUT = 4  # one of so many groups of datasets


@dataclass(frozen=True, slots=True)
class Split:
    """What may be learned from, and what is then forecast."""

    train: list[Record]
    test: list[Record]


def usable(records: Sequence[Record]) -> list[Record]:
    """Return the records that something can be learned from.

    A fit with one thread that waited for a core took about its CPU time on a quiet machine; it
    is marked, to be learned from and not judged on. Disturbed ones with more threads are left out.
    """
    kept = []
    for record in records:
        if record.outcome is Outcome.FAILED:
            continue
        if is_disturbed(record):
            if record.request.threads > 1:
                continue
            record = replace(record, runtime_s=record.cpu_s + _UNCOUNTED_S, scores=_CORRECTED)
        kept.append(record)
    return kept


def by_cpu_time(records: Sequence[Record]) -> list[Record]:
    """Return fits with one thread as they would have been on the reference machine, undisturbed.

    What other processes take of the cores shows in the runtime and not in the CPU time.
    """
    return [
        replace(
            record,
            runtime_s=(record.cpu_s + _UNCOUNTED_S) * (record.machine_speed or 1.0),
            cpu_wait_s=0.0,
            machine_speed=1.0,
        )
        for record in records
        if record.outcome is Outcome.SUCCEEDED and record.cpu_s is not None
    ]


def is_judged(record: Record) -> bool:
    """Tell whether forecasts are judged on a record: it succeeded and nothing disturbed it."""
    return record.outcome is Outcome.SUCCEEDED and record.scores != _CORRECTED


def group_of(record: Record) -> str:
    """Return the source of a record's dataset: samples of one real dataset stay together."""
    return record.dataset.partition(":")[0]


def model_of(record: Record) -> str:
    """Return the campaign's name of a record's model, without its number."""
    return record.candidate.rpartition(" ")[0]


def is_held_out(record: Record) -> bool:
    """Tell whether the shipped prior was fitted without this record's dataset."""
    return zlib.crc32(group_of(record).encode()) % _HELD_OUT == 0


def fold_of(text: str, folds: int = FOLDS) -> int:
    """Return a number below ``folds`` for a text, the same everywhere."""
    return zlib.crc32(f"fold {text}".encode()) % folds


def leave_dataset_out(records: Sequence[Record]) -> Iterator[Split]:
    """Forecast fits on datasets of which nothing was seen."""
    for fold in range(FOLDS):
        yield Split(
            [r for r in records if fold_of(group_of(r)) != fold],
            [r for r in records if fold_of(group_of(r)) == fold],
        )


def leave_algorithm_out(records: Sequence[Record]) -> Iterator[Split]:
    """Forecast fits of algorithms of which nothing was seen, by the law of their family."""
    for fold in range(FOLDS):
        yield Split(
            [r for r in records if fold_of(_class_of(r)) != fold],
            [r for r in records if fold_of(_class_of(r)) == fold],
        )


def unknown_algorithm(records: Sequence[Record]) -> Iterator[Split]:
    """Forecast fits of algorithms that no law is known of either."""
    for split in leave_algorithm_out(records):
        yield Split(split.train, [_renamed(r) for r in split.test])


def larger_than_seen(records: Sequence[Record]) -> Iterator[Split]:
    """Forecast fits on at least ten times the cells of the algorithm's largest fit seen."""
    small = [r for r in records if _cells(r) <= _SMALL_CELLS]
    largest: dict[str, float] = {}
    seen: dict[str, int] = {}
    for record in small:
        kind = describe(record.request).kind
        largest[kind] = max(largest.get(kind, 0.0), _cells(record))
        seen[kind] = seen.get(kind, 0) + 1
    test = []
    for record in records:
        kind = describe(record.request).kind
        if seen.get(kind, 0) >= _LEAST_SEEN and _cells(record) >= 10.0 * largest[kind]:
            test.append(record)
    yield Split(small, test)


def other_threads(records: Sequence[Record]) -> Iterator[Split]:
    """Forecast fits with two threads on unseen datasets when one thread was seen only."""
    for split in leave_dataset_out(records):
        yield Split(
            [r for r in split.train if r.request.threads == 1],
            [r for r in split.test if r.request.threads == 2],
        )


def pairs_of_folds(records: Sequence[Record]) -> list[tuple[Record, Record]]:
    """Return the records of candidates of which two folds succeeded: first fold, second."""
    by_candidate: dict[tuple[str, str], dict[int, Record]] = {}
    for record in records:
        if is_judged(record):
            by_candidate.setdefault((record.workflow_id, record.candidate), {})[record.fold] = (
                record
            )
    return [(folds[0], folds[1]) for folds in by_candidate.values() if len(folds) == 2]


def _cells(record: Record) -> float:
    return float(record.request.rows_train * record.request.columns)


def _class_of(record: Record) -> str:
    name = record.request.algorithm.rpartition(".")[2]
    for ending in ("Classifier", "Regressor", "CV"):
        name = name.removesuffix(ending)
    return name


def _renamed(record: Record) -> Record:
    # No part of the name tells what it is; its hyper-parameters are called as they are.
    name = f"unheard.Of{fold_of(_class_of(record), 10**6)}"
    request = replace(record.request, algorithm=name, bases=())
    return replace(record, request=request)
