"""The database's schema: brought up to date, taken back, and checked before the service starts."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from sealwright_policies.errors import OperationError

_MIGRATIONS = Path(__file__).parent / "migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config


def newest_revision() -> str:
    """The revision that this version of the code needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise OperationError("The package holds no migrations.", cure="Reinstall sealwright-licensing.")
    return head


def current_revision(engine: Engine) -> str | None:
    """The revision of a database, None for an empty one."""
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    except DBAPIError as error:
        raise OperationError(
            f"The database cannot be read: {error.orig}.", cure="Check its path and rights."
        ) from error


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring a database to a revision, by default the newest."""
    config = _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Take a database back to a revision; "base" empties it."""
    config = _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def require_newest(engine: Engine) -> None:
    """Refuse a database of another revision than this code's."""
    found, wanted = current_revision(engine), newest_revision()
    if found != wanted:
        raise OperationError(
            f"The database has schema {found or 'none'}, this version needs {wanted}.",
            cure="Stop the service, back up the database and run `sealwright-license migrate DIR`.",
        )
