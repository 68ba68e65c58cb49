"""What every registry of sizing models must do: the same tests in memory and for MLflow."""

import shutil

import pytest

from fitcast.errors import HistoryError
from fitcast.history.mlflow_models import MlflowModels
from fitcast.history.mlflow_store import MlflowHistory
from fitcast.history.models import MemoryModels, ModelRegistry, rollback

FILES = {"evidence.parquet": bytes(range(256)), "about.json": b"{}"}


@pytest.fixture(params=["memory", "mlflow"])
def registry(request, tmp_path) -> ModelRegistry:
    if request.param == "memory":
        return MemoryModels()
    shutil.copy(request.getfixturevalue("empty_database"), tmp_path / "mlflow.db")
    return MlflowModels(MlflowHistory(f"sqlite:///{tmp_path}/mlflow.db"))


def registered(registry, loss=0.5):
    return registry.register(FILES, metrics={"loss_runtime": loss}, tags={"fitcast.cursor": "c"})


def test_an_empty_registry_has_no_champion(registry):
    assert isinstance(registry, ModelRegistry)
    assert registry.champion() is None
    assert registry.versions() == []


def test_a_version_is_kept_and_used_only_when_promoted(registry):
    first = registered(registry)
    assert registry.champion() is None
    registry.promote(first)
    version, files = registry.champion()
    assert version.version == first
    assert version.champion
    assert dict(files) == FILES
    assert version.metrics == {"loss_runtime": 0.5}
    assert version.tags["fitcast.cursor"] == "c"


def test_versions_come_newest_first_and_one_is_the_champion(registry):
    numbers = [registered(registry, loss) for loss in (0.5, 0.4, 0.3)]
    registry.promote(numbers[1])
    versions = registry.versions()
    assert [v.version for v in versions] == numbers[::-1]
    assert [v.champion for v in versions] == [False, True, False]
    assert [v.metrics["loss_runtime"] for v in versions] == [0.3, 0.4, 0.5]


def test_rolling_back_takes_the_version_before(registry):
    numbers = [registered(registry) for _ in range(2)]
    with pytest.raises(HistoryError, match="no earlier version"):
        rollback(registry)
    registry.promote(numbers[1])
    assert rollback(registry).version == numbers[0]
    assert registry.champion()[0].version == numbers[0]
    with pytest.raises(HistoryError, match="no earlier version"):
        rollback(registry)


def test_what_is_not_there_cannot_be_promoted(registry):
    with pytest.raises(HistoryError, match="no version 7"):
        registry.promote(7)
