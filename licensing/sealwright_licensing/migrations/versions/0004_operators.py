"""API tokens, sessions and idempotency keys of operators; order of what they page through.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None

_ORDERS = (("devices", "enrolled_at", "device_id"), ("leases", "issued_at", "lease_id"),
           ("decisions", "decided_at", "decision_id"))  # fmt: skip


def upgrade() -> None:
    """Add them."""
    op.create_table(
        "api_tokens",
        *(_text(name) for name in ("token_id", "name", "role", "licenses", "token_hash")),
        _number("created_at"),
        *(_number(name, nullable=True) for name in ("expires_at", "revoked_at", "last_used_at")),
        sa.PrimaryKeyConstraint("token_id", name="pk_api_tokens"),
    )
    op.create_table(
        "operator_sessions",
        *(_text(name) for name in ("session_hash", "name", "role", "kind", "token_id", "licenses")),
        *(_number(name) for name in ("created_at", "seen_at", "expires_at")),
        sa.PrimaryKeyConstraint("session_hash", name="pk_operator_sessions"),
    )
    op.create_index("ix_operator_sessions_token_id", "operator_sessions", ["token_id"])
    op.create_table(
        "idempotency_records",
        *(_text(name) for name in ("record_id", "request_hash", "resource")),
        _number("made_at"),
        sa.PrimaryKeyConstraint("record_id", name="pk_idempotency_records"),
    )
    for table, order, key in _ORDERS:
        op.create_index(f"ix_{table}_{order}", table, [order, key])


def downgrade() -> None:
    """Remove them; every token and session is void then."""
    for table, order, _ in _ORDERS:
        op.drop_index(f"ix_{table}_{order}", table)
    for table in ("idempotency_records", "operator_sessions", "api_tokens"):
        op.drop_table(table)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=nullable)
