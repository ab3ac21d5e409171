"""Boot logs of the last accepted evidence, and challenges that travel by file.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add them, empty."""
    # SQLite keeps a default of '' as text, PostgreSQL reads x'' as bits.
    nothing = sa.text("x''" if op.get_bind().dialect.name == "sqlite" else "''")
    for table, column in (("devices", "boot_logs_digest"), ("pending_enrollments", "challenge")):
        op.add_column(table, sa.Column(column, sa.LargeBinary, nullable=False, server_default=nothing))
    op.create_table(
        "appraised_logs",
        sa.Column("device_id", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("boot_log", sa.LargeBinary, nullable=False),
        sa.Column("userspace_log", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("device_id", name="pk_appraised_logs"),
    )


def downgrade() -> None:
    """Remove them."""
    op.drop_table("appraised_logs")
    for table, column in (("pending_enrollments", "challenge"), ("devices", "boot_logs_digest")):
        with op.batch_alter_table(table) as batch:
            batch.drop_column(column)
