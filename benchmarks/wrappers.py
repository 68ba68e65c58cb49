"""Measures estimators that fit others, for judging forecasts by what they are made of.

    python -m benchmarks.wrappers [--out benchmarks/data/wrappers.parquet]

A few minutes. One fit of each on each dataset, one at a time; what waits for a core isn't counted.
The constants of the laws aren't fitted on them, but for what surrounds an inner fit (cloning,
checking, scoring), which was set on these two shapes.
"""

import argparse
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import RFE, RFECV, SelectFromModel, SequentialFeatureSelector
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from benchmarks.bench_sizing import WRAPPERS
from benchmarks.measuring import measure, running
from fitcast.history.codec import write_parquet
from fitcast.trainer.machine_speed import machine_speed
from fitcast.trainer.sweep.prepared import Sweep

_SHAPES = ((2_000, 16, 2), (3_000, 24, 6))  # rows, columns, classes


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=WRAPPERS)
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    speed = machine_speed()
    records = []
    with running() as runner:
        for number, (rows, columns, classes) in enumerate(_SHAPES):
            X, y = make_classification(
                rows, columns, n_informative=columns // 2, n_classes=classes, random_state=number
            )
            sweep = Sweep(models(classes), X, y, cv=3, refit=False, name=f"wrappers-{number}")
            records += [
                replace(record, machine_speed=speed, dataset=f"wrappers:{number}")
                for record in measure(runner, sweep, at_once=1, folds=1, deadline_s=120.0)
            ]
    write_parquet(records, given.out)
    print(f"{len(records)} fits, {sum(r.runtime_s for r in records):.0f} s")


def models(classes: int) -> dict[str, Any]:
    """Return wrappers by what they are called."""
    forest = RandomForestClassifier(20, random_state=0)
    line, tree = LogisticRegression(), DecisionTreeClassifier(max_depth=6)
    found: dict[str, Any] = {
        "RFE of a forest": make_pipeline(RFE(forest, step=4), tree),
        "RFE of a line": make_pipeline(RFE(line), tree),
        "RFECV": make_pipeline(RFECV(tree, cv=3, step=2), tree),
        "forward": make_pipeline(
            SequentialFeatureSelector(line, n_features_to_select=3, cv=2), tree
        ),
        "from model": make_pipeline(SelectFromModel(forest), line),
        "scaled RFE": make_pipeline(StandardScaler(), RFE(tree, step=5), forest),
        "stack": StackingClassifier([("forest", forest), ("line", line)], line, cv=3),
        "vote": VotingClassifier([("forest", forest), ("line", line), ("tree", tree)]),
        "calibrated": CalibratedClassifierCV(forest, cv=3),
        "one against rest": OneVsRestClassifier(SVC()),
        "one against one": OneVsOneClassifier(LinearSVC()),
        "output code": OutputCodeClassifier(line, code_size=2.0),
        "bag of neighbours": BaggingClassifier(KNeighborsClassifier(), 10),
        "bag of lines": BaggingClassifier(line, 20),
        "AdaBoost of trees": AdaBoostClassifier(tree, n_estimators=20),
        "search": GridSearchCV(forest, {"max_depth": [3, 6, None]}, cv=3),
    }
    if classes == 2:
        found["threshold"] = TunedThresholdClassifierCV(forest, cv=3)
    return found


if __name__ == "__main__":
    main()
