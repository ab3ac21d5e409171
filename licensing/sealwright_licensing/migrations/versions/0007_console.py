"""Indexes for what the console counts and lists first.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision: str | None = "0006"
branch_labels: str | None = None
depends_on: str | None = None

_INDEXES = {
    "devices": ("status", "tier"),
    "licenses": ("status", "expires_at"),
    "device_firmware": ("shown_at",),
    "metering_chains": ("disputed", "reported_at"),
    "metering_alarms": ("raised_at", "alarm_id"),
}


def upgrade() -> None:
    """Add them; the leases of a device are found by the same index as before, which now knows their ends."""
    for table, columns in _INDEXES.items():
        op.create_index(f"ix_{table}_{columns[0]}", table, list(columns))
    op.drop_index("ix_leases_device_id", "leases")
    op.create_index("ix_leases_device_id", "leases", ["device_id", "expires_at"])


def downgrade() -> None:
    """Remove them."""
    op.drop_index("ix_leases_device_id", "leases")
    op.create_index("ix_leases_device_id", "leases", ["device_id"])
    for table, columns in _INDEXES.items():
        op.drop_index(f"ix_{table}_{columns[0]}", table)
