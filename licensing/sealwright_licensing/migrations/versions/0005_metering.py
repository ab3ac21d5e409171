"""Metering: chains, receipts, usage by month, alarms.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "metering_chains",
        *_texts("device_id", "chain_id", "license_id", "enrollment_id"),
        *_numbers("begun_at", "sequence"),
        *_texts("digest"),
        *_numbers("reset_count", "clock_ms", "ticks"),
        sa.Column("disputed", sa.Boolean, nullable=False),
        *_numbers("reported_at"),
        sa.PrimaryKeyConstraint("device_id", "chain_id", name="pk_metering_chains"),
    )
    op.create_index("ix_metering_chains_license_id", "metering_chains", ["license_id"])
    op.create_table(
        "metering_receipts",
        *_texts("device_id", "chain_id", "digest"),
        *_numbers("sequence"),
        *_texts("license_id"),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("disputed", sa.Boolean, nullable=False),
        *_numbers("received_at"),
        sa.PrimaryKeyConstraint("device_id", "chain_id", "digest", name="pk_metering_receipts"),
    )
    usage_key = ("license_id", "month", "claimed_month", "device_id", "partition_id", "alias")
    op.create_table(
        "metering_usage",
        *_texts(*usage_key),
        sa.Column("disputed", sa.Boolean, nullable=False),
        *_texts("model"),
        *_numbers("requests", "prompt_tokens", "completion_tokens", "busy_ms", "lease_ms"),
        sa.PrimaryKeyConstraint(*usage_key, "disputed", name="pk_metering_usage"),
    )
    op.create_index("ix_metering_usage_month", "metering_usage", ["month"])
    op.create_table(
        "metering_alarms",
        *_texts("alarm_id", "device_id", "license_id", "chain_id"),
        *_numbers("sequence"),
        *_texts("code", "sentence"),
        *_numbers("raised_at"),
        sa.PrimaryKeyConstraint("alarm_id", name="pk_metering_alarms"),
    )
    op.create_index("ix_metering_alarms_device_id", "metering_alarms", ["device_id"])
    op.create_index("ix_metering_alarms_license_id", "metering_alarms", ["license_id"])


def downgrade() -> None:
    """Remove them, and what they hold."""
    for table in ("metering_alarms", "metering_usage", "metering_receipts", "metering_chains"):
        op.drop_table(table)


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _numbers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False, autoincrement=False) for name in names]
