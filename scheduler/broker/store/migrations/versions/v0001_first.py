"""The first schema: users, tokens, workflows, events, the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "audit",
        sa.Column("entry_id", _number(), autoincrement=True, nullable=False),
        sa.Column("at_s", sa.Double(), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=100), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(length=100), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_audit")),
        sqlite_autoincrement=True,
    )

    op.create_table(
        "notes",
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_notes")),
    )

    op.create_table(
        "users",
        sa.Column("user_id", _number(), autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("group_name", sa.String(length=100), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("is_admin", sa.Boolean(), nullable=False),
        sa.Column("created_at_s", sa.Double(), nullable=False),
        sa.Column("disabled_at_s", sa.Double(), nullable=True),
        sa.Column("quota_running_cpus", sa.Double(), nullable=True),
        sa.Column("quota_running_memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("quota_queued_fits", sa.BigInteger(), nullable=True),
        sa.Column("quota_stored_bytes", sa.BigInteger(), nullable=True),
        sa.Column("usage_cpu_s", sa.Double(), nullable=False),
        sa.Column("usage_memory_byte_s", sa.Double(), nullable=False),
        sa.Column("usage_gpu_s", sa.Double(), nullable=False),
        sa.Column("usage_as_of_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_users")),
        sa.UniqueConstraint("name", name=op.f("uq_users_name")),
        sqlite_autoincrement=True,
    )

    op.create_table(
        "events",
        sa.Column("seq", _number(), autoincrement=True, nullable=False),
        sa.Column("at_s", sa.Double(), nullable=False),
        sa.Column("workflow_id", sa.String(length=100), nullable=True),
        sa.Column("user_id", _number(), nullable=True),
        sa.Column("kind", sa.String(length=50), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_events_user_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_user_id_seq", "events", ["user_id", "seq"], unique=False)
    op.create_index("ix_events_workflow_id_seq", "events", ["workflow_id", "seq"], unique=False)

    op.create_table(
        "tokens",
        sa.Column("token_id", _number(), autoincrement=True, nullable=False),
        sa.Column("user_id", _number(), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("scopes", sa.String(length=100), nullable=False),
        sa.Column("selector", sa.String(length=16), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created_at_s", sa.Double(), nullable=False),
        sa.Column("expires_at_s", sa.Double(), nullable=True),
        sa.Column("revoked_at_s", sa.Double(), nullable=True),
        sa.Column("last_used_at_s", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_tokens_user_id")),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_tokens")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_tokens_selector"), "tokens", ["selector"], unique=False)
    op.create_index(op.f("ix_tokens_user_id"), "tokens", ["user_id"], unique=False)

    op.create_table(
        "workflows",
        sa.Column("row_id", _number(), autoincrement=True, nullable=False),
        sa.Column("workflow_id", sa.String(length=100), nullable=False),
        sa.Column("user_id", _number(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("created_at_s", sa.Double(), nullable=False),
        sa.Column("queued_at_s", sa.Double(), nullable=True),
        sa.Column("started_at_s", sa.Double(), nullable=True),
        sa.Column("ended_at_s", sa.Double(), nullable=True),
        sa.Column("touched_at_s", sa.Double(), nullable=False),
        sa.Column("alone_s", sa.Double(), nullable=False),
        sa.Column("due_at_s", sa.Double(), nullable=True),
        sa.Column("fits_total", sa.BigInteger(), nullable=False),
        sa.Column("fits_done", sa.BigInteger(), nullable=False),
        sa.Column("demand_cpu_s", sa.Double(), nullable=False),
        sa.Column("demand_memory_byte_s", sa.Double(), nullable=False),
        sa.Column("demand_gpu_s", sa.Double(), nullable=False),
        sa.Column("whole_cpu_s", sa.Double(), nullable=False),
        sa.Column("whole_memory_byte_s", sa.Double(), nullable=False),
        sa.Column("whole_gpu_s", sa.Double(), nullable=False),
        sa.Column("most_cpus", sa.Double(), nullable=False),
        sa.Column("most_memory_bytes", sa.Double(), nullable=False),
        sa.Column("most_gpus", sa.Double(), nullable=False),
        sa.Column("used_cpus", sa.Double(), nullable=False),
        sa.Column("used_memory_bytes", sa.Double(), nullable=False),
        sa.Column("used_gpus", sa.Double(), nullable=False),
        sa.Column("forecast_p10_s", sa.Double(), nullable=True),
        sa.Column("forecast_p50_s", sa.Double(), nullable=True),
        sa.Column("forecast_p90_s", sa.Double(), nullable=True),
        sa.Column("eta_p10_s", sa.Double(), nullable=True),
        sa.Column("eta_p50_s", sa.Double(), nullable=True),
        sa.Column("eta_p90_s", sa.Double(), nullable=True),
        sa.Column("eta_at_s", sa.Double(), nullable=True),
        sa.Column("dataset_bytes", sa.BigInteger(), nullable=False),
        sa.Column("dataset_sha256", sa.String(length=64), nullable=False),
        sa.Column("dataset_received", sa.BigInteger(), nullable=False),
        sa.Column("sweep_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sweep_sha256", sa.String(length=64), nullable=False),
        sa.Column("sweep_received", sa.BigInteger(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("key_version", sa.String(length=100), nullable=False),
        sa.Column("idempotency_key", sa.String(length=200), nullable=True),
        sa.Column("request_sha256", sa.String(length=64), nullable=False),
        sa.Column("replica", sa.String(length=200), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("lease_until_s", sa.Double(), nullable=True),
        sa.Column("cancel_asked", sa.Boolean(), nullable=False),
        sa.Column("error_type", sa.String(length=200), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "(state = 'running') = (lease_until_s IS NOT NULL)",
            name=op.f("ck_workflows_lease_while_running"),
        ),
        sa.CheckConstraint(
            "state IN ('uploading', 'queued', 'running', 'succeeded', 'failed', "
            "'cancelled', 'expired')",
            name=op.f("ck_workflows_state"),
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_workflows_user_id")),
        sa.PrimaryKeyConstraint("row_id", name=op.f("pk_workflows")),
        sa.UniqueConstraint("workflow_id", name=op.f("uq_workflows_workflow_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_workflows_holdings",
        "workflows",
        [
            "user_id",
            "state",
            "fits_total",
            "fits_done",
            "stored_bytes",
            "used_cpus",
            "used_memory_bytes",
        ],
        unique=False,
    )
    op.create_index(
        "ix_workflows_queue",
        "workflows",
        ["queued_at_s", "row_id"],
        unique=False,
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "ix_workflows_running",
        "workflows",
        ["lease_until_s"],
        unique=False,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index(
        "ix_workflows_uploading",
        "workflows",
        ["touched_at_s"],
        unique=False,
        sqlite_where=sa.text("state = 'uploading'"),
        postgresql_where=sa.text("state = 'uploading'"),
    )
    op.create_index("ix_workflows_user_id_row_id", "workflows", ["user_id", "row_id"], unique=False)
    op.create_index(
        "ix_workflows_user_queue",
        "workflows",
        ["user_id", sa.literal_column("priority DESC"), "due_at_s", "row_id"],
        unique=False,
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "uq_workflows_user_id_idempotency_key",
        "workflows",
        ["user_id", "idempotency_key"],
        unique=True,
    )


def _number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")
