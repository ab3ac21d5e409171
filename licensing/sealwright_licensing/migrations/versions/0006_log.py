"""The append-only log: entries that wait, entries with numbers, hashes of subtrees, checkpoints.

Revision ID: 0006
Revises: 0005

Rows that are there already get their first entries from `sealwright-license migrate` (baseline.py). Going down drops
the log.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision: str | None = "0005"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Create its tables."""
    position = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "log_queue", sa.Column("position", position, primary_key=True, autoincrement=True), *_search_columns()
    )
    op.create_table("log_entries", _number("entry_index", key=True), *_search_columns())
    for column in ("at", "code", "device_id", "license_id", "subject"):
        op.create_index(f"ix_log_entries_{column}", "log_entries", [column])
    op.create_table(
        "log_nodes",
        _number("level", key=True),
        _number("node_index", key=True),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "log_checkpoints",
        _number("size", key=True),
        sa.Column("note", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    for table in ("log_checkpoints", "log_nodes", "log_entries", "log_queue"):
        op.drop_table(table)


def _search_columns() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("leaf", sa.LargeBinary, nullable=False),
        sa.Column("entry_kind", sa.Text, nullable=False),
        _number("at"),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("code", "device_id", "license_id", "subject")),
    )


def _number(name: str, *, key: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, primary_key=key, nullable=False, autoincrement=False)
