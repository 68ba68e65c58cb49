"""A queued workflow's states and the legal ways between them. Pure.

    uploading → queued → running → succeeded | failed | cancelled
        │          ↑  │      │
        │          └──│──────┘    its replica ended, was lost, or it gave way
        ├──→ expired  │           never completed
        ├──→ failed   │           what was described can't be made
        └─────────────┴──→ cancelled

A cancel of a running workflow is a flag that its replica sees; the workflow ends when that replica
says so, or as soon as no replica has it any more. Not in: who claims what
(:mod:`fitcast.scheduler.broker.fair_share`), where the states are kept
(:mod:`fitcast.scheduler.broker.store`).
"""

from enum import StrEnum
from typing import Final

from fitcast.errors import WorkflowStateError


class State(StrEnum):
    """Where a workflow is on its way through the broker."""

    UPLOADING = "uploading"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing comes after it."""
        return not NEXT[self]


NEXT: Final[dict[State, frozenset[State]]] = {
    State.UPLOADING: frozenset({State.QUEUED, State.FAILED, State.CANCELLED, State.EXPIRED}),
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED}),
    State.RUNNING: frozenset({State.QUEUED, State.SUCCEEDED, State.FAILED, State.CANCELLED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
    State.EXPIRED: frozenset(),
}
"""What may come after each state."""

TERMINAL: Final = frozenset(state for state, after in NEXT.items() if not after)
"""The states that nothing comes after."""


def check_transition(workflow_id: str, now: State, then: State) -> None:
    """Check that a workflow may go from one state to another.

    Raises
    ------
    WorkflowStateError
        It may not.
    """
    if then not in NEXT[now]:
        raise WorkflowStateError(
            f"workflow {workflow_id} is {now.value}: it can't become {then.value}"
            + (", it has ended" if now in TERMINAL else "")
        )


def after_replica(*, cancel_asked: bool) -> State:
    """Return what a running workflow becomes that no replica has any more."""
    return State.CANCELLED if cancel_asked else State.QUEUED
