"""Flows between boxes, as they report them.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision: str | None = "0011"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Create the table."""
    key = ("device_id", "license_id", "digest")
    texts = ("role", "flow_id", "other_id", "source", "target", "form", "name", "file_digest")
    op.create_table(
        "reported_flows",
        *_texts(*key),
        *_numbers("sequence"),
        *_texts(*texts),
        *_numbers("size"),
        *_texts("finding"),
        sa.Column("content", sa.LargeBinary, nullable=False),
        *_numbers("received_at"),
        sa.PrimaryKeyConstraint(*key, name="pk_reported_flows"),
    )
    op.create_index("ix_reported_flows_flow_id", "reported_flows", ["flow_id"])
    op.create_index("ix_reported_flows_received_at", "reported_flows", ["received_at", "digest"])


def downgrade() -> None:
    """Remove it, and what it holds."""
    op.drop_table("reported_flows")


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _numbers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False, autoincrement=False) for name in names]
