"""What all tests share: state of their own, and a look for processes left behind."""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

from tests.polling import wait_for

os.environ["FITCAST_CHECK_PLAN"] = "1"  # in every client of every test

# A draw may take as long as a busy machine lets it; all else is as Hypothesis has it.
settings.register_profile("fitcast", settings(), deadline=None)
settings.load_profile("fitcast")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what shares a cluster or a client in one process, where several run the tests.

    The emulated Kubernetes takes addresses of its own, so there is one for all its tests.
    """
    for item in items:
        path = item.path.relative_to(Path(__file__).parent)
        on_kubernetes = path.parts[0] == "kubernetes" or "[kubernetes" in item.name
        item.add_marker(pytest.mark.xdist_group("kubernetes" if on_kubernetes else str(path)))


@pytest.fixture(autouse=True)
def fitcast_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test a FITCAST_HOME of its own and no MLflow store from outside."""
    home = tmp_path / "fitcast-home"
    for variable in ("MLFLOW_TRACKING_URI", "FITCAST_TRACKING_URI", "FITCAST_EXPERIMENT"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("FITCAST_CPUS", "FITCAST_MEMORY_BYTES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("FITCAST_HOME", str(home))
    return home


@pytest.fixture
def no_process_left() -> Iterator[None]:
    """Fail the test if a process that it started is still there after it.

    Only processes below this one count: those of another run of the tests, or of another client of
    the same user, don't. They are told apart by number and start time, so one that ended and whose
    number was given again is not mistaken for one left behind.
    """
    before = set(_children())
    yield
    left: list[psutil.Process] = []

    def is_nothing_left() -> bool:
        left[:] = [process for process in _children() if process not in before]
        return not left

    if wait_for(is_nothing_left):
        return
    told = "; ".join(_told(process) for process in left)
    for process in left:
        if process.is_running():
            process.kill()
    pytest.fail(f"processes were left behind: {told}")


def _children() -> list[psutil.Process]:
    # multiprocessing's resource tracker belongs to the test run: it lives until that ends
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if "resource_tracker" not in _told(process)
    ]


def _told(process: psutil.Process) -> str:
    try:
        about = f"{process.pid} of {process.ppid()} ({process.status()})"
        return f"{about} {' '.join(process.cmdline())}"
    except psutil.Error:
        return f"{process.pid}"
