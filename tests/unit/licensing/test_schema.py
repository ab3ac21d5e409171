"""Migrations, up and down, with data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect

from sealwright_licensing import schema
from sealwright_licensing.database import open_engine
from sealwright_licensing.records import Device, DeviceStatus, License
from sealwright_licensing.tables import metadata
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.messages import NonceRequest
from sealwright_testing.license_world import LicenseWorld


def test_the_migrations_build_the_tables_of_the_records(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'db'}")
    schema.upgrade(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_an_empty_database_is_refused_and_named(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'db'}")
    with pytest.raises(OperationError, match=r"schema none.*sealwright-license migrate"):
        schema.require_newest(engine)
    engine.dispose()


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
    schema.downgrade(engine, "base")
    assert set(inspect(engine).get_table_names()) == {"alembic_version"}
    schema.upgrade(engine)
    world.trust(world.maker)
    world.import_release(world.box)
    _, (code,) = world.issue()
    world.enroll(world.device(), code)


def test_a_licence_and_a_held_device_survive_the_licence_model(world: LicenseWorld) -> None:
    """Down to the first schema and up again: what was there means the same, what was not takes its default."""
    license_, (code,) = world.issue()
    device = world.device()
    world.enroll(device, code)
    with world.store.write() as transaction:
        held = transaction.get(Device, device.device_id)
        assert held is not None
        transaction.put(replace(held, status=DeviceStatus.HELD, held_because="why"))
    engine = world.store._engine
    schema.downgrade(engine, "0001")
    assert "overage" not in {column["name"] for column in inspect(engine).get_columns("licenses")}
    schema.upgrade(engine)
    with world.store.read() as transaction:
        assert transaction.get(License, license_.license_id) == license_
        now = transaction.get(Device, device.device_id)
    assert now is not None
    assert (now.held_because, now.held_code, now.approved_pcrs) == ("why", "ROLLED_BACK", "{}")
