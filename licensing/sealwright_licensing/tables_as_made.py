"""Is every table what the migrations make? (policies/spec/transparency.md, 7). Asked before anything is read from them.

Who may write rows may mostly change tables too, and one with row security, a rule or a view in its place answers the
audit otherwise than the service; on SQLite an index with old entries does. What this cannot see: a database server, or
its files, that somebody has altered below SQL.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from psycopg.errors import InvalidSchemaName, UndefinedTable, WrongObjectType
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, ProgrammingError

from sealwright_licensing.database import is_postgresql, refused
from sealwright_licensing.made_tables import Made, made_at, stored_objects
from sealwright_licensing.postgresql_catalogue import read_relations
from sealwright_licensing.postgresql_tables import table_sentences
from sealwright_licensing.revisions import revision_of
from sealwright_licensing.sqlite_objects import object_differences
from sealwright_licensing.tables import metadata
from sealwright_policies.errors import RejectionCode, VerificationError

DATABASE, REVISIONS = "database", "alembic_version"
_MOST_DAMAGES = 20


def table_differences(connection: Connection) -> Iterator[tuple[str, str]]:
    """Place and sentence of all that is otherwise, and from then on nobody changes a table until the transaction ends.

    Its first statement, so that what the transaction sees is not older than that.
    """
    on_postgresql = is_postgresql(connection.engine)
    if on_postgresql:
        _keep_tables(connection)
    revision = revision_of(connection)
    if revision is None:
        yield DATABASE, "it does not say which schema it has"
        return
    made = made_at(revision)
    if on_postgresql:
        yield from _on_postgresql(connection, made)
    else:
        yield from object_differences(made.objects, stored_objects(connection))


def damages(connection: Connection) -> Iterator[tuple[str, str]]:
    """What SQLite finds in the whole of its file: pages, and indexes that do not have what their tables have.

    PostgreSQL keeps its files where only the server writes.
    """
    if not is_postgresql(connection.engine):
        for (said,) in connection.exec_driver_sql(f"PRAGMA integrity_check({_MOST_DAMAGES})"):
            if said != "ok":
                yield DATABASE, f"its file is damaged: {' '.join(said.split())}"


def require_as_made(engine: Engine) -> None:
    """Refuse to work on tables that are otherwise.

    Raises:
        VerificationError: AUDIT_MISMATCH.
        OperationError: the database refuses.
    """
    try:
        with engine.connect() as connection, connection.begin():
            found = list(table_differences(connection))
    except DBAPIError as error:
        raise refused(engine, error) from error
    if found:
        place, sentence = found[0]
        raise VerificationError(
            RejectionCode.AUDIT_MISMATCH,
            f"The database is not as the migrations make it: {place}: {sentence} ({len(found)} in all). The service "
            "does not start on it. `sealwright-license audit verify DIR` lists all: take it back (DROP …), or restore "
            "a backup, and find out who did it.",
            findings=[{"id": "", "place": place, "sentence": sentence} for place, sentence in found],
        )


def _keep_tables(connection: Connection) -> None:
    """Against row security that is switched on when its absence has been seen.

    LOCK sees no rows: in a transaction with one view of everything, that view is taken behind it.
    """
    names = [*metadata.tables, REVISIONS]
    if not _is_locked(connection, names):
        for name in names:  # some are missing, of an older schema, or cannot be locked; all others can
            _is_locked(connection, [name])


def _is_locked(connection: Connection, names: Sequence[str]) -> bool:
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(f"LOCK TABLE {', '.join(names)} IN ACCESS SHARE MODE")
    except ProgrammingError as error:
        if not isinstance(error.orig, (UndefinedTable, WrongObjectType, InvalidSchemaName)):
            raise
        return False
    return True


def _on_postgresql(connection: Connection, made: Made) -> Iterator[tuple[str, str]]:
    found = read_relations(connection, [one.name for one in made.tables])
    revisions = found.get(REVISIONS)
    schema = revisions.schema if revisions is not None else ""
    for one in made.tables:
        for sentence in table_sentences(one, found.get(one.name), schema):
            yield f"table {one.name}", sentence
