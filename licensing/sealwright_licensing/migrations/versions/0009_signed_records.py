"""Signatures of devices, open enrolments and trusted roots.

Revision ID: 0009
Revises: 0008

What is there is signed by the upgrade (schema.py), which has the service's keys.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision: str | None = "0008"
branch_labels: str | None = None
depends_on: str | None = None

_TABLES = ("devices", "pending_enrollments", "maker_certificates")


def upgrade() -> None:
    """Add them, empty."""
    # SQLite keeps a default of '' as text, PostgreSQL reads x'' as bits.
    nothing = sa.text("x''" if op.get_bind().dialect.name == "sqlite" else "''")
    for table in _TABLES:
        op.add_column(table, sa.Column("signature", sa.LargeBinary, nullable=False, server_default=nothing))


def downgrade() -> None:
    """Forget them."""
    for table in _TABLES:
        with op.batch_alter_table(table) as batch:
            batch.drop_column("signature")
