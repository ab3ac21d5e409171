"""Ways through PCR 4 that were signed after a release was built.

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


def upgrade() -> None:
    """Releases that are known have none."""
    op.add_column("releases", sa.Column("variants", sa.Text, nullable=False, server_default="[]"))


def downgrade() -> None:
    """The approvals of such ways stay; the service before refuses boots that took one."""
    op.drop_column("releases", "variants")
