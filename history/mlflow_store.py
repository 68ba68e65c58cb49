"""The history in MLflow: one run per workflow, one child run per candidate, one Parquet file.

In here: opening MLflow, reading from it, and its errors, which become :class:`HistoryError`.
Not in here: filling a workflow's runs (:mod:`fitcast.history.mlflow_runs`), when things are sent
(:mod:`fitcast.history.writer`), checks of the address (:mod:`fitcast.history.tracking_uri`).
"""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from fitcast.errors import HistoryError
from fitcast.history import presentation as shown
from fitcast.history.cursors import LOCAL_OVERLAP_MS, OVERLAP_MS, Cursor
from fitcast.history.mlflow_best_model import log_best_model
from fitcast.history.mlflow_edges import await_store, our_errors, quiet, quoted
from fitcast.history.mlflow_experiments import AS_TRAINING, open_experiment
from fitcast.history.mlflow_reading import all_records, pages, saved_since
from fitcast.history.mlflow_runs import RunWriter, WorkflowRuns
from fitcast.history.models import ModelRegistry
from fitcast.history.records import Record
from fitcast.history.sqlite_files import build_database, one_at_a_time, remove_unfinished
from fitcast.history.store import WorkflowHistory
from fitcast.history.temporary_files import remove_left_folders
from fitcast.history.tracking_uri import WAIT_S, checked_uri, masked, sqlite_path


def opened_client(tracking_uri: str, wait_s: float = WAIT_S) -> Any:
    """Return a client of an existing MLflow store in which nothing is made or changed."""
    uri = checked_uri(tracking_uri)
    database = sqlite_path(uri)
    if database is not None and not database.exists():
        raise HistoryError(f"There is no MLflow database {database}; check the tracking URI.")
    await_store(uri, wait_s, writing=False)
    from mlflow.tracking import MlflowClient

    with quiet():
        return MlflowClient(tracking_uri=uri)


class MlflowHistory:
    """A history store on an MLflow tracking server or database.

    Parameters
    ----------
    tracking_uri
        ``sqlite:///…``, ``http(s)://…`` or another database that MLflow takes.
    experiment
        Name of the experiment; made when it isn't there.
    artifact_dir
        Folder or URI for the artifacts of a new experiment. Default: ``mlartifacts`` beside the
        file of a SQLite store; what the server says for a server.
    wait_s
        Seconds that a slow server, or a file that another process has locked, is waited for.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment: str = "fitcast",
        artifact_dir: Path | str | None = None,
        *,
        wait_s: float = WAIT_S,
    ) -> None:
        self.wait_s = wait_s
        self.tracking_uri = tracking_uri
        self.experiment = experiment
        self._artifact_dir = artifact_dir
        self._lock = threading.RLock()
        self._client: Any = None
        self._engine: Any = None
        self._experiment_id = ""
        self._runs: dict[str, WorkflowRuns] = {}  # of running workflows
        self._parents: dict[str, str] = {}  # workflow_id → run id, for addresses

    @property
    def source(self) -> str | None:
        """The tracking URI and the experiment; see :attr:`HistoryStore.source`."""
        with suppress(HistoryError):  # `prepare` says what is wrong with a URI
            return f"{checked_uri(self.tracking_uri)} {self.experiment}"
        return f"{self.tracking_uri} {self.experiment}"

    @property
    def models(self) -> ModelRegistry:
        """Where sizing models that learned from it are kept: beside it, in the same MLflow."""
        from fitcast.history.mlflow_models import MlflowModels  # which stands on this module

        return MlflowModels(self)

    # -- getting ready ---------------------------------------------------------------------

    @our_errors
    def prepare(self) -> None:
        """Make the store usable; see :meth:`HistoryStore.prepare`.

        The first call on a fresh SQLite store takes some seconds: MLflow builds its schema.
        """
        with self._lock:
            self.tracking_uri = checked_uri(self.tracking_uri)
            database = sqlite_path(self.tracking_uri)
            await_store(self.tracking_uri, self.wait_s, writing=True)
            if database is not None and self._client is not None and not database.exists():
                self._forget()  # deleted under our feet: begin anew
            if self._client is None:
                with quiet():
                    self._connect(database)

    def client(self) -> Any:
        """Return the MLflow client of this store, made ready; for the model registry."""
        with self._lock:
            self.prepare()
            return self._client

    def _connect(self, database: Path | None) -> None:
        remove_left_folders(Path(tempfile.gettempdir()))
        from mlflow.tracking import MlflowClient

        location = None if self._artifact_dir is None else str(self._artifact_dir)
        if database is not None:
            from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

            location = location or str(database.parent / "mlartifacts")
            # Two processes that build the schema at once break it: one after the other. And
            # without a location the default experiment would point into the current folder.
            with one_at_a_time(database, self.wait_s):
                remove_unfinished(database)
                if not database.exists():
                    build_database(
                        database, lambda uri: SqlAlchemyStore(uri, location).engine.dispose()
                    )
                self._engine = SqlAlchemyStore(self.tracking_uri, location).engine
        client = MlflowClient(tracking_uri=self.tracking_uri)
        self._experiment_id = open_experiment(client, self.experiment, location, self.tracking_uri)
        self._client = client

    def _forget(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
        self._client, self._runs, self._parents = None, {}, {}

    # -- writing ---------------------------------------------------------------------------

    @our_errors
    def save(self, workflow: WorkflowHistory) -> str | None:
        """Save a workflow; see :meth:`HistoryStore.save`."""
        with self._lock:
            self.prepare()
            workflow_id = workflow.run.workflow_id
            # Taken out until all went well: after an error MLflow is asked what it really has
            writer = RunWriter(self._client, self._experiment_id)
            runs = self._runs.pop(workflow_id, None)
            if runs is None or runs.of is not workflow.run:  # begun anew: others may have gone on
                runs = writer.open(workflow)
            writer.save(runs, workflow)
            self._parents[workflow_id] = runs.parent
            if workflow.end is None:
                self._runs[workflow_id] = runs
            return self._run_url(runs.parent)

    # -- reading ---------------------------------------------------------------------------

    @our_errors
    def read(self, cursor: str | None = None, limit: int | None = None) -> tuple[list[Record], str]:
        """Return what is new since ``cursor``; see :meth:`HistoryStore.read`."""
        self.prepare()
        local = sqlite_path(self.tracking_uri) is not None
        overlap_ms = LOCAL_OVERLAP_MS if local else OVERLAP_MS
        position = Cursor.parse(cursor, self.experiment, overlap_ms)
        new = saved_since(self._client, self._experiment_id, position, limit)
        return all_records(self._client, new), position.after(new).text()

    def _search(self, condition: str) -> Iterator[Any]:
        return pages(self._client, self._experiment_id, condition)

    # -- the best model ----------------------------------------------------------------------

    @our_errors
    def log_model(
        self,
        workflow_id: str,
        model: Any,
        *,
        input_example: Any = None,
        registered_name: str | None = None,
    ) -> str:
        """Keep a workflow's best model; see :meth:`KeepsModels.log_model`."""
        self.prepare()
        run = self._parent_run(workflow_id)
        if run is None:
            raise HistoryError(f"The history has no workflow {workflow_id} to log its model with.")
        import mlflow.models
        import mlflow.sklearn

        return log_best_model(
            mlflow,
            self._client,
            run,
            model,
            input_example=input_example,
            registered_name=registered_name,
        )

    # -- addresses -------------------------------------------------------------------------

    @our_errors
    def url(self, workflow_id: str) -> str | None:
        """Return where a workflow can be looked at; see :meth:`HistoryStore.url`.

        For a store without a server it is the tracking URI with the path of the run behind ``#``,
        as the MLflow UI has it.
        """
        if (parent := self._parents.get(workflow_id)) is not None:
            return self._run_url(parent)
        self.prepare()
        run = self._parent_run(workflow_id)
        return None if run is None else self._run_url(run.info.run_id)

    def _parent_run(self, workflow_id: str) -> Any:
        condition = (
            f"tags.`{shown.WORKFLOW_TAG}` = '{quoted(workflow_id)}' and "
            f"tags.`{shown.KIND_TAG}` = 'workflow'"
        )
        return next((run for page in self._search(condition) for run in page), None)

    def _run_url(self, run_id: str) -> str:
        base = masked(self.tracking_uri)
        slash = "/" if base.startswith("http") else ""
        page = f"#/experiments/{self._experiment_id}/runs/{run_id}"
        return f"{base}{slash}{page}?{AS_TRAINING}"
