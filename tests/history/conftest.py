"""What tests of stores share."""

import pytest

from fitcast.history.mlflow_store import MlflowHistory


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    """A database with fitcast's experiment and nothing in it, to be copied: making it is slow."""
    path = tmp_path_factory.mktemp("schema") / "mlflow.db"
    MlflowHistory(f"sqlite:///{path}").prepare()
    return path
