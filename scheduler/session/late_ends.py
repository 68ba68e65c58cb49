"""Ends of workflows that can't be written down now: they are, once the disk takes them.

Until then the workflow keeps its dataset and stays held by this process, so that nothing of it is
lost and nobody goes on with it meanwhile. If the process ends first, another one finds all fits
done, and ends it again.

Not in: what is written (:mod:`fitcast.scheduler.kept.workflow_folder`).
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fitcast.errors import FitcastError, StoreError
from fitcast.scheduler.kept.workflow_folder import End, WorkflowFolder

log = logging.getLogger(__name__)

RETRY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Late:
    folder: WorkflowFolder
    end: End
    then: Callable[[], None]


class LateEnds:
    """Ends that are written as soon as that is possible, on a thread if there are any.

    Parameters
    ----------
    on_trouble : callable
        ``on_trouble(workflow_id, text)`` when an end can't be written, with an empty text once it
        is.
    retry_s : float
        How often it is tried.
    """

    def __init__(self, on_trouble: Callable[[str, str], None], retry_s: float = RETRY_S) -> None:
        self._on_trouble = on_trouble
        self._retry_s = retry_s
        self._lock = threading.Lock()
        self._late: dict[str, _Late] = {}
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, folder: WorkflowFolder, end: End, then: Callable[[], None]) -> None:
        """Write an end down, now or later; then do what may only be done after it."""
        one = _Late(folder, end, then)
        try:
            self._write(one)
        except StoreError as error:
            self._on_trouble(folder.workflow_id, f"how it ended can't be written yet: {error}")
            with self._lock:
                self._late[folder.workflow_id] = one
                if self._thread is None and not self._closing.is_set():
                    self._thread = threading.Thread(
                        target=self._go_round, name="fitcast-ends", daemon=True
                    )
                    self._thread.start()

    def retry(self) -> int:
        """Try those that couldn't be written; return how many still can't."""
        with self._lock:
            late = list(self._late.items())
        for workflow_id, one in late:
            try:
                if one.folder.is_whole:  # else it was removed meanwhile
                    self._write(one)
            except StoreError:
                continue
            except FitcastError as error:
                log.warning("workflow %s: %s", workflow_id, error)
            with self._lock:
                self._late.pop(workflow_id, None)
            one.folder.release()
            self._on_trouble(workflow_id, "")
        with self._lock:
            return len(self._late)

    def close(self) -> None:
        """Try once more, and let go of the rest: others may go on with it."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        self.retry()
        with self._lock:
            for one in self._late.values():
                one.folder.release()
            self._late.clear()

    def _go_round(self) -> None:
        while not self._closing.wait(self._retry_s):
            self.retry()

    def _write(self, one: _Late) -> None:
        one.folder.note_end(one.end)
        try:
            one.then()
        finally:
            one.folder.release()
