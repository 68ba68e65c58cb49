"""What becomes of a workflow that can't be opened: its end, or another try after a pause. Pure.

Not in: opening (:mod:`fitcast.scheduler.broker.serving.claims`), what ends one whose folder is gone
for good (:mod:`fitcast.scheduler.broker.serving.upkeep`).
"""

from dataclasses import dataclass
from typing import Final

from fitcast.errors import (
    BackendError,
    BrokerStoreError,
    HistoryError,
    KeyEncryptionError,
    StoreError,
    UnknownWorkflowError,
    WorkflowHeldError,
)

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0

_PASSES: Final = (
    WorkflowHeldError,  # by a replica that was lost and isn't gone
    UnknownWorkflowError,  # a volume that isn't there, for now
    StoreError,
    BrokerStoreError,
    KeyEncryptionError,
    BackendError,
    HistoryError,
    OSError,  # too many open files, a volume that is away; a time that ran out is one, too
    MemoryError,
)


def ends(error: BaseException) -> bool:
    """Tell whether a workflow that couldn't be opened has ended by that; else it is tried again.

    What is wrong with the workflow ends it: it is the same whoever opens it, and when. What is
    wrong with the place may be mended, and no workflow is lost for it.
    """
    return not isinstance(error, _PASSES)


def told(error: BaseException) -> str:
    """Return what holds a workflow up, for its user: nothing of the place's own."""
    if isinstance(error, WorkflowHeldError):
        return "another replica of the platform still has it; it is tried again until that lets go"
    return (
        f"the platform can't open it for now ({type(error).__name__}); it is tried again, and who "
        "runs the platform finds the reason in its log"
    )


@dataclass(frozen=True, slots=True)
class _Pause:
    tries: int
    until_s: float


class Pauses:
    """How long which workflows are left alone: longer each time, by whatever clock."""

    def __init__(self) -> None:
        self._pauses: dict[str, _Pause] = {}

    def add(self, workflow_id: str, now_s: float) -> float:
        """Leave one alone that couldn't be opened; return for how long."""
        known = self._pauses.get(workflow_id)
        tries = 1 if known is None else known.tries + 1
        pause_s = min(FIRST_PAUSE_S * 2.0 ** min(tries - 1, 30), LONGEST_PAUSE_S)
        self._pauses[workflow_id] = _Pause(tries, now_s + pause_s)
        return pause_s

    def left_alone(self, now_s: float) -> set[str]:
        """Return those whose pause isn't over."""
        # one that nothing was heard of for long was opened by another replica, or is gone
        long_ago_s = now_s - 10.0 * LONGEST_PAUSE_S
        self._pauses = {one: it for one, it in self._pauses.items() if it.until_s > long_ago_s}
        return {one for one, it in self._pauses.items() if it.until_s > now_s}

    def forget(self, workflow_id: str) -> None:
        """Know nothing more of one that could be opened, or has ended."""
        self._pauses.pop(workflow_id, None)
