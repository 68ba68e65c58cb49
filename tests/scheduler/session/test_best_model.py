"""The best model in MLflow, only when it is asked for: over a real store, loaded back."""

import mlflow
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from fitcast import Client, Sweep
from fitcast.errors import FitcastError, HistoryError
from fitcast.history.store import MemoryHistory


def sweep(**changed):
    X, y = load_iris(return_X_y=True, as_frame=True)
    models = {"lr": (LogisticRegression(max_iter=300), {"C": [0.1, 1.0]})}
    return Sweep(models, X, y, cv=3, **changed)


@pytest.mark.timeout(400)  # MLflow looks in a process of its own for what the model imports
def test_it_is_logged_with_its_signature_loaded_back_and_a_version(tmp_path, monkeypatch):
    X, _ = load_iris(return_X_y=True, as_frame=True)
    with Client(home=tmp_path) as client:
        result = client.submit(sweep()).result()
        address = result.log_model(X.head(3), registered_name="iris")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
        monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", None)
        store = mlflow.MlflowClient(client.tracking_uri)
    loaded = mlflow.pyfunc.load_model(address)
    expected = result.best_estimator_.predict(X)
    assert (loaded.predict(X) == expected).all()
    assert loaded.metadata.signature.inputs.input_names() == list(X.columns)
    assert loaded.input_example.shape == (3, 4)
    assert (mlflow.sklearn.load_model("models:/iris/1").predict(X) == expected).all()
    (run,) = store.search_runs(["1"], "tags.`fitcast.kind` = 'workflow'")
    (output,) = run.outputs.model_outputs
    assert address == f"models:/{output.model_id}"


def test_where_it_cannot_be_logged_it_is_said():
    with Client(history=MemoryHistory()) as client:
        result = client.submit(sweep()).result()
        with pytest.raises(HistoryError, match="keeps no models"):
            result.log_model()
        without = client.submit(sweep(refit=False)).result()
        with pytest.raises(FitcastError, match="no best model"):
            without.log_model()
