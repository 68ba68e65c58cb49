import shutil
import sys
from pathlib import Path

import pytest

from fitcast.history.mlflow_store import MlflowHistory
from tests.history.mlflow_servers import server
from tests.ports import free_port

sys.path.insert(0, str(Path(__file__).parent))  # for what this folder's tests share


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A database with MLflow's tables and nothing in them, to be copied: making it takes long."""
    path = tmp_path_factory.mktemp("schema") / "mlflow.db"
    MlflowHistory(f"sqlite:///{path}", experiment="unused").prepare()
    return path


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory, empty_database):
    """The address of a real server on this machine."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    shutil.copy(empty_database, folder / "server.db")
    with server(folder, port):
        yield f"http://127.0.0.1:{port}"
