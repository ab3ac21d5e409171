"""The database's schema: brought up to date, taken back, and checked before the service starts."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from sealwright_licensing.actors import Actor
from sealwright_licensing.baseline import enter_baseline
from sealwright_licensing.database import EXCLUSIVE, refused, take_alone
from sealwright_licensing.signed_records import sign_stored_records
from sealwright_policies.errors import OperationError, UsageError

SIGNED_SINCE = "0009"
"""The revision since which records are signed."""
T = TypeVar("T")
RecordKey = Callable[[], Ed25519PrivateKey]
_MIGRATIONS = Path(__file__).parent / "migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config


@cache
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
        raise refused(engine, error) from error


def create(engine: Engine) -> None:
    """Bring an empty database to the newest revision.

    Raises:
        OperationError: it is not empty, or refuses.
    """
    found = current_revision(engine)
    if found is not None:
        raise OperationError(
            f"The database holds a licence service already, of schema {found}.", cure="Give an empty database."
        )
    upgrade(engine)


def upgrade(engine: Engine, actor: Actor | None = None, record_key: RecordKey | None = None) -> int:
    """Bring a database to the newest revision; then the log is told how the migrations left its rows, and by whom.

    Args:
        engine: the database.
        actor: who does it; None for a database that is empty.
        record_key: opens the key that signs what is there, if the schema had no signatures (signed_records.py).

    Returns:
        Number of records that it has signed.

    Raises:
        OperationError: the database refuses.
    """
    return _migrate(engine, partial(_upgrade, actor, record_key), "head")


def _upgrade(actor: Actor | None, record_key: RecordKey | None, config: Config, revision: str) -> int:
    signed = 0
    connection = config.attributes["connection"]
    before = MigrationContext.configure(connection).get_current_revision()
    command.upgrade(config, revision)
    if before not in (None, newest_revision()):
        assert actor is not None  # noqa: S101 - a database that is not empty is upgraded by somebody
        if str(before) < SIGNED_SINCE and record_key is not None:
            signed = sign_stored_records(connection, record_key())
        enter_baseline(connection, actor, str(before), newest_revision())
    return signed


def downgrade(engine: Engine, revision: str) -> None:
    """Take a database back to a revision; "base" empties it.

    Raises:
        UsageError: there is no such revision below the present one.
        OperationError: the database refuses.
    """
    _migrate(engine, command.downgrade, revision)


def _migrate(engine: Engine, run: Callable[[Config, str], T], revision: str) -> T:
    """In one transaction, which two processes take one after the other."""
    config = _config()
    try:
        with engine.connect().execution_options(**{EXCLUSIVE: True}) as connection, connection.begin():
            take_alone(connection)
            config.attributes["connection"] = connection
            return run(config, revision)
    except CommandError as error:
        raise UsageError(f"Schema {revision}: {error}") from error
    except DBAPIError as error:
        raise refused(engine, error) from error


def require_newest(engine: Engine) -> None:
    """Refuse a database of another revision than this code's."""
    found, wanted = current_revision(engine), newest_revision()
    if found != wanted:
        raise OperationError(
            f"The database has schema {found or 'none'}, this version needs {wanted}.",
            cure="Stop the service, back up the database and run `sealwright-license database upgrade DIR`.",
        )
