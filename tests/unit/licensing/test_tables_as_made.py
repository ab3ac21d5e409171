"""Tables that are not what the migrations make: nothing works on them, and the audit says what they are."""

from __future__ import annotations

import json

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from sealwright_licensing import schema
from sealwright_licensing.cli import main
from sealwright_licensing.config import load_config
from sealwright_licensing.operators.server import serve_operators
from sealwright_licensing.revisions import migrations, newest_revision
from sealwright_licensing.server import serve
from sealwright_licensing.tables_as_made import table_differences
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_testing.license_world import LicenseWorld

CHANGE = "ALTER TABLE tick_ledgers ADD COLUMN own TEXT"
MADE = "table tick_ledgers"


def test_every_schema_is_as_the_migrations_make_it_by_whatever_way(engine: Engine) -> None:
    """From below and from above, on either database."""
    older = [script.revision for script in ScriptDirectory.from_config(migrations()).walk_revisions()][1:]
    schema.upgrade(engine)
    with engine.connect() as connection, connection.begin():
        assert differences(connection) == []
        for revision in older:
            command.downgrade(migrations(connection), revision)
            assert differences(connection) == [], revision
            command.upgrade(migrations(connection), newest_revision())
            assert differences(connection) == [], revision


def differences(connection: Connection) -> list[tuple[str, str]]:
    return list(table_differences(connection))


def test_a_database_that_says_no_schema_is_named(engine: Engine) -> None:
    with engine.connect() as connection, connection.begin():
        assert differences(connection) == [("database", "it does not say which schema it has")]


def test_the_service_does_not_start_on_other_tables(world: LicenseWorld) -> None:
    with world.store.engine.begin() as connection:
        connection.exec_driver_sql(CHANGE)
    (world.folder.keys / "tls-server.pem").unlink()  # a service that goes on past the tables stops here
    config = load_config(world.folder)
    wanted = rf"{MADE}: .*does not start.*audit verify DIR.*take it back"
    for start in (serve, serve_operators):
        with pytest.raises(VerificationError, match=wanted) as told:
            start(world.folder, config, host="127.0.0.1", port=0)
        assert told.value.code is RejectionCode.AUDIT_MISMATCH


def test_the_audit_names_other_tables_and_reads_none(world: LicenseWorld, capsys: pytest.CaptureFixture[str]) -> None:
    world.sequence()
    with world.store.engine.begin() as connection:
        connection.exec_driver_sql(CHANGE)
    assert main(["audit", "verify", str(world.folder.path), "--json"]) == 10
    told = json.loads(capsys.readouterr().out)
    assert [(one["id"], one["place"]) for one in told["findings"]] == [("", MADE)], "nobody can acknowledge it"
    assert (told["entries"], told["rows"]) == (0, 0)


def test_no_upgrade_goes_on_from_other_tables(world: LicenseWorld) -> None:
    world.sequence()
    engine = world.store.engine
    schema.downgrade(engine, "0010", world.migrator)
    with engine.begin() as connection:
        connection.exec_driver_sql(CHANGE)
    with pytest.raises(VerificationError, match=rf"AUDIT_MISMATCH.*{MADE}.*Nothing was migrated"):
        schema.upgrade(engine, world.migrator)
    assert schema.current_revision(engine) == "0010"
