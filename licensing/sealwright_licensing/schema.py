"""The database's schema: brought up to date, taken back, and checked before the service starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from alembic import command
from alembic.util.exc import CommandError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from sealwright_licensing.actors import Actor
from sealwright_licensing.audit import Finding, Report
from sealwright_licensing.audit_acknowledgement import acknowledge_finding
from sealwright_licensing.audit_judgements import Judgement
from sealwright_licensing.audit_keys import AuditKeys
from sealwright_licensing.baseline import LOGGED_SINCE, enter_baseline, require_as_logged
from sealwright_licensing.database import EXCLUSIVE, refused, take_alone
from sealwright_licensing.revisions import migrations, newest_revision, revision_of
from sealwright_licensing.signed_records import sign_stored_records
from sealwright_policies.errors import OperationError, UsageError

SIGNED_SINCE = "0009"
"""The revision since which records are signed."""


@dataclass(frozen=True, slots=True)
class Migrator:
    """Who takes a database with records to another schema, and what that needs."""

    actor: Actor
    audit_keys: AuditKeys
    record_key: Callable[[], Ed25519PrivateKey]
    """Opens the key that signs what is there, if the schema had no signatures (signed_records.py)."""


@dataclass(frozen=True, slots=True)
class Migration:
    """What a change of the schema has come to."""

    signed: int = 0
    """Records that were signed."""
    acknowledged: tuple[tuple[Finding, Judgement], ...] = ()
    """Findings that persons had acknowledged: the rows are entered in the log as they are."""


def current_revision(engine: Engine) -> str | None:
    """The revision of a database, None for an empty one."""
    try:
        with engine.connect() as connection:
            return revision_of(connection)
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


def upgrade(engine: Engine, migrator: Migrator | None = None) -> Migration:
    """Bring a database to the newest revision.

    Its rows are audited before, and the log is told how the migrations have left them, and by whom.

    Args:
        engine: the database.
        migrator: not needed for a database that is empty.

    Raises:
        VerificationError: AUDIT_MISMATCH: the rows are not as the log has them.
        OperationError: the database refuses, or a record that is to be signed now is one that a person has judged.
    """
    newest, signed = newest_revision(), 0
    with _alone(engine) as connection:
        before = revision_of(connection)
        if before == newest:
            return Migration()
        report = _prepare(connection, before, migrator)
        command.upgrade(migrations(connection), newest)
        if migrator and before and before < SIGNED_SINCE:
            signed = sign_stored_records(connection, migrator.record_key(), report.judged_rows())
        _enter(connection, before, migrator)
    return Migration(signed, tuple(report.acknowledged))


def downgrade(engine: Engine, revision: str, migrator: Migrator) -> Migration:
    """Take a database back to a revision, with the same audit and the same entries; "base" empties it.

    Raises:
        UsageError: there is no such revision below the present one.
        VerificationError: AUDIT_MISMATCH: the rows are not as the log has them.
        OperationError: the database refuses.
    """
    with _alone(engine) as connection:
        before = revision_of(connection)
        report = _prepare(connection, before, migrator)
        command.downgrade(migrations(connection), revision)
        _enter(connection, before, migrator)
    return Migration(acknowledged=tuple(report.acknowledged))


def acknowledge(engine: Engine, keys: AuditKeys, actor: Actor, named: str, judgement: str) -> Finding:
    """Enter what a person says of a finding of the audit, whatever the database's schema is.

    Raises:
        UsageError, OperationError: as :func:`.audit_acknowledgement.acknowledge_finding`; or the database refuses.
    """
    with _alone(engine) as connection:
        revision = revision_of(connection) or ""
        now = int(time.time())
        return acknowledge_finding(connection, keys, actor, named, judgement, schema=revision, now=now)


def _prepare(connection: Connection, before: str | None, migrator: Migrator | None) -> Report:
    if before is None:
        return Report()
    assert migrator is not None  # noqa: S101 - a database that is not empty is migrated by somebody
    return require_as_logged(connection, before, migrator.audit_keys)


def _enter(connection: Connection, before: str | None, migrator: Migrator | None) -> None:
    after = revision_of(connection)
    if migrator and before and after and before != after and after >= LOGGED_SINCE:
        enter_baseline(connection, migrator.actor, before, after)


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """One transaction, which two processes take one after the other."""
    try:
        with engine.connect().execution_options(**{EXCLUSIVE: True}) as connection, connection.begin():
            take_alone(connection)
            yield connection
    except CommandError as error:
        raise UsageError(f"The schema cannot be changed so: {error}") from error
    except DBAPIError as error:
        raise refused(engine, error) from error


def older_schema(engine: Engine) -> str | None:
    """The revision of a database that has a log and is not brought up to date yet; None of one that is.

    Raises:
        OperationError: it is from before there was a log.
    """
    found = current_revision(engine)
    if found is None or found < LOGGED_SINCE or found > newest_revision():
        require_newest(engine)
    return None if found == newest_revision() else found


def require_newest(engine: Engine) -> None:
    """Refuse a database of another revision than this code's."""
    found, wanted = current_revision(engine), newest_revision()
    if found != wanted:
        raise OperationError(
            f"The database has schema {found or 'none'}, this version needs {wanted}.",
            cure="Stop the service, back up the database and run `sealwright-license database upgrade DIR`.",
        )
