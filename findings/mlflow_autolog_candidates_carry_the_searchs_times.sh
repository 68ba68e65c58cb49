#!/usr/bin/env bash
# mlflow 3.17.2 with scikit-learn 1.9.1: child runs of an autologged GridSearchCV say nothing of what their
# candidates cost, and most candidates have none.
#
# Guess: a child run per candidate (MLflow shows them as "runs of the search"), begun and ended when that
# candidate was fitted, so that durations in the table compare candidates.
# Seen: five child runs, of the best five of eight candidates; every one begins and ends with the *search*
# (equal start_time and end_time, those of the whole), though the slowest candidate takes fifty times as
# long as the quickest. The times of all eight are in the parent's artifact cv_results.csv alone.
#
# Output:
#   8 candidates, 5 child runs, with 1 different (start, end)
#   each child's duration is the search's: True
#   cv_results.csv has 8 rows; slowest / quickest mean_fit_time is above 10: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q mlflow==3.17.2 scikit-learn==1.9.1
cd "$folder"
"$folder/venv/bin/python" - <<'PY' 2>"$folder/log" || { tail -20 "$folder/log"; exit 1; }
import time

import mlflow
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV


class Sleeps(ClassifierMixin, BaseEstimator):
    def __init__(self, seconds=0.0):
        self.seconds = seconds

    def fit(self, X, y):
        time.sleep(self.seconds)
        self.classes_ = sorted(set(y))
        return self

    def predict(self, X):
        return [self.classes_[0]] * len(X)


mlflow.set_tracking_uri("sqlite:///runs.db")
mlflow.sklearn.autolog(log_models=False, log_datasets=False)
grid = {"seconds": [0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.4, 0.5]}
with mlflow.start_run() as run:
    GridSearchCV(Sleeps(), grid, cv=2, refit=False).fit(*load_iris(return_X_y=True))
client = mlflow.MlflowClient()
parent = client.get_run(run.info.run_id)
found = client.search_runs(
    [parent.info.experiment_id], f"tags.mlflow.parentRunId = '{run.info.run_id}'"
)
spans = {(child.info.start_time, child.info.end_time) for child in found}
print(f"8 candidates, {len(found)} child runs, with {len(spans)} different (start, end)")
assert (len(found), len(spans)) == (5, 1)
((start, end),) = spans
whole_s = 2 * sum(grid["seconds"])
of_search = (end - start) / 1000 > 0.9 * whole_s
print("each child's duration is the search's:", of_search)
assert of_search
table = pd.read_csv(client.download_artifacts(run.info.run_id, "cv_results.csv", "."))
ratio = table["mean_fit_time"].max() / table["mean_fit_time"].min()
print(f"cv_results.csv has {len(table)} rows; slowest / quickest mean_fit_time is above 10:", ratio > 10)
assert len(table) == 8 and ratio > 10
PY
