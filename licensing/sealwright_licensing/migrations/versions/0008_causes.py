"""The last use of a token in a table of its own: nothing is decided by it, so the log has nothing of it.

Revision ID: 0008
Revises: 0007

From this schema on every change of an audited row has a cause (audit_rows.py).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision: str | None = "0007"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Move it there."""
    op.create_table(
        "api_token_uses",
        sa.Column("token_id", sa.Text, nullable=False),
        sa.Column("used_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("token_id", name="pk_api_token_uses"),
    )
    op.execute(
        "INSERT INTO api_token_uses (token_id, used_at) "
        "SELECT token_id, last_used_at FROM api_tokens WHERE last_used_at IS NOT NULL"
    )
    op.drop_column("api_tokens", "last_used_at")


def downgrade() -> None:
    """Move it back."""
    op.add_column("api_tokens", sa.Column("last_used_at", sa.BigInteger, nullable=True))
    op.execute(
        "UPDATE api_tokens SET last_used_at = "
        "(SELECT used_at FROM api_token_uses WHERE api_token_uses.token_id = api_tokens.token_id)"
    )
    op.drop_table("api_token_uses")
