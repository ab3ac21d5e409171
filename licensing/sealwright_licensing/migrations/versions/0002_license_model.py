"""The licence model: overage, start, grace, entitlement; held devices, firmware, clock histories, operations.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None

_TEXTS = {
    "licenses": {
        "overage": "none",
        "at_end": "close",
        "renewal_basis": "expiry",
        "partitions": "",
        "domains": "",
        "features": "",
    },
    "activation_codes": {"replaces": ""},
    "devices": {"held_code": "", "approved_pcrs": "{}"},
    "device_releases": {"partitions": ""},
}
_NUMBERS = {"licenses": ("starts_at", "grace_s", "boots_without_contact")}


def upgrade() -> None:
    """Add columns and tables; licences that are there began when they were issued."""
    for table, texts in _TEXTS.items():
        with op.batch_alter_table(table) as batch:
            for name, value in texts.items():
                batch.add_column(sa.Column(name, sa.Text, nullable=False, server_default=value))
            for name in _NUMBERS.get(table, ()):
                batch.add_column(sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    op.execute("UPDATE licenses SET starts_at = issued_at")
    op.execute("UPDATE devices SET held_code = 'ROLLED_BACK' WHERE status = 'held'")
    op.create_table(
        "device_firmware",
        _text("device_id"),
        _text("pinned_events"),
        _text("shown_pcrs"),
        _text("shown_events"),
        _number("shown_at"),
        sa.PrimaryKeyConstraint("device_id", name="pk_device_firmware"),
    )
    op.create_table(
        "clock_sightings",
        _text("device_id"),
        *map(_number, ("number", "history", "seen_at", "clock_ms", "reset_count", "restart_count", "ticks")),
        _number("lease_number"),
        _text("code"),
        sa.PrimaryKeyConstraint("device_id", "number", name="pk_clock_sightings"),
    )
    op.create_table(
        "service_times", _text("name"), _number("at"), sa.PrimaryKeyConstraint("name", name="pk_service_times")
    )
    op.create_table(
        "operations",
        *map(_text, ("operation_id", "actor_kind", "actor", "operation", "subject", "detail")),
        _number("performed_at"),
        sa.PrimaryKeyConstraint("operation_id", name="pk_operations"),
    )
    op.create_index("ix_operations_subject", "operations", ["subject"])
    op.create_index("ix_operations_performed_at", "operations", ["performed_at"])


def downgrade() -> None:
    """Take them away."""
    for table in ("operations", "service_times", "clock_sightings", "device_firmware"):
        op.drop_table(table)
    for table, texts in _TEXTS.items():
        with op.batch_alter_table(table) as batch:
            for name in (*texts, *_NUMBERS.get(table, ())):
                batch.drop_column(name)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, autoincrement=False)
