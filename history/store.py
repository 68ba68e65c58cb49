"""What a history store does, and the store that keeps everything in memory.

In here: what is saved of a workflow, the interface :class:`HistoryStore`, its in-memory
counterpart. Not in here: MLflow (:mod:`fitcast.history.mlflow_store`), the background thread that
calls a store (:mod:`fitcast.history.writer`).
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Protocol, runtime_checkable

from fitcast.errors import InvalidCursorError
from fitcast.history.models import ModelRegistry
from fitcast.history.records import ParamValue, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRun:
    """A workflow as the history knows it from its start.

    Attributes
    ----------
    workflow_id : str
        Unique over all workflows.
    name : str
        The sweep's name.
    started_at : datetime
        UTC.
    tags, params : mapping
        What else is known of it.
    """

    workflow_id: str
    name: str
    started_at: datetime
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, ParamValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptLog:
    """What one attempt wrote.

    Attributes
    ----------
    record_id : str
        The attempt's record.
    stdout, stderr : str
        Output; of a long one the end.
    warnings : tuple of str
        Python's warnings.
    traceback : str
        Of the exception, if it raised one.
    """

    record_id: str
    stdout: str = ""
    stderr: str = ""
    warnings: tuple[str, ...] = ()
    traceback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowEnd:
    """How a workflow ended.

    Attributes
    ----------
    state : str
        succeeded, failed, cancelled or interrupted (its process went away, or its client was
        closed: it can be resumed).
    ended_at : datetime
        UTC.
    summary_metrics : mapping
        Numbers about the whole workflow.
    """

    state: str
    ended_at: datetime
    summary_metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowHistory:
    """All that there is to save of one workflow so far.

    Attributes
    ----------
    run : WorkflowRun
        The workflow.
    records : tuple of Record
        Attempts that ended.
    logs : mapping
        AttemptLog by record_id.
    end : WorkflowEnd or None
        None while it runs.
    """

    run: WorkflowRun
    records: tuple[Record, ...] = ()
    logs: Mapping[str, AttemptLog] = field(default_factory=dict)
    end: WorkflowEnd | None = None


@runtime_checkable
class HistoryStore(Protocol):
    """Keeps what workflows cost, and gives it back: the interface of every history.

    Implement it to keep the history elsewhere than in MLflow, and give it to ``Client(history=…)``.
    Methods may be called from several threads.
    """

    @property
    def source(self) -> str | None:
        """The store's identity: equal for two objects that read and write the same history.

        It names what is kept on this machine on the store's behalf. None for a store that ends
        with its process: then no cache of its records is kept, and no outbox.
        """

    @property
    def models(self) -> ModelRegistry | None:
        """Where sizing models that learned from it are kept; None to keep none."""

    def prepare(self) -> None:
        """Make the store usable (schema, experiment); cheap when it already is.

        Raises
        ------
        HistoryError
            It can't be used; the message says why and what to do.
        """

    def save(self, workflow: WorkflowHistory) -> str | None:
        """Save a workflow, running or ended, and return its address (None if it has none).

        Saving again adds only what is new, so a save that failed half way is simply repeated. An
        ended workflow that is saved without an end was resumed: it runs again, in the same place.
        What is new goes by ``record_id``: an attempt has the same one in every process.

        Raises
        ------
        HistoryError
            Not everything could be saved.
        """

    def read(self, cursor: str | None = None, limit: int | None = None) -> tuple[list[Record], str]:
        """Return the records of the workflows saved as ended since ``cursor``, and a new cursor.

        Parameters
        ----------
        cursor
            What an earlier call returned; None for everything.
        limit
            Read at most so many saves of workflows; None for all. There is no more to read when
            the cursor comes back unchanged.

        Returns
        -------
        records, cursor
            In the order they were saved. Of a workflow that was interrupted, resumed and ended
            again, those that are new since. A store may give some again: ``record_id`` tells.

        Raises
        ------
        HistoryError
            The store can't be read; `InvalidCursorError` if the cursor isn't one of this store.
        """

    def url(self, workflow_id: str) -> str | None:
        """Return where a saved workflow can be looked at; None if it isn't there."""


@runtime_checkable
class KeepsModels(Protocol):
    """What a history has beside, where fitted models can be kept with their workflows."""

    def log_model(
        self,
        workflow_id: str,
        model: Any,
        *,
        input_example: Any = None,
        registered_name: str | None = None,
    ) -> str:
        """Keep a fitted model with a saved workflow, and return the address to load it from.

        Parameters
        ----------
        workflow_id
            Whose it is.
        model
            With scikit-learn's interface.
        input_example
            Rows as they are predicted, kept with the model; None keeps no data.
        registered_name
            The registered model of which it becomes a version; None for none.

        Raises
        ------
        HistoryError
            The workflow isn't there, or the model can't be kept.
        """


INTERRUPTED: Final = "interrupted"
"""The state of a workflow that can be resumed: its process went away, or its client was closed."""


def standing_end(before: WorkflowEnd | None, now: WorkflowEnd) -> WorkflowEnd:
    """Return which end of a workflow stands: the one that is stored, or the one to be saved.

    Who finds the records of a process that is gone says that the workflow was interrupted, as of
    its last record. If it was resumed meanwhile and came to its end, it did end so: whoever resumes
    a workflow saves first that it runs again.
    """
    if before is None or now.state != INTERRUPTED:
        return now
    final = before.state != INTERRUPTED
    return before if final or before.ended_at >= now.ended_at else now


def unique_records(records: Iterable[Record]) -> tuple[Record, ...]:
    """Return the records without repetitions; of equal ids the last one stays."""
    return tuple({record.record_id: record for record in records}.values())


class MemoryHistory:
    """A history that lives as long as its process: the in-memory counterpart of the MLflow store.

    For tests, and for a client that shall leave nothing behind.

    Examples
    --------
    >>> from fitcast import Client, MemoryHistory, Sweep
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.naive_bayes import GaussianNB
    >>> sweep = Sweep({"nb": GaussianNB()}, *load_iris(return_X_y=True), cv=2, refit=False)
    >>> history = MemoryHistory()
    >>> with Client(history=history) as client:
    ...     result = client.submit(sweep).result()
    >>> records, _ = history.read()
    >>> sorted((record.candidate, record.fold, str(record.outcome)) for record in records)
    [('nb', 0, 'succeeded'), ('nb', 1, 'succeeded')]
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workflows: dict[str, WorkflowHistory] = {}
        # Saves of ended workflows, each with the records that came with it
        self._saves: list[tuple[Record, ...]] = []
        self._given: dict[str, set[str]] = {}  # ids of the records in them, by workflow

    @property
    def source(self) -> str | None:
        """None: it ends with its process, so nothing is kept on disk for it."""
        return None

    @property
    def models(self) -> None:
        """None: a model is trained anew by the process that holds this."""
        return

    def prepare(self) -> None:
        """Do nothing: memory is always ready."""

    def save(self, workflow: WorkflowHistory) -> str | None:
        """Save a workflow; see :meth:`HistoryStore.save`."""
        workflow_id = workflow.run.workflow_id
        with self._lock:
            before = self._workflows.get(workflow_id)
            if before is not None:
                workflow = replace(
                    workflow,
                    run=before.run,
                    records=unique_records(before.records + workflow.records),
                    logs={**before.logs, **workflow.logs},
                    end=workflow.end and standing_end(before.end, workflow.end),
                )
            self._workflows[workflow_id] = workflow
            if workflow.end is not None:
                given = self._given.setdefault(workflow_id, set())
                new = tuple(r for r in workflow.records if r.record_id not in given)
                given.update(r.record_id for r in new)
                self._saves.append(new)
        return self._url(workflow_id)

    def read(self, cursor: str | None = None, limit: int | None = None) -> tuple[list[Record], str]:
        """Return what is new since ``cursor``; see :meth:`HistoryStore.read`."""
        try:
            seen = int(cursor or 0)
        except (TypeError, ValueError) as error:
            raise InvalidCursorError(
                f"{cursor!r} is no cursor of this history; pass None to read everything"
            ) from error
        with self._lock:
            until = len(self._saves) if limit is None else min(len(self._saves), seen + limit)
            records = [r for new in self._saves[seen:until] for r in new]
        return records, str(max(seen, until))

    def url(self, workflow_id: str) -> str | None:
        """Return where a workflow can be looked at; see :meth:`HistoryStore.url`."""
        return self._url(workflow_id) if workflow_id in self._workflows else None

    def workflow(self, workflow_id: str) -> WorkflowHistory | None:
        """Return all that was saved of a workflow."""
        return self._workflows.get(workflow_id)

    @staticmethod
    def _url(workflow_id: str) -> str:
        return f"memory:{workflow_id}"
