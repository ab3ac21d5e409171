"""Whoever writes a service's PostgreSQL cannot hide it from the audit behind what he makes of the tables."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine

from sealwright_licensing import schema
from sealwright_licensing.audit import Report, audit
from sealwright_licensing.audit_source import open_database_source
from sealwright_licensing.database import open_engine
from sealwright_licensing.records import License
from sealwright_licensing.tables import licenses
from sealwright_licensing.tables_as_made import table_differences
from sealwright_policies.errors import OperationError
from sealwright_policies.transparency.checkpoint import log_origin
from sealwright_testing.changed_tables import found_behind
from sealwright_testing.license_world import SERVICE_ID, LicenseWorld
from sealwright_testing.postgres import PORT, PostgresServer, running_postgres

SERVICE = "service"
FUNCTION = "CREATE FUNCTION own() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN 'x'; END $$"
FIXED = "CREATE FUNCTION fixed(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1'"
TRIGGER = "CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"
NO_TABLE = "it is no ordinary table"
NO_KEY = "its primary key is not (license_id)"
NOTE = "column note is not as the migrations make it"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_postgres() as running:
        running.execute(f"CREATE ROLE {SERVICE} LOGIN")
        yield running


def service_url(server: PostgresServer, name: str) -> str:
    """Of a new database that the service's role owns."""
    server.execute(f"CREATE DATABASE {name} OWNER {SERVICE}")
    return server.url(name).replace("sealwright@", f"{SERVICE}@")


@pytest.fixture(scope="module")
def made(server: PostgresServer) -> Iterator[Engine]:
    engine = open_engine(service_url(server, "made"))
    schema.upgrade(engine)
    yield engine
    engine.dispose()


def found(engine: Engine, *statements: str) -> list[tuple[str, str]]:
    return found_behind(engine, statements, table_differences)


def test_tables_of_the_migrations_are_no_finding(made: Engine) -> None:
    assert found(made) == []


@pytest.mark.parametrize(
    ("statements", "sentence"),
    [
        (["ALTER TABLE licenses ENABLE ROW LEVEL SECURITY"], "row security is on"),
        (["ALTER TABLE licenses FORCE ROW LEVEL SECURITY"], "row security is on"),
        (["ALTER TABLE licenses DROP CONSTRAINT pk_licenses"], NO_KEY),
        (["ALTER TABLE licenses DROP CONSTRAINT pk_licenses",
          "ALTER TABLE licenses ADD PRIMARY KEY (product)"], NO_KEY),
        (["ALTER TABLE licenses DROP CONSTRAINT pk_licenses",
          "ALTER TABLE licenses ADD PRIMARY KEY (license_id) DEFERRABLE"], NO_KEY),
        (["CREATE RULE own AS ON UPDATE TO licenses DO INSTEAD NOTHING"], "the migrations make no rule own"),
        ([TRIGGER, "CREATE TRIGGER own BEFORE UPDATE ON licenses FOR EACH ROW EXECUTE FUNCTION fired()"],
         "the migrations make no trigger own"),
        (["ALTER TABLE licenses RENAME TO l", "CREATE VIEW licenses AS SELECT * FROM l"], NO_TABLE),
        (["ALTER TABLE licenses RENAME TO l", "CREATE MATERIALIZED VIEW licenses AS SELECT * FROM l"], NO_TABLE),
        (["ALTER TABLE licenses RENAME TO l",
          "CREATE TABLE licenses (LIKE l) PARTITION BY LIST (license_id)"], NO_TABLE),
        (["CREATE TABLE own () INHERITS (licenses)"], "it has a parent or children"),
        (["CREATE TABLE own (note text NOT NULL)", "ALTER TABLE licenses INHERIT own"], "it has a parent or children"),
        (["CREATE TEMP TABLE licenses (LIKE public.licenses INCLUDING ALL)"], "it is temporary or unlogged"),
        (["ALTER TABLE licenses SET UNLOGGED"], "it is temporary or unlogged"),
        (["CREATE SCHEMA service", "CREATE TABLE service.licenses (LIKE public.licenses INCLUDING ALL)"],
         "it is in schema service, not in public"),
        (["DROP TABLE licenses"], "it is missing"),
        (["ALTER TABLE licenses ADD COLUMN own text"], "the migrations make no column own"),
        (["ALTER TABLE licenses DROP COLUMN note"], "column note is missing"),
        (["ALTER TABLE licenses ALTER COLUMN note DROP NOT NULL"], NOTE),
        (["ALTER TABLE licenses ALTER COLUMN note TYPE varchar"], NOTE),
        (['ALTER TABLE licenses ALTER COLUMN note TYPE text COLLATE "C"'], NOTE),
        (["CREATE DOMAIN text AS pg_catalog.text", "ALTER TABLE licenses ALTER COLUMN note TYPE public.text"], NOTE),
        (["ALTER TABLE licenses DROP COLUMN note",
          "ALTER TABLE licenses ADD COLUMN note text NOT NULL GENERATED ALWAYS AS (product) STORED"], NOTE),
        ([FUNCTION, "ALTER TABLE licenses ALTER COLUMN note SET DEFAULT own()"],
         "the default of column note is not as the migrations make it"),
        (["CREATE UNIQUE INDEX own ON licenses (note)"], "the migrations make no unique index own"),
        (["ALTER TABLE licenses ADD CONSTRAINT own UNIQUE (note)"], "the migrations make no constraint own"),
        (["ALTER TABLE licenses ADD CONSTRAINT own CHECK (seats < 9)"], "the migrations make no constraint own"),
        (["ALTER TABLE licenses ADD CONSTRAINT own FOREIGN KEY (note) REFERENCES releases ON DELETE CASCADE"],
         "the migrations make no constraint own"),
        (["ALTER TABLE licenses ADD CONSTRAINT own EXCLUDE USING btree (note WITH =)"],
         "the migrations make no constraint own"),
        ([FIXED, "CREATE INDEX own ON licenses (fixed(note))"], "index own is not an ordinary one"),
        ([FIXED, "CREATE INDEX own ON licenses (note) WHERE fixed(note) = 'x'"], "index own is not an ordinary one"),
        (["CREATE INDEX own ON licenses USING hash (note)"], "index own is not an ordinary one"),
    ],
)  # fmt: skip
def test_each_change_of_a_table_is_named(made: Engine, statements: list[str], sentence: str) -> None:
    differences = found(made, *statements)
    assert {place for place, _ in differences} == {"table licenses"}
    assert any(said.startswith(sentence) for _, said in differences), differences


@pytest.mark.parametrize("name", ["log_entries", "log_queue", "log_nodes", "log_checkpoints", "spent_nonces"])
def test_the_log_and_passing_state_are_tables_too(made: Engine, name: str) -> None:
    assert found(made, f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY") == [(f"table {name}", "row security is on")]


def test_a_revision_from_elsewhere_is_named(made: Engine) -> None:
    changed = found(
        made, "ALTER TABLE alembic_version RENAME TO v", "CREATE VIEW alembic_version AS SELECT * FROM v"
    )  # fmt: skip
    assert ("table alembic_version", f"{NO_TABLE} (pg_class.relkind v)") in changed


def test_an_ordinary_index_more_or_less_is_no_finding(made: Engine) -> None:
    assert (
        found(made, "CREATE INDEX own ON licenses (product DESC) INCLUDE (note)", "DROP INDEX ix_licenses_status") == []
    )


def test_what_is_changed_while_the_audit_begins_is_seen(server: PostgresServer) -> None:
    """It waits for the change, and has no view of the database from before it; afterwards nobody changes a table."""
    engine = open_engine(service_url(server, "changing"))
    schema.upgrade(engine)
    told: list[list[tuple[str, str]]] = []

    def look() -> None:
        with open_database_source(engine) as source:
            told.append(list(source.differences()))
            with connected(server, "changing") as other, pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("SET lock_timeout = '100ms'; ALTER TABLE leases ENABLE ROW LEVEL SECURITY")

    with connected(server, "changing") as changing:
        changing.execute("BEGIN; ALTER TABLE licenses ENABLE ROW LEVEL SECURITY")
        looking = threading.Thread(target=look)
        looking.start()
        wait_for_waiter(server)
        changing.execute("COMMIT")
        looking.join(30)
    engine.dispose()
    assert told == [[("table licenses", "row security is on")]]


def connected(server: PostgresServer, database: str) -> psycopg.Connection:
    return psycopg.connect(host=str(server.folder), port=PORT, user=SERVICE, dbname=database, autocommit=True)


def wait_for_waiter(server: PostgresServer) -> None:
    """Until some session waits for a lock."""
    with connected(server, "changing") as connection:
        for _ in range(300):
            row = connection.execute("SELECT count(*), pg_sleep(0.1) FROM pg_locks WHERE NOT granted").fetchone()
            assert row is not None
            if row[0]:
                return
    raise AssertionError("nobody waits")


OPERATOR = (
    "CREATE FUNCTION own(text, varchar) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    "CREATE OPERATOR = (LEFTARG = text, RIGHTARG = varchar, FUNCTION = own)",
)


@pytest.mark.parametrize(
    ("name", "statements", "sentence"),
    [
        ("operators", OPERATOR, r"has operator =\(text,character varying\) beside PostgreSQL's own"),
        ("functions", ["CREATE FUNCTION substr(varchar, int, int) RETURNS text LANGUAGE sql AS 'SELECT $1'"],
         r"has function substr\(character varying,integer,integer\) beside"),
        ("paths", ["ALTER ROLE service IN DATABASE paths SET search_path = public, pg_catalog"],
         "public, pg_catalog, has pg_catalog behind other schemas"),
    ],
)  # fmt: skip
def test_names_that_would_be_taken_for_postgresqls_own_are_refused(
    server: PostgresServer, name: str, statements: tuple[str, ...], sentence: str
) -> None:
    """A comparison of text with what the driver sends is run by every look-up."""
    engine = open_engine(service_url(server, name))
    schema.upgrade(engine)
    with connected(server, name) as connection:
        for statement in statements:
            connection.execute(statement.encode())
    engine.dispose()
    with pytest.raises(OperationError, match=sentence):
        schema.current_revision(engine)


def test_a_type_of_ones_own_may_be_compared(server: PostgresServer) -> None:
    """As extensions do it, in the same schema."""
    engine = open_engine(service_url(server, "types"))
    with connected(server, "types") as connection:
        for statement in (
            "CREATE TYPE own AS (a text)",
            "CREATE FUNCTION length(own) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE FUNCTION eq(own, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
            "CREATE OPERATOR = (LEFTARG = own, RIGHTARG = text, FUNCTION = eq)",
        ):
            connection.execute(statement.encode())
    schema.upgrade(engine)
    engine.dispose()


def test_a_second_row_behind_row_security_is_not_hidden(server: PostgresServer, tmp_path: Path) -> None:
    """Shown to the service's look-up and not to whoever reads by a cursor, as the audit does."""
    world = LicenseWorld.create(tmp_path / "service", database=service_url(server, "hidden"))
    license_, _ = world.issue()
    world.sequence()
    assert audited(world).found == 0
    names = ", ".join(licenses.c.keys())
    others = names.replace("seats", "999")
    with connected(server, "hidden") as connection:
        for statement in (
            "ALTER TABLE licenses DROP CONSTRAINT pk_licenses",
            f"INSERT INTO licenses ({names}) SELECT {others} FROM licenses",
            "ALTER TABLE licenses ENABLE ROW LEVEL SECURITY",
            "ALTER TABLE licenses FORCE ROW LEVEL SECURITY",
            "CREATE POLICY quiet ON licenses USING "
            "((seats <> 999) = EXISTS (SELECT FROM pg_cursors WHERE name <> '')) WITH CHECK (true)",
        ):
            connection.execute(statement.encode())
    with world.store.read() as transaction:
        seen = transaction.get(License, license_.license_id)
    assert seen is not None
    assert seen.seats == 999, "the service"
    with open_database_source(world.store.engine) as source:
        (row,) = source.rows(License)
    assert row.columns["seats"] == license_.seats, "the audit"
    found = [(one.place, one.sentence) for one in audited(world).findings]
    assert found == [("table licenses", "row security is on"), ("table licenses", NO_KEY)]
    world.store.close()


def audited(world: LicenseWorld) -> Report:
    with open_database_source(world.store.engine) as source:
        return audit(source, [key.public_key() for key in world.keys.log], log_origin(SERVICE_ID))
