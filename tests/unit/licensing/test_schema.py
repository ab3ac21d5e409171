"""Migrations, up and down, with data; and the store's transactions."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect

from sealwright_licensing import schema
from sealwright_licensing.records import SpentNonce
from sealwright_licensing.store_sql import SqlStore, open_engine
from sealwright_licensing.tables import metadata
from sealwright_policies.errors import OperationError, UsageError
from sealwright_policies.wire.messages import NonceRequest
from sealwright_testing.license_world import LicenseWorld


def test_the_migrations_build_the_tables_of_the_records(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'db'}")
    schema.upgrade(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_a_database_whose_writers_would_not_exclude_each_other_is_refused() -> None:
    """Two proofs at once would both find the last seat free."""
    with pytest.raises(UsageError, match="SQLite"):
        open_engine("postgresql://localhost/licences")


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


def test_a_failed_block_changes_nothing(tmp_path: Path) -> None:
    store = _store(tmp_path)

    def fail() -> None:
        with store.write() as transaction:
            transaction.add(SpentNonce(b"x", 1))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with store.read() as transaction:
        assert transaction.count(SpentNonce) == 0
    store.close()


def test_a_write_transaction_is_alone_from_its_first_read_on(tmp_path: Path) -> None:
    """Sixteen threads read a count and add one: with late locking two would read the same."""
    store = _store(tmp_path)

    def add_one() -> None:
        for _ in range(4):
            with store.write() as transaction:
                transaction.add(SpentNonce(b"%d" % transaction.count(SpentNonce), 0))

    threads = [threading.Thread(target=add_one) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as transaction:
        assert transaction.count(SpentNonce) == 64
    store.close()


def test_a_database_that_fails_is_an_operation_error(tmp_path: Path) -> None:
    store = _store(tmp_path)

    def add_twice() -> None:
        with store.write() as transaction:
            transaction.add(SpentNonce(b"x", 1))
            transaction.add(SpentNonce(b"x", 1))

    with pytest.raises(OperationError):
        add_twice()
    store.close()


def _store(folder: Path) -> SqlStore:
    engine = open_engine(f"sqlite:///{folder / 'db'}")
    schema.upgrade(engine)
    return SqlStore(engine)
