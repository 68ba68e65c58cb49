"""Measures after how many rounds boosting stops early, and fits the constants of that forecast.

    python -m benchmarks.early_stopped measure --minutes M --out FILE
    python -m benchmarks.early_stopped fit [--data FILE]

Rounds are counted, not timed, so a busy machine doesn't matter. Datasets are drawn as the campaign
draws them, from another seed, of at most 300,000 cells. In: measuring, and the regression that
gives ``rounds`` in ``prior.json``. Not in: the forecast itself (:mod:`fitcast.sizing.laws.rounds`).
"""

import argparse
import csv
import json
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares
from sklearn.model_selection import train_test_split

from benchmarks.campaign_data import DataPlan, draw, make

DATA = Path(__file__).parent / "data" / "early_stopped.csv"

_SEED = 20_261
_MOST_CELLS = 300_000
_MOST_ROUNDS = 10_000
_SETTINGS = 4  # of one dataset
_LIMIT_S = 6.0

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stopped:
    """When a boosting stopped."""

    package: str
    dataset: str
    rows: int
    columns: int
    classes: int
    learning_rate: float
    leaves: int
    random: bool  # one threshold per column and node
    patience: int
    best: int  # round of the least loss
    rounds: int
    complete: bool  # not ended by the limit of time or of rounds


def main() -> None:
    """Measure, or fit."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("measure", "fit"))
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--data", type=Path, default=DATA)
    given = parser.parse_args()
    if given.what == "fit":
        print(json.dumps(fitted(read(given.data)), indent=1))
        return
    write(given.out or given.data, _measured(60.0 * given.minutes))


def _measured(seconds: float) -> Iterator[Stopped]:
    ends_s = time.monotonic() + seconds
    for index in count():
        if time.monotonic() > ends_s:
            return
        plan = draw(_SEED, index)
        if plan.kind == "sparse":
            continue
        rows = min(plan.rows, max(100, _MOST_CELLS // plan.columns))
        plan = replace(plan, rows=rows, columns=min(plan.columns, _MOST_CELLS // rows))
        X, y = make(plan, _SEED)
        rng = np.random.default_rng((_SEED, index, 2))
        for _ in range(_SETTINGS):
            yield from _fit(plan, X, y, rng)


def _fit(plan: DataPlan, X: Any, y: Any, rng: np.random.Generator) -> Iterator[Stopped]:
    rate = float(10 ** rng.uniform(-2.0, -0.5))
    leaves = round(10 ** rng.uniform(0.6, 2.4))
    patience = round(10 ** rng.uniform(0.7, 2.5))
    package = str(rng.choice(["lightgbm", "xgboost"], p=[0.7, 0.3]))
    random = package == "lightgbm" and bool(rng.random() < 0.5)
    parts = train_test_split(X, y, test_size=float(rng.choice([0.1, 0.2])), random_state=0)
    boost: Callable[..., tuple[int, int, bool]] = {"lightgbm": _lightgbm, "xgboost": _xgboost}[
        package
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            best, rounds, complete = boost(parts, plan, rate, leaves, patience, random)
        except ValueError:  # a class that only the held-out rows have
            return
    yield Stopped(
        package, plan.name, len(parts[0]), X.shape[1], plan.classes, rate, leaves, random,
        patience,
        best, rounds, complete,
    )  # fmt: skip


def _lightgbm(
    parts: Sequence[Any], plan: DataPlan, rate: float, leaves: int, patience: int, random: bool
) -> tuple[int, int, bool]:
    import lightgbm

    began_s = time.monotonic()
    late = False

    def limit(env: Any) -> None:
        nonlocal late
        if time.monotonic() - began_s > _LIMIT_S:
            late = True
            raise lightgbm.callback.EarlyStopException(env.iteration, [])

    kind = lightgbm.LGBMClassifier if plan.classes else lightgbm.LGBMRegressor
    model = kind(
        n_estimators=_MOST_ROUNDS,
        learning_rate=rate,
        num_leaves=leaves,
        extra_trees=random,
        n_jobs=1,
        verbose=-1,
    )
    train, held, y_train, y_held = parts
    history: dict[str, Any] = {}
    model.fit(
        train, y_train, eval_set=[(held, y_held)],
        callbacks=[
            lightgbm.early_stopping(patience, verbose=False),
            lightgbm.record_evaluation(history), limit,
        ],
    )  # fmt: skip
    losses = next(iter(next(iter(history.values())).values()))
    return int(np.argmin(losses)) + 1, len(losses), not late and len(losses) < _MOST_ROUNDS


def _xgboost(
    parts: Sequence[Any], plan: DataPlan, rate: float, leaves: int, patience: int, random: bool
) -> tuple[int, int, bool]:
    import xgboost

    began_s = time.monotonic()
    late = False

    class Limit(xgboost.callback.TrainingCallback):  # type: ignore[misc]
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            nonlocal late
            late = time.monotonic() - began_s > _LIMIT_S
            return late

    kind = xgboost.XGBClassifier if plan.classes else xgboost.XGBRegressor
    model = kind(
        n_estimators=_MOST_ROUNDS, learning_rate=rate, early_stopping_rounds=patience, n_jobs=1,
        max_depth=max(2, round(math.log2(leaves))), callbacks=[Limit()],
    )  # fmt: skip
    train, held, y_train, y_held = parts
    model.fit(train, y_train, eval_set=[(held, y_held)], verbose=False)
    losses = next(iter(next(iter(model.evals_result().values())).values()))
    return int(np.argmin(losses)) + 1, len(losses), not late and len(losses) < _MOST_ROUNDS


def write(path: Path, stopped: Iterable[Stopped]) -> None:
    """Write what was measured, as it comes."""
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, [f.name for f in fields(Stopped)])
        table.writeheader()
        for each in stopped:
            row = asdict(each) | {"learning_rate": f"{each.learning_rate:.4f}"}
            table.writerow(row | {"complete": int(each.complete), "random": int(each.random)})
            file.flush()


def read(path: Path) -> list[Stopped]:
    """Read what was measured."""
    with path.open(newline="") as file:
        return [
            Stopped(
                row["package"], row["dataset"], int(row["rows"]), int(row["columns"]),
                int(row["classes"]), float(row["learning_rate"]), int(row["leaves"]),
                row["random"] == "1", int(row["patience"]), int(row["best"]),
                int(row["rounds"]), row["complete"] == "1",
            )
            for row in csv.DictReader(file)
        ]  # fmt: skip


def fitted(stopped: Sequence[Stopped]) -> dict[str, float]:
    """Return the constants of :func:`fitcast.sizing.laws.rounds.best_round`, and its error.

    A robust regression of logarithms. What didn't end is known to need at least as many. Each
    dataset counts as much as any other, whatever number of fits it has.
    """
    names = ("values_best", "classes_best", *(name for name in _POWERS))
    start = np.array([4.0, 4.0, *(_POWERS[name] for name in _POWERS)])
    per = {d: sum(s.dataset == d for s in stopped) for d in {s.dataset for s in stopped}}
    weights = np.array([per[s.dataset] ** -0.5 for s in stopped])
    told = np.log([float(s.best) for s in stopped])
    least = np.array([not s.complete for s in stopped])
    X = np.array([_features(s) for s in stopped])

    def beyond(at: Array) -> Array:
        off = told - X @ at
        return np.where(least, np.maximum(off, 0.0), off)

    def residuals(at: Array) -> Array:
        kept: Array = weights * beyond(at)
        return np.append(kept, _HOLD * (at - start))

    found = least_squares(residuals, start, loss="soft_l1").x
    off = beyond(found)[~least]
    own = [s.dataset for s in np.array(stopped, dtype=object)[~least]]
    means = {d: float(np.mean([o for o, e in zip(off, own, strict=True) if e == d])) for d in own}
    within = np.array([o - means[d] for o, d in zip(off, own, strict=True)])
    answer = {
        name: round(float(value if name.endswith("_power") else np.exp(value)), 3)
        for name, value in zip(names, found, strict=True)
    }
    answer["log_sd"] = round(float(1.4826 * np.median(np.abs(off - np.median(off)))), 2)
    answer["log_sd_within"] = round(float(1.4826 * np.median(np.abs(within))), 2)
    answer["log_rms"] = round(float(np.sqrt(np.mean(off**2))), 2)
    return answer


_HOLD = 0.3
_POWERS = {
    "rate_power": 0.9,
    "rows_power": 0.4,
    "leaves_power": 0.3,
    "columns_power": 0.1,
    "classes_power": 0.0,
    "random_factor": 0.4,
}


def _features(s: Stopped) -> list[float]:
    return [
        float(s.classes == 0),
        float(s.classes > 0),
        -math.log(s.learning_rate / 0.1),
        math.log(s.rows / 1e4),
        -math.log(s.leaves / 31.0),
        math.log(s.columns / 20.0),
        math.log(max(1.0, s.classes / 2.0)),
        float(s.random),
    ]


if __name__ == "__main__":
    main()
