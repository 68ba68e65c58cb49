"""How well a sweep is forecast cold, and after another sweep over the same data was seen.

    python -m benchmarks.judge_sizing [--rows 24000] [--keep FOLDER]

Runs two sweeps of 75 fits, 5 candidates each of XGBoost, random forest and L1 logistic
regression, with other hyper-parameters in the second, as the demo does. Prints total runtime
forecast over measured, per algorithm too; how many fits lie within P10 and P90; how many exceed the
memory's P95. With `--keep`, records are kept in the folder and read from it the next time.
"""

import argparse
import pickle
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

from benchmarks.measuring import measure, running
from benchmarks.scoring import judge
from fitcast.flights import load_flights
from fitcast.history.records import Record
from fitcast.sizing.learning.correction import SweepCorrection
from fitcast.sizing.learning.model import SizingModel
from fitcast.trainer.sweep.prepared import Sweep


def _models(
    depths: list[int], leaves: list[int], penalties: list[float], trees: int, rounds: int
) -> dict[str, Any]:
    lasso = LogisticRegression(l1_ratio=1.0, solver="liblinear", random_state=0)
    return {
        "xgb": (XGBClassifier(n_estimators=rounds, random_state=0), {"max_depth": depths}),
        "forest": (
            RandomForestClassifier(n_estimators=trees, random_state=0),
            {"min_samples_leaf": leaves},
        ),
        "lasso": (make_pipeline(StandardScaler(), lasso), {"logisticregression__C": penalties}),
    }


# As in the demo.
FIRST = _models([3, 4, 5, 6, 8], [5, 10, 20, 40, 80], [0.01, 0.03, 0.1, 0.3, 1.0], 60, 150)
SECOND = _models([2, 5, 7, 9, 10], [3, 8, 15, 30, 60], [0.02, 0.05, 0.2, 0.5, 2.0], 80, 120)


def main() -> None:
    """Measure, forecast, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=24_000)
    parser.add_argument("--keep", type=Path)
    parser.add_argument(
        "--cpu", action="store_true", help="judge CPU seconds, where other work disturbs runtimes"
    )
    given = parser.parse_args()
    first, second = _records(given.rows, given.keep)
    if given.cpu:
        first, second = ([replace(r, runtime_s=r.cpu_s) for r in rs] for rs in (first, second))
    prior = SizingModel.prior()
    start = time.perf_counter()
    trained = prior.train(first)
    print(f"trained on {len(first)} records in {time.perf_counter() - start:.3f} s")
    _print("first sweep, cold", prior, first)
    _print("second sweep, cold", prior, second)
    _print("second sweep, warm", trained, second)
    for share in (0.1, 0.25, 0.5):
        _print_corrected("second, warm", trained, second, share)
        _print_corrected("first, cold", prior, first, share)


def _records(rows: int, keep: Path | None) -> tuple[list[Record], list[Record]]:
    kept = keep / f"sweeps-{rows}.pickle" if keep else None
    if kept is not None and kept.exists():
        loaded: tuple[list[Record], list[Record]] = pickle.loads(kept.read_bytes())
        return loaded
    X, y = load_flights(rows)
    with running() as runner:
        first, second = (
            measure(runner, Sweep(models, X, y, cv=5, refit=False, scoring="roc_auc", name=name))
            for models, name in ((FIRST, "first"), (SECOND, "second"))
        )
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(pickle.dumps((first, second)))
    return first, second


def _print(what: str, model: SizingModel, records: list[Record]) -> None:
    estimates = model.estimate([r.request for r in records], dataset=records[0].dataset)
    pairs = list(zip(estimates, records, strict=True))
    print(f"{what:40} {judge(pairs)}")
    for algorithm in dict.fromkeys(r.request.algorithm for r in records):
        own = [(e, r) for e, r in pairs if r.request.algorithm == algorithm]
        print(f"  {algorithm.rpartition('.')[2]:38} {judge(own)}")


def _print_corrected(what: str, model: SizingModel, records: list[Record], share: float) -> None:
    by_id = {r.record_id: r for r in records}
    correction = SweepCorrection(
        model,
        {key: r.request for key, r in by_id.items()},
        dataset=records[0].dataset,
        candidates={key: r.candidate_index for key, r in by_id.items()},
    )
    order = np.random.default_rng(0).permutation(len(records))
    for row in order[: int(share * len(records))]:
        correction.observe(records[row].record_id, records[row])
    left = correction.estimates()
    print(f"{what}, after {share:.0%} of its fits".ljust(40), end=" ")
    print(judge([(estimate, by_id[key]) for key, estimate in left.items()]))


if __name__ == "__main__":
    main()
