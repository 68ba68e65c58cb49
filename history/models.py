"""Versions of the sizing model as the history keeps them, and the registry in memory.

In: what a version is, the interface :class:`ModelRegistry`, its in-memory counterpart. Not in:
MLflow's Model Registry (:mod:`fitcast.history.mlflow_models`), what is in a model's files
(:mod:`fitcast.sizing.learning.model_files`), when a model is replaced
(:mod:`fitcast.scheduler.session.learning`).
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, runtime_checkable

from fitcast.errors import HistoryError

REPORT_FILE: Final = "report.md"
"""The file of a version that people read: how good forecasts were when it was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One version of the sizing model."""

    version: int
    champion: bool  # the one in use
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class ModelRegistry(Protocol):
    """Keeps versions of the sizing model. Methods may be called from several threads."""

    def register(
        self,
        files: Mapping[str, bytes],
        *,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> int:
        """Keep a new version and return its number; it isn't the champion yet.

        Parameters
        ----------
        files
            Its content by file name.
        metrics
            How it was judged.
        tags
            What it rests on, as the data cursor.
        """

    def promote(self, version: int) -> None:
        """Make a version the champion.

        Raises
        ------
        HistoryError
            There is no such version.
        """

    def champion(self) -> tuple[ModelVersion, Mapping[str, bytes]] | None:
        """Return the version in use and its files; None if there is none yet."""

    def versions(self) -> list[ModelVersion]:
        """Return all versions, the newest first."""


def rollback(registry: ModelRegistry) -> ModelVersion:
    """Make the version before the champion the champion, and return it.

    Raises
    ------
    HistoryError
        There is no earlier version.
    """
    versions = registry.versions()
    current = next((v.version for v in versions if v.champion), None)
    earlier = [v for v in versions if current is not None and v.version < current]
    if not earlier:
        raise HistoryError("There is no earlier version of the sizing model to go back to.")
    registry.promote(earlier[0].version)
    return replace(earlier[0], champion=True)


class MemoryModels:
    """A registry that lives as long as its process: the in-memory counterpart of MLflow's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._versions: dict[int, tuple[ModelVersion, dict[str, bytes]]] = {}
        self._champion: int | None = None

    def register(
        self,
        files: Mapping[str, bytes],
        *,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> int:
        """Keep a new version; see :meth:`ModelRegistry.register`."""
        with self._lock:
            number = len(self._versions) + 1
            version = ModelVersion(
                version=number, champion=False, metrics=dict(metrics), tags=dict(tags)
            )
            self._versions[number] = (version, dict(files))
            return number

    def promote(self, version: int) -> None:
        """Make a version the champion; see :meth:`ModelRegistry.promote`."""
        with self._lock:
            if version not in self._versions:
                raise HistoryError(f"There is no version {version} of the sizing model.")
            self._champion = version

    def champion(self) -> tuple[ModelVersion, Mapping[str, bytes]] | None:
        """Return the version in use; see :meth:`ModelRegistry.champion`."""
        with self._lock:
            if self._champion is None:
                return None
            version, files = self._versions[self._champion]
            return replace(version, champion=True), files

    def versions(self) -> list[ModelVersion]:
        """Return all versions; see :meth:`ModelRegistry.versions`."""
        with self._lock:
            return [
                replace(version, champion=number == self._champion)
                for number, (version, _) in sorted(self._versions.items(), reverse=True)
            ]
