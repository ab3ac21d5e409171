"""Whoever writes a service's SQLite cannot hide it from the audit behind what the file holds beside the rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from sealwright_licensing import schema
from sealwright_licensing.audit import Report, audit
from sealwright_licensing.audit_source import open_database_source
from sealwright_licensing.config import DEFAULT_DATABASE
from sealwright_licensing.database import open_engine
from sealwright_licensing.records import License
from sealwright_licensing.sqlite_objects import object_differences, statement_form, stored
from sealwright_licensing.tables import licenses
from sealwright_licensing.tables_as_made import damages, table_differences
from sealwright_policies.transparency.checkpoint import log_origin
from sealwright_testing.changed_tables import found_behind
from sealwright_testing.license_world import SERVICE_ID, LicenseWorld

LEDGERS = "CREATE TABLE tick_ledgers (license_id TEXT NOT NULL, device_id TEXT NOT NULL, charged_ticks BIGINT NOT NULL"
KEY = "CONSTRAINT pk_tick_ledgers PRIMARY KEY (license_id, device_id)"
OTHERWISE = ("table tick_ledgers", "it is not as the migrations make it")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('made') / 'service.db'}")
    schema.upgrade(engine)
    yield engine
    engine.dispose()


def found(engine: Engine, *statements: str) -> list[tuple[str, str]]:
    return found_behind(engine, statements, table_differences, damages)


@pytest.mark.parametrize(
    "statement",
    [
        f"{LEDGERS}, {KEY} ON CONFLICT IGNORE)",
        f"{LEDGERS} ON CONFLICT REPLACE, {KEY})",
        f"{LEDGERS} COLLATE NOCASE, {KEY})",
        f"{LEDGERS} DEFAULT 0, {KEY})",
        f"{LEDGERS}, {KEY}) WITHOUT ROWID",
        f"{LEDGERS}, own TEXT AS (license_id), {KEY})",
        f"{LEDGERS}, {KEY}, CHECK (charged_ticks <> 7))",
        f"{LEDGERS}, {KEY}, FOREIGN KEY (license_id) REFERENCES licenses ON DELETE CASCADE)",
    ],
)
def test_each_other_clause_of_a_table_is_found(made: Engine, statement: str) -> None:
    assert OTHERWISE in found(made, "DROP TABLE tick_ledgers", statement)


def test_a_table_without_its_key_is_found(made: Engine) -> None:
    assert found(made, "DROP TABLE tick_ledgers", f"{LEDGERS})") == [
        OTHERWISE, ("index sqlite_autoindex_tick_ledgers_1", "it is missing"),
    ]  # fmt: skip


def test_layout_is_no_difference(made: Engine) -> None:
    """Nor is the order of columns, which a schema that was left and come back to has otherwise."""
    columns = "charged_ticks bigint NOT NULL,device_id TEXT  not null,\n license_id TEXT NOT NULL"
    assert found(made, "DROP TABLE tick_ledgers", f'create table "tick_ledgers" ({columns}, {KEY})') == []


@pytest.mark.parametrize(
    ("statement", "place", "sentence"),
    [
        ("CREATE INDEX own ON licenses (product)", "index own", "no such index (of table licenses)"),
        ("CREATE UNIQUE INDEX own ON licenses (note)", "index own", "no such index"),
        ("CREATE VIEW own AS SELECT * FROM licenses", "view own", "no such view"),
        ("CREATE TABLE own (a)", "table own", "no such table"),
        ("CREATE TRIGGER own AFTER UPDATE ON licenses BEGIN DELETE FROM leases; END", "trigger own", "no such trigger"),
        ("CREATE VIRTUAL TABLE own USING dbstat", "table own", "no such table"),
        ("DROP INDEX ix_licenses_status", "index ix_licenses_status", "missing"),
    ],
)
def test_what_the_migrations_do_not_make_is_named(made: Engine, statement: str, place: str, sentence: str) -> None:
    ((where, said),) = found(made, statement)
    assert where == place
    assert sentence in said


def test_a_view_in_the_place_of_a_table_is_named(made: Engine) -> None:
    places = [
        place for place, _ in found(made, "ALTER TABLE licenses RENAME TO l", "CREATE VIEW licenses AS SELECT * FROM l")
    ]
    assert {"view licenses", "table l", "table licenses"} <= set(places)


def test_an_index_that_is_otherwise_under_its_name_is_named(made: Engine) -> None:
    changed = found(
        made, "DROP INDEX ix_licenses_status", "CREATE INDEX ix_licenses_status ON licenses (status, seats)"
    )
    assert changed == [("index ix_licenses_status", "it is not as the migrations make it")]


def test_statistics_are_no_difference(made: Engine) -> None:
    assert found(made, "ANALYZE") == []


def test_a_second_table_of_one_name_is_named() -> None:
    one = stored("table", "t", "t", "CREATE TABLE t (a)")
    assert list(object_differences([one], [one, one])) == [("table t", "it is there more than once")]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("CREATE TABLE t (a TEXT DEFAULT ('x'))", "create table t(a text default 'x')"),
        ("CREATE TABLE t (a BLOB DEFAULT (x''), b)", "CREATE TABLE t (b, a BLOB DEFAULT x'')"),
    ],
)
def test_one_form(first: str, second: str) -> None:
    assert statement_form(first) == statement_form(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("CREATE TABLE t (a TEXT DEFAULT 'x')", "CREATE TABLE t (a TEXT DEFAULT 'X')"),
        ("CREATE TABLE t (a TEXT DEFAULT 'x')", "CREATE TABLE t (a TEXT DEFAULT (lower('x')))"),
        ("CREATE TABLE t (a TEXT DEFAULT 'x')", "CREATE TABLE t (a TEXT DEFAULT ('x' || 'x'))"),
        ("CREATE TABLE t (a, b)", "CREATE TABLE t (a, b, b)"),
        ("CREATE TABLE t (a INTEGER NOT NULL)", 'CREATE TABLE t (a INTEGER "NOT" NULL)'),
        ("CREATE TABLE t (a, b)", "CREATE TABLE t (a -- , b\n)"),
        ("CREATE INDEX i ON t (a, b)", "CREATE INDEX i ON t (a, b) WHERE a > 1"),
    ],
)
def test_another_form(first: str, second: str) -> None:
    assert statement_form(first) != statement_form(second)


@pytest.fixture
def sqlite_world(tmp_path: Path) -> Iterator[LicenseWorld]:
    world = LicenseWorld.create(tmp_path / "service", database=DEFAULT_DATABASE)
    yield world
    world.store.close()


def audited(world: LicenseWorld) -> Report:
    with open_database_source(world.store.engine) as source:
        return audit(source, [key.public_key() for key in world.keys.log], log_origin(SERVICE_ID))


def edited(world: LicenseWorld, *statements: str | tuple[str, Any]) -> list[Any]:
    """Run statements on the file; returns the rows of the last."""
    world.store.close()
    database = sqlite3.connect(str(world.store.engine.url.database), isolation_level=None)
    try:
        database.execute("PRAGMA writable_schema=ON")
        rows: list[Any] = []
        for one in statements:
            rows = (database.execute(*one) if isinstance(one, tuple) else database.execute(one)).fetchall()
        return rows
    finally:
        database.close()


def test_an_index_of_before_hides_no_edit(sqlite_world: LicenseWorld) -> None:
    """An index over all columns has the licence as it was, and statistics make SQLite read it instead of the table."""
    license_, _ = sqlite_world.issue()
    sqlite_world.sequence()
    assert audited(sqlite_world).found == 0
    columns = ", ".join(licenses.c.keys())
    edited(sqlite_world, f"CREATE INDEX cover ON licenses ({columns})")
    (row,) = edited(sqlite_world, "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master WHERE name = 'cover'")
    edited(sqlite_world, "DELETE FROM sqlite_master WHERE name = 'cover'")
    edited(sqlite_world, "UPDATE licenses SET seats = 999")
    edited(sqlite_world, ("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", row), "ANALYZE")
    edited(
        sqlite_world,
        "DELETE FROM sqlite_stat1 WHERE idx = 'cover'",
        "INSERT INTO sqlite_stat1 VALUES ('licenses', 'cover', '1 1 sz=2')",
        "UPDATE sqlite_stat1 SET stat = stat || ' sz=60000' WHERE tbl = 'licenses' AND idx <> 'cover'",
    )
    with sqlite_world.store.read() as transaction:
        seen = transaction.get(License, license_.license_id)
    assert seen is not None
    assert seen.seats == 999, "the service"
    with open_database_source(sqlite_world.store.engine) as source:
        (whole,) = [row.columns for row in source.rows(License)]
    assert whole["seats"] == 999, "what the audit compares is the table, not the index"
    places = [one.place for one in audited(sqlite_world).findings]
    assert places == ["index cover", "database"]


def test_an_index_of_the_services_own_with_old_entries_is_named(sqlite_world: LicenseWorld) -> None:
    """It was out of the schema while a licence was edited."""
    sqlite_world.issue()
    sqlite_world.sequence()
    name = "ix_licenses_status"
    (row,) = edited(
        sqlite_world, f"SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master WHERE name = '{name}'"
    )
    edited(sqlite_world, f"DELETE FROM sqlite_master WHERE name = '{name}'")
    edited(sqlite_world, "UPDATE licenses SET status = 'suspended'")
    edited(sqlite_world, ("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", row))
    (finding,) = audited(sqlite_world).findings
    assert finding.place == "database"
    assert f"missing from index {name}" in finding.sentence
    edited(sqlite_world, "REINDEX")
    (finding,) = audited(sqlite_world).findings
    assert finding.place.startswith("licenses ")
