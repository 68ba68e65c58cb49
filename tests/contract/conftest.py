import sys
from pathlib import Path

import pytest

from fitcast.history.mlflow_store import MlflowHistory

sys.path.insert(0, str(Path(__file__).parent))  # for what this folder's tests share


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A database with MLflow's tables and nothing in them, to be copied: making it takes long."""
    path = tmp_path_factory.mktemp("schema") / "mlflow.db"
    MlflowHistory(f"sqlite:///{path}", experiment="unused").prepare()
    return path
