"""Versions of the sizing model in MLflow's Model Registry.

In: how a version becomes a run, its files and an entry of the registry. Not in: what is in the
files (:mod:`fitcast.sizing.learning.model_files`), opening MLflow
(:mod:`fitcast.history.mlflow_store`).
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fitcast.errors import HistoryError
from fitcast.history.mlflow_edges import our_errors, quiet
from fitcast.history.mlflow_experiments import KIND, KIND_TAG
from fitcast.history.mlflow_store import MlflowHistory
from fitcast.history.models import REPORT_FILE, ModelVersion
from fitcast.history.origin import origin_tags
from fitcast.history.presentation import NOTE_TAG
from fitcast.history.temporary_files import temporary_folder

CHAMPION: Final = "champion"
_FOLDER: Final = "sizing-model"
_METRIC_TAG: Final = "fitcast.metric."
_KEPT: Final = 20
"""Versions that are kept, the champion always; older ones are removed with their files."""


class MlflowModels:
    """A registry of sizing models beside a history in MLflow.

    Its versions lie in a registered model ``<experiment>-sizing``, each with a run of the
    experiment of that name, which holds metrics and files and so shows how the model got better.

    Parameters
    ----------
    store
        The history; its MLflow is used.
    """

    def __init__(self, store: MlflowHistory) -> None:
        self._store = store
        self.name = f"{store.experiment}-sizing"

    @property
    def tracking_uri(self) -> str:
        """Where MLflow is."""
        return self._store.tracking_uri

    @our_errors
    def register(
        self,
        files: Mapping[str, bytes],
        *,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> int:
        """Keep a new version; see :meth:`ModelRegistry.register`."""
        client = self._store.client()
        now_ms = int(time.time() * 1000)
        note = files.get(REPORT_FILE, b"").decode()
        run = client.create_run(
            self._experiment_id(client),
            start_time=now_ms,
            tags={"fitcast.kind": "sizing-model", NOTE_TAG: note} | origin_tags(),
        )
        run_id = run.info.run_id
        for name, value in metrics.items():
            client.log_metric(run_id, name, value)
        with temporary_folder() as folder:
            for name, content in files.items():
                (folder / name).write_bytes(content)
            client.log_artifacts(run_id, str(folder), _FOLDER)
        client.set_terminated(run_id)
        self._ensure_registered(client)
        shown = {f"{_METRIC_TAG}{name}": repr(float(value)) for name, value in metrics.items()}
        with quiet():
            made = client.create_model_version(
                self.name,
                source=f"{run.info.artifact_uri}/{_FOLDER}",
                run_id=run_id,
                tags={**tags, **shown},
                description=note or None,
            )
        version = int(made.version)
        client.update_run(run_id, name=f"version {version}")
        self._forget_old(client)
        return version

    @our_errors
    def promote(self, version: int) -> None:
        """Make a version the champion; see :meth:`ModelRegistry.promote`."""
        client = self._store.client()
        if version not in {v.version for v in self._versions(client)}:
            raise HistoryError(f"There is no version {version} of the sizing model.")
        client.set_registered_model_alias(self.name, CHAMPION, str(version))

    @our_errors
    def champion(self) -> tuple[ModelVersion, Mapping[str, bytes]] | None:
        """Return the version in use; see :meth:`ModelRegistry.champion`."""
        client = self._store.client()
        found = next((v for v in self._versions(client) if v.champion), None)
        if found is None:
            return None
        run_id = client.get_model_version(self.name, str(found.version)).run_id
        with temporary_folder() as folder:
            path = Path(client.download_artifacts(run_id, _FOLDER, str(folder)))
            return found, {file.name: file.read_bytes() for file in path.iterdir()}

    @our_errors
    def versions(self) -> list[ModelVersion]:
        """Return all versions; see :meth:`ModelRegistry.versions`."""
        return self._versions(self._store.client())

    def _versions(self, client: Any) -> list[ModelVersion]:
        registered = client.search_registered_models(f"name = '{self.name}'")
        if not registered:
            return []
        champion = str(client.get_registered_model(self.name).aliases.get(CHAMPION))
        versions = []
        for found in client.search_model_versions(f"name = '{self.name}'"):
            metrics = {
                name.removeprefix(_METRIC_TAG): float(value)
                for name, value in found.tags.items()
                if name.startswith(_METRIC_TAG)
            }
            tags = {n: v for n, v in found.tags.items() if not n.startswith(_METRIC_TAG)}
            number = int(found.version)
            versions.append(
                ModelVersion(
                    version=number, champion=str(number) == champion, metrics=metrics, tags=tags
                )
            )
        return sorted(versions, key=lambda v: v.version, reverse=True)

    def _ensure_registered(self, client: Any) -> None:
        if not client.search_registered_models(f"name = '{self.name}'"):
            try:
                client.create_registered_model(
                    self.name, description="Forecasts of runtime and memory; see its runs."
                )
            except Exception:  # another process was faster; otherwise it is still not there
                if not client.search_registered_models(f"name = '{self.name}'"):
                    raise

    def _experiment_id(self, client: Any) -> str:
        found = client.get_experiment_by_name(self.name)
        if found is not None:
            if found.tags.get(KIND_TAG) != KIND:
                client.set_experiment_tag(found.experiment_id, KIND_TAG, KIND)
            return str(found.experiment_id)
        beside = client.get_experiment_by_name(self._store.experiment).artifact_location
        local = beside.startswith(("/", "file:"))
        location = f"{beside.rstrip('/')}-sizing" if local else None
        return str(
            client.create_experiment(self.name, artifact_location=location, tags={KIND_TAG: KIND})
        )

    def _forget_old(self, client: Any) -> None:
        for old in [v for v in self._versions(client) if not v.champion][_KEPT:]:
            run_id = client.get_model_version(self.name, str(old.version)).run_id
            client.delete_model_version(self.name, str(old.version))
            client.delete_run(run_id)
