"""Workflows that prepare another one, of a sweep that came as a description; fits that run."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what tells of them."""
    op.add_column("workflows", sa.Column("running_fits", sa.Text(), nullable=True))
    op.add_column("workflows", sa.Column("prepares", sa.String(length=100), nullable=True))
    some = sa.text("prepares IS NOT NULL")
    op.create_index(
        "ix_workflows_prepares",
        "workflows",
        ["prepares"],
        unique=False,
        sqlite_where=some,
        postgresql_where=some,
    )
