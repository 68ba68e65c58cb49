"""The broker's database: users, tokens, workflows, events; the one edge to SQLAlchemy.

What leaves the room are the records of :mod:`fitcast.scheduler.broker.store.records`.
"""

from fitcast.scheduler.broker.store.broker_store import BrokerStore
from fitcast.scheduler.broker.store.records import (
    PREPARE,
    SCOPES,
    UPLOADS,
    AuditEntry,
    Holdings,
    NewWorkflow,
    Progress,
    QueueLoad,
    StoredEvent,
    StoredWorkflow,
    Token,
    User,
)

__all__ = [
    "PREPARE",
    "SCOPES",
    "UPLOADS",
    "AuditEntry",
    "BrokerStore",
    "Holdings",
    "NewWorkflow",
    "Progress",
    "QueueLoad",
    "StoredEvent",
    "StoredWorkflow",
    "Token",
    "User",
]
