"""The tables of the broker's database, as SQLAlchemy Core knows them.

In: columns, keys, indexes. Not in: how an older database becomes this one
(:mod:`fitcast.scheduler.broker.store.migrations`; a test holds both together), what is done with
rows.

Times are seconds since 1970 in UTC by the database's clock, but for ``lease_until_s``, which is by
the lease clock (:mod:`fitcast.scheduler.broker.store.clocks`). Of tokens there is a hash, of
workflows' keys what a key-encryption key made of them: nothing here opens anything.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Double,
    ForeignKey,
    FromClause,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    literal_column,
    text,
)

from fitcast.scheduler.broker.lifecycle import State

METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only where a key is called INTEGER
_Number: Final = BigInteger().with_variant(Integer, "sqlite")
_IN_QUEUE: Final = text(f"state = '{State.QUEUED}'")
_RUNS: Final = text(f"state = '{State.RUNNING}'")
_UPLOADS: Final = text(f"state = '{State.UPLOADING}'")
_STATES: Final = ", ".join(f"'{state}'" for state in State)

USERS: Final = Table(
    "users",
    METADATA,
    Column("user_id", _Number, primary_key=True, autoincrement=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("group_name", String(100), nullable=False),
    Column("weight", Double, nullable=False),
    Column("is_admin", Boolean, nullable=False),
    Column("created_at_s", Double, nullable=False),
    Column("disabled_at_s", Double),
    Column("quota_running_cpus", Double),
    Column("quota_running_memory_bytes", BigInteger),
    Column("quota_queued_fits", BigInteger),
    Column("quota_stored_bytes", BigInteger),
    # what was had of the cluster, decayed as of a time
    Column("usage_cpu_s", Double, nullable=False),
    Column("usage_memory_byte_s", Double, nullable=False),
    Column("usage_gpu_s", Double, nullable=False),
    Column("usage_as_of_s", Double, nullable=False),
    sqlite_autoincrement=True,
)

TOKENS: Final = Table(
    "tokens",
    METADATA,
    Column("token_id", _Number, primary_key=True, autoincrement=True),
    Column("user_id", _Number, ForeignKey("users.user_id"), nullable=False, index=True),
    Column("label", String(200), nullable=False),
    Column("scopes", String(100), nullable=False),  # sorted, a blank between them
    Column("selector", String(16), nullable=False, index=True),  # the first bytes of the hash
    Column("secret_sha256", LargeBinary(32), nullable=False),
    Column("created_at_s", Double, nullable=False),
    Column("expires_at_s", Double),
    Column("revoked_at_s", Double),
    Column("last_used_at_s", Double),
    sqlite_autoincrement=True,
)

WORKFLOWS: Final = Table(
    "workflows",
    METADATA,
    Column("row_id", _Number, primary_key=True, autoincrement=True),  # in order of arrival
    Column("workflow_id", String(100), nullable=False, unique=True),
    Column("user_id", _Number, ForeignKey("users.user_id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("state", String(20), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("created_at_s", Double, nullable=False),
    Column("queued_at_s", Double),
    Column("started_at_s", Double),
    Column("ended_at_s", Double),
    Column("touched_at_s", Double, nullable=False),  # when something of it last came in
    Column("alone_s", Double, nullable=False),  # what it takes with all that it can use at once
    Column("due_at_s", Double),  # that long after it was queued: by this a user's own are ordered
    Column("fits_total", BigInteger, nullable=False),
    Column("fits_done", BigInteger, nullable=False),
    Column("demand_cpu_s", Double, nullable=False),
    Column("demand_memory_byte_s", Double, nullable=False),
    Column("demand_gpu_s", Double, nullable=False),
    Column("demand_frees_in_s", Double, nullable=False, server_default=text("0")),
    Column("whole_cpu_s", Double, nullable=False),  # as submitted, for who forecasts the queue
    Column("whole_memory_byte_s", Double, nullable=False),
    Column("whole_gpu_s", Double, nullable=False),
    Column("most_cpus", Double, nullable=False),
    Column("most_memory_bytes", Double, nullable=False),
    Column("most_gpus", Double, nullable=False),
    Column("used_cpus", Double, nullable=False),
    Column("used_memory_bytes", Double, nullable=False),
    Column("used_gpus", Double, nullable=False),
    Column("forecast_p10_s", Double),
    Column("forecast_p50_s", Double),
    Column("forecast_p90_s", Double),
    Column("eta_p10_s", Double),
    Column("eta_p50_s", Double),
    Column("eta_p90_s", Double),
    Column("eta_at_s", Double),
    Column("dataset_bytes", BigInteger, nullable=False),
    Column("dataset_sha256", String(64), nullable=False),
    Column("dataset_received", BigInteger, nullable=False),
    Column("sweep_bytes", BigInteger, nullable=False),
    Column("sweep_sha256", String(64), nullable=False),
    Column("sweep_received", BigInteger, nullable=False),
    Column("stored_bytes", BigInteger, nullable=False),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("key_version", String(100), nullable=False),
    Column("idempotency_key", String(200)),
    Column("request_sha256", String(64), nullable=False),
    Column("replica", String(200)),
    Column("fence", BigInteger, nullable=False),
    Column("lease_until_s", Double),
    Column("cancel_asked", Boolean, nullable=False),
    Column("error_type", String(200), nullable=False),
    Column("error", Text, nullable=False),
    Column("running_fits", Text),  # JSON: what its replica tells of them, while it runs
    Column("prepares", String(100)),  # the workflow that this one makes of its description
    CheckConstraint(f"state IN ({_STATES})", name="state"),
    CheckConstraint(
        f"(state = '{State.RUNNING}') = (lease_until_s IS NOT NULL)", name="lease_while_running"
    ),
    Index("ix_workflows_user_id_row_id", "user_id", "row_id"),
    Index("uq_workflows_user_id_idempotency_key", "user_id", "idempotency_key", unique=True),
    # covers what a quota is counted from
    Index(
        "ix_workflows_holdings",
        "user_id",
        "state",
        "fits_total",
        "fits_done",
        "stored_bytes",
        "used_cpus",
        "used_memory_bytes",
    ),
    sqlite_autoincrement=True,
)

_W: Final = WORKFLOWS.c


def is_in(state: State, table: FromClause = WORKFLOWS) -> ColumnElement[bool]:
    """Return the condition that a workflow is in a state.

    Written out rather than bound: only then do the databases know that an index of the workflows
    in that state will do.
    """
    return table.c.state == literal_column(f"'{state}'")


# The heads of the users' queues are found without reading the queues
Index(
    "ix_workflows_user_queue",
    _W.user_id,
    _W.priority.desc(),
    _W.due_at_s,
    _W.row_id,
    sqlite_where=_IN_QUEUE,
    postgresql_where=_IN_QUEUE,
)
Index(
    "ix_workflows_queue",
    _W.queued_at_s,
    _W.row_id,
    sqlite_where=_IN_QUEUE,
    postgresql_where=_IN_QUEUE,
)
Index("ix_workflows_running", _W.lease_until_s, sqlite_where=_RUNS, postgresql_where=_RUNS)
Index("ix_workflows_uploading", _W.touched_at_s, sqlite_where=_UPLOADS, postgresql_where=_UPLOADS)

Index(
    "ix_workflows_prepares",
    _W.prepares,
    sqlite_where=_W.prepares.is_not(None),
    postgresql_where=_W.prepares.is_not(None),
)

EVENTS: Final = Table(
    "events",
    METADATA,
    Column("seq", _Number, primary_key=True, autoincrement=True),
    Column("at_s", Double, nullable=False),
    Column("workflow_id", String(100)),
    Column("user_id", _Number, ForeignKey("users.user_id")),
    Column("kind", String(50), nullable=False),
    Column("data", Text, nullable=False),  # JSON
    Index("ix_events_workflow_id_seq", "workflow_id", "seq"),
    Index("ix_events_user_id_seq", "user_id", "seq"),
    sqlite_autoincrement=True,
)

AUDIT: Final = Table(
    "audit",
    METADATA,
    Column("entry_id", _Number, primary_key=True, autoincrement=True),
    Column("at_s", Double, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("action", String(100), nullable=False),
    Column("target", Text, nullable=False),
    Column("outcome", String(100), nullable=False),
    Column("detail", Text, nullable=False),
    sqlite_autoincrement=True,
)

NOTES: Final = Table(
    "notes",
    METADATA,
    Column("name", String(50), primary_key=True),
    Column("value", Text, nullable=False),
)
"""What the store keeps about itself."""
