"""After how long what a workflow has is free again, for who forecasts the queue."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it; of workflows of before it isn't known."""
    op.add_column(
        "workflows",
        sa.Column("demand_frees_in_s", sa.Double(), nullable=False, server_default=sa.text("0")),
    )
