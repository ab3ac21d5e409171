"""Alembic's entry point: runs on the connection that :mod:`sealwright_licensing.schema` hands over."""

from __future__ import annotations

from alembic import context

from sealwright_licensing.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
