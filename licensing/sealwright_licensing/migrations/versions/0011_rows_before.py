"""Nothing in the tables: from this schema on each entry of the log says how it found the rows that it is about.

Revision ID: 0011
Revises: 0010

So the audit knows which entries need not (audit_rows.py): those from before the upgrade, which enters all rows anew.
"""

from __future__ import annotations

revision = "0011"
down_revision: str | None = "0010"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Nothing."""


def downgrade() -> None:
    """Nothing."""
