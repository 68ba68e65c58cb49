"""Judges runtime forecasts on fits that others measured, on machines that nobody here has seen.

    python -m benchmarks.others_fits FOLDER [--all] [--markdown]

FOLDER holds three files of TabRepo (github.com/autogluon/tabrepo, Apache-2.0, ``data/`` at commit
c027dbd): ``results/lightgbm/results_ranked_by_dataset_valid.csv``, ``metadata/task_metadata.csv``,
``configs/configs_lightgbm.json``, without their folders. None of it is part of this project, and
no constant was fitted on it.

In: reading the table, whole datasets left out, one setting of a dataset seen. Not in: the fits of
our own campaign (:mod:`benchmarks.bench_sizing`).

The fits are LightGBM's, stopped early, of 104 settings on 93 datasets: every fifth setting is
judged on, or with ``--all`` each. What a user would know is asked with: rows, columns, classes,
settings, at most 10,000 rounds, patience.
"""

import argparse
import csv
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.baselines import ridge_runtime
from benchmarks.judging import Row, as_table
from benchmarks.parallel import processes
from benchmarks.splits import FOLDS, Split, fold_of
from fitcast.history.records import Estimate, Outcome, Record, Request
from fitcast.sizing.learning.correction import SweepCorrection
from fitcast.sizing.learning.model import SizingModel

_EVERY = 5
_SEEN_FIRST = 3  # settings, each of which is the one seen in its turn
_TRAIN_SHARE = 0.9  # OpenML's first of ten folds
_MOST_ROUNDS = 10_000  # AutoGluon's num_boost_round
_MOST_PATIENCE, _LEAST_PATIENCE, _PATIENT_ROWS = 300, 20, 10_000  # its rounds without a gain
_LEARNING_RATE = 0.05  # its default
_MOST_VALUES = 256  # of a column, as requests count them; the table has those of words alone
_EPOCH = datetime(2022, 9, 30, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Judged:
    """A fit, what was forecast of it, and what ridge regression says."""

    record: Record
    estimate: Estimate
    ridge_s: float = math.nan


def main() -> None:
    """Judge and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--all", action="store_true", help="judge every setting, not each fifth")
    parser.add_argument("--markdown", action="store_true", help="print a table for the document")
    given = parser.parse_args()
    records = read_tabrepo(given.folder, every=1 if given.all else _EVERY)
    datasets = len({r.dataset for r in records})
    took = [r.runtime_s for r in records]
    print(f"{len(records)} fits on {datasets} datasets, {min(took):.2f} to {max(took):.0f} s")
    print(as_table(tables(records), COLUMNS, markdown=given.markdown))


COLUMNS = {
    "fits": "{:,.0f}",
    "median": "{:.0%}",
    "P90": "{:.2f} ×",
    "within 2 ×": "{:.0%}",
    "within 3 ×": "{:.0%}",
    "in P10–P90": "{:.0%}",
    "bias": "{:+.0%}",
}


def read_tabrepo(folder: Path, *, every: int = 1) -> list[Record]:
    """Return the records of TabRepo's table of LightGBM fits.

    Parameters
    ----------
    folder
        With the three files.
    every
        Of the settings in the order of their names, every so many-th.
    """
    with (folder / "results_ranked_by_dataset_valid.csv").open(newline="") as file:
        fits = list(csv.DictReader(file))
    with (folder / "task_metadata.csv").open(newline="") as file:
        tasks = {row["tid"]: row for row in csv.DictReader(file)}
    settings = json.loads((folder / "configs_lightgbm.json").read_text())
    chosen = set(sorted({row["framework"] for row in fits})[::every])
    records = []
    for number, row in enumerate(fits):
        if row["framework"] in chosen and row["dataset"] in tasks:
            params = settings[row["framework"]]["hyperparameters"]
            records.append(_record(number, row, tasks[row["dataset"]], params))
    return records


def _record(
    number: int, fit: dict[str, str], task: dict[str, str], params: dict[str, Any]
) -> Record:
    rows = round(_TRAIN_SHARE * float(task["NumberOfInstances"]))
    columns = int(float(task["NumberOfFeatures"])) - 1  # without the target
    classes = int(float(task["NumberOfClasses"]))
    patience = max(_LEAST_PATIENCE, round(_MOST_PATIENCE * min(1.0, _PATIENT_ROWS / rows)))
    own = {name: value for name, value in params.items() if name != "ag_args"}
    symbolic = min(columns, int(float(task["NumberOfSymbolicFeatures"])) - (classes > 0))
    values = float(task["MaxNominalAttDistinctValues"] or _MOST_VALUES)
    counted = symbolic * min(_MOST_VALUES, values) + (columns - symbolic) * _MOST_VALUES
    target = "regression" if classes == 0 else "binary" if classes == 2 else "multiclass"
    at = _EPOCH + timedelta(seconds=number)
    return Record(
        record_id=f"tabrepo-{number}",
        workflow_id=f"tabrepo-{fit['dataset']}",
        workflow_name="tabrepo",
        dataset=f"tabrepo-{fit['dataset']}",
        candidate=fit["framework"],
        candidate_index=number,
        fold=0,
        attempt=1,
        request=Request(
            algorithm="lightgbm.LGBMClassifier" if classes else "lightgbm.LGBMRegressor",
            params={
                "learning_rate": _LEARNING_RATE,
                "n_estimators": _MOST_ROUNDS,
                "early_stopping_round": patience,
                **own,
            },
            rows_train=rows,
            rows_test=0,
            columns=columns,
            nonzeros=rows * columns,
            data_bytes=8 * rows * (columns + 1),
            dtype="mixed",
            target=target,
            classes=classes,
            distinct_values=int(counted),
            categorical_columns=symbolic,
            missing_share=min(1.0, float(task["NumberOfMissingValues"]) / (rows * columns)),
        ),
        estimate=None,
        outcome=Outcome.SUCCEEDED,
        runtime_s=float(fit["time_train_s"]),
        cpu_s=None,
        peak_memory_bytes=None,
        base_memory_bytes=None,
        memory_limit_bytes=0,
        deadline_s=None,
        pool="tabrepo",
        worker="",
        host="",
        started_at=at,
        ended_at=at,
    )


def tables(records: Sequence[Record]) -> list[Row]:
    """Return a row for each way of judging."""
    with processes() as several:
        told = several.mapped(_judged_split, splits(records))
    unseen = [each for whole, _ in told for each in whole]
    seen = [each for _, one in told for each in one]
    cold = _cold(records)
    return [
        row_of("prior only", cold),
        row_of("whole datasets left out", unseen),
        ridge_row("– ridge on logarithms", unseen),
        row_of("one setting of the dataset seen", seen),
        ridge_row("– ridge on logarithms", seen),
    ]


def splits(records: Sequence[Record]) -> Iterator[Split]:
    """Leave a fifth of the datasets out, one fifth after the other."""
    for fold in range(FOLDS):
        yield Split(
            [r for r in records if fold_of(r.dataset) != fold],
            [r for r in records if fold_of(r.dataset) == fold],
        )


def _cold(records: Sequence[Record]) -> list[Judged]:
    estimates = SizingModel.prior().estimate([r.request for r in records])
    return [Judged(r, e) for r, e in zip(records, estimates, strict=True)]


def _judged_split(split: Split) -> tuple[list[Judged], list[Judged]]:
    model = SizingModel.prior().train(split.train)
    whole: list[Judged] = []
    one: list[Judged] = []
    straight = np.exp(ridge_runtime(split.train, split.test))
    ridge_s = dict(zip((r.record_id for r in split.test), straight.tolist(), strict=True))
    for own in _by_dataset(split.test):
        estimates = model.estimate([r.request for r in own], dataset=own[0].dataset)
        whole += [Judged(r, e, ridge_s[r.record_id]) for r, e in zip(own, estimates, strict=True)]
        for first in np.linspace(0, len(own) - 1, _SEEN_FIRST).astype(int).tolist():
            one += _after_one(model, own, first, ridge_s)
    return whole, one


def _after_one(
    model: SizingModel, own: Sequence[Record], first: int, ridge_s: dict[str, float]
) -> list[Judged]:
    """Forecast a dataset's other settings after one of them was seen."""
    correction = SweepCorrection(
        model,
        {r.record_id: r.request for r in own},
        dataset=own[0].dataset,
        candidates={r.record_id: r.candidate_index for r in own},
    )
    seen = own[first]
    correction.observe(seen.record_id, seen)
    moved = seen.runtime_s / ridge_s[seen.record_id]
    by_id = {r.record_id: r for r in own}
    return [
        Judged(by_id[key], estimate, moved * ridge_s[key])
        for key, estimate in correction.estimates().items()
        if key != seen.record_id
    ]


def _by_dataset(records: Iterable[Record]) -> list[list[Record]]:
    by: dict[str, list[Record]] = {}
    for record in records:
        by.setdefault(record.dataset, []).append(record)
    return list(by.values())


def row_of(name: str, judged: Sequence[Judged]) -> Row:
    """Return the metrics of our forecasts as a row."""
    inside = [
        e.estimate.runtime_s_p10 <= e.record.runtime_s <= e.estimate.runtime_s_p90 for e in judged
    ]
    row = _errors(name, [(e.estimate.runtime_s_p50, e.record.runtime_s) for e in judged])
    return row | {"in P10–P90": sum(inside) / len(inside)}


def ridge_row(name: str, judged: Sequence[Judged]) -> Row:
    """Return the metrics of ridge regression's forecasts as a row."""
    return _errors(name, [(e.ridge_s, e.record.runtime_s) for e in judged])


def _errors(name: str, pairs: Sequence[tuple[float, float]]) -> Row:
    signed = np.array([math.log(said / was) for said, was in pairs])
    error = np.abs(signed)
    return {
        "": name,
        "fits": len(pairs),
        "median": math.expm1(float(np.median(error))),
        "P90": math.exp(float(np.quantile(error, 0.9))),
        "within 2 ×": float((error <= math.log(2.0)).mean()),
        "within 3 ×": float((error <= math.log(3.0)).mean()),
        "bias": math.expm1(float(np.median(signed))),
    }


if __name__ == "__main__":
    main()
