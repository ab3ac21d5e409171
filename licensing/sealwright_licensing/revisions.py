"""The migrations as Alembic sees them: the newest revision, that of a database, and what runs them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from sealwright_policies.errors import OperationError

_MIGRATIONS = Path(__file__).parent / "migrations"


def migrations(connection: Connection | None = None) -> Config:
    """Alembic's configuration, for commands that work on a connection."""
    config = Config()
    config.attributes["connection"] = connection
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config


@cache
def newest_revision() -> str:
    """The revision that this version of the code needs."""
    head = ScriptDirectory.from_config(migrations()).get_current_head()
    if head is None:
        raise OperationError("The package holds no migrations.", cure="Reinstall sealwright-licensing.")
    return head


def revision_of(connection: Connection) -> str | None:
    """The revision of a database, None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()
