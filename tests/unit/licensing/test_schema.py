"""Migrations, up and down, with data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, MetaData, inspect, select

from sealwright_licensing import schema
from sealwright_licensing.journal import record_operation
from sealwright_licensing.records import Device, DeviceStatus, License
from sealwright_licensing.revisions import migrations
from sealwright_licensing.tables import metadata
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.messages import NonceRequest
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.license_world import OPERATOR, LicenseWorld


def test_the_migrations_build_the_tables_of_the_records(engine: Engine) -> None:
    schema.upgrade(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_an_empty_database_is_refused_and_named(engine: Engine) -> None:
    with pytest.raises(OperationError, match=r"schema none.*sealwright-license database upgrade"):
        schema.require_newest(engine)


def test_upgrading_again_keeps_the_data(world: LicenseWorld) -> None:
    _, (code,) = world.issue()
    device = world.device()
    world.enroll(device, code)
    engine = world.store._engine
    schema.upgrade(engine)
    schema.require_newest(engine)
    assert world.renewal.nonce(NonceRequest(device_id=device.device_id), now=world.now)


def test_down_removes_everything_and_up_works_again(world: LicenseWorld) -> None:
    """A database full of data goes down to nothing and comes up empty and usable."""
    _, (code,) = world.issue()
    world.enroll(world.device(), code)
    engine = world.store._engine
    schema.downgrade(engine, "base", world.migrator)
    assert set(inspect(engine).get_table_names()) == {"alembic_version"}
    schema.upgrade(engine)
    world.trust(world.maker)
    world.import_release(world.box)
    _, (code,) = world.issue()
    world.enroll(world.device(), code)


Rows = dict[str, tuple[set[str], list[dict[str, Any]]]]


def rows(engine: Engine) -> Rows:
    """Columns and rows of every table that there is."""
    found = MetaData()
    found.reflect(engine)
    with engine.connect() as connection:
        return {
            name: (set(table.c.keys()), [dict(row._mapping) for row in connection.execute(select(table))])
            for name, table in found.tables.items()
            if name != "alembic_version"
        }


def test_each_step_down_and_up_keeps_what_both_schemas_have(world: LicenseWorld) -> None:
    """One schema after the other, downwards, with a box that has renewed; what a schema has no place for is gone."""
    box = EnrolledDevice.enroll(world)
    box.device.increment()
    box.pass_time(100)
    box.ask(box.nonce())
    engine = world.store._engine
    for revision in older_revisions():
        before = rows(engine)
        assert before["devices"][1]
        schema.downgrade(engine, revision, world.migrator)
        older = rows(engine)
        schema.upgrade(engine, world.migrator)
        for where in (older, rows(engine)):
            for table in before.keys() & older.keys():
                kept = before[table][0] & older[table][0]
                there, wanted = only(where[table][1], kept), only(before[table][1], kept)
                if table in ("log_queue", "operations"):  # an upgrade adds itself, and the rows that it has left
                    there = [one for one in there if one in wanted]
                assert there == wanted, (revision, table)


def only(records: list[dict[str, Any]], kept: set[str]) -> list[str]:
    """Some columns of each row, in an order."""
    return sorted(repr([one[name] for name in sorted(kept)]) for one in records)


def older_revisions() -> list[str]:
    """All but the newest, newest first."""
    return [script.revision for script in ScriptDirectory.from_config(migrations()).walk_revisions()][1:]


def test_a_licence_and_a_held_device_survive_the_licence_model(world: LicenseWorld) -> None:
    """Down to the first schema and up again: what was there means the same, what was not takes its default."""
    license_, (code,) = world.issue()
    device = world.device()
    world.enroll(device, code)
    with world.store.write() as transaction:
        held = transaction.get(Device, device.device_id)
        assert held is not None
        record_operation(transaction, actor=OPERATOR, operation="test", subject="", now=world.now)
        transaction.put(replace(held, status=DeviceStatus.HELD, held_because="why"))
    engine = world.store._engine
    schema.downgrade(engine, "0001", world.migrator)
    assert "overage" not in {column["name"] for column in inspect(engine).get_columns("licenses")}
    schema.upgrade(engine, world.migrator)
    with world.store.read() as transaction:
        assert transaction.get(License, license_.license_id) == license_
        now = transaction.get(Device, device.device_id)
    assert now is not None
    assert (now.held_because, now.held_code, now.approved_pcrs) == ("why", "ROLLED_BACK", "{}")
