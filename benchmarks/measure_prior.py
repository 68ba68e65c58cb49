"""What fits of many algorithms cost on this machine, beside what the laws of `prior.json` say.

    python -m benchmarks.measure_prior [--rows 10000 40000] [--out prior_measured.json]

The constants of `sizing/prior.json` are set so that the ratios printed lie around 1.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from lightgbm import LGBMClassifier
from benchmarks.measuring import measure, running
from sklearn import ensemble, linear_model, naive_bayes, neighbors, neural_network, svm, tree
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

from fitcast.flights import load_flights
from fitcast.sizing.model import SizingModel
from fitcast.trainer.sweep import Sweep

MODELS = {
    "xgb": (XGBClassifier(), {"max_depth": [3, 6, 9, 12]}),
    "xgb long": (XGBClassifier(max_depth=6), {"n_estimators": [300]}),
    "lgbm": (LGBMClassifier(verbose=-1), {"num_leaves": [31, 127]}),
    "hist": ensemble.HistGradientBoostingClassifier(),
    "rf": (ensemble.RandomForestClassifier(), {"max_depth": [4, 8, 16, None]}),
    "rf leaf": (ensemble.RandomForestClassifier(n_estimators=50), {"min_samples_leaf": [5, 20]}),
    "extra": ensemble.ExtraTreesClassifier(),
    "l1": (linear_model.LogisticRegression(l1_ratio=1.0, solver="liblinear"), {"C": [0.01, 1.0]}),
    "saga": (linear_model.LogisticRegression(l1_ratio=1.0, solver="saga"), {"C": [0.01, 1.0]}),
    "lbfgs": linear_model.LogisticRegression(),
    "tree": tree.DecisionTreeClassifier(),
    "ada": ensemble.AdaBoostClassifier(),
    "bag": ensemble.BaggingClassifier(),
    "nb": naive_bayes.GaussianNB(),
    "knn": neighbors.KNeighborsClassifier(),
    "sgd": linear_model.SGDClassifier(),
    "linear svc": svm.LinearSVC(),
    "ridge": linear_model.RidgeClassifier(),
}
SLOW_MODELS = {
    "svc": svm.SVC(),
    "mlp": neural_network.MLPClassifier(),
    "gb": ensemble.GradientBoostingClassifier(),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[2_000, 10_000, 40_000])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    model = SizingModel.prior()
    rows_out = []
    print(f"{'rows':>7} {'runtime':>9} {'ratio':>6} {'memory':>8} {'ratio':>6} {'base':>5}  fit")
    with running() as runner:
        for rows in given.rows:
            X, y = load_flights(rows)
            X = np.ascontiguousarray(StandardScaler().fit_transform(X))
            models = MODELS | (SLOW_MODELS if rows <= 20_000 else {})
            sweep = Sweep(models, X, y, cv=5, refit=False, name=f"prior-{rows}")
            for record in measure(runner, sweep, at_once=1, folds=1):
                (estimate,) = model.estimate([record.request])
                above = max(record.peak_memory_bytes - record.base_memory_bytes, 1)
                said = estimate.peak_memory_bytes_p50 - model.base_memory_bytes
                row = {
                    "rows": rows,
                    "candidate": record.candidate,
                    "runtime_s": record.runtime_s,
                    "runtime_ratio": record.runtime_s / estimate.runtime_s_p50,
                    "memory_bytes": above,
                    "memory_ratio": above / said,
                    "base_memory_bytes": record.base_memory_bytes,
                    "outcome": str(record.outcome),
                }
                rows_out.append(row)
                print(
                    f"{rows:>7,} {record.runtime_s:>8.3f}s {row['runtime_ratio']:>6.2f} "
                    f"{above / 2**20:>6.1f}Mi {row['memory_ratio']:>6.2f} "
                    f"{record.base_memory_bytes / 2**20:>5.0f}  {record.candidate} "
                    f"{record.error_message}",
                    flush=True,
                )
    if given.out:
        given.out.write_text(json.dumps(rows_out, indent=1))


if __name__ == "__main__":
    main()
