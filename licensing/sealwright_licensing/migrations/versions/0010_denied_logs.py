"""Boot logs of the last denied evidence.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision: str | None = "0009"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add them, empty."""
    op.create_table(
        "denied_logs",
        sa.Column("device_id", sa.Text, nullable=False),
        sa.Column("decision_id", sa.Text, nullable=False),
        sa.Column("boot_log", sa.LargeBinary, nullable=False),
        sa.Column("userspace_log", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("device_id", name="pk_denied_logs"),
    )


def downgrade() -> None:
    """Forget them."""
    op.drop_table("denied_logs")
