"""The service on PostgreSQL: how it is set up, moved to, secured, and what a restart of the database does to it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sealwright_licensing import database, schema
from sealwright_licensing.admission import admission
from sealwright_licensing.cli import main
from sealwright_licensing.config import load_config
from sealwright_licensing.database import open_engine, service_engine
from sealwright_licensing.database_copy import copy_records, count_records
from sealwright_licensing.locks import device_name
from sealwright_licensing.records import Device, NextNonce
from sealwright_licensing.revisions import newest_revision
from sealwright_licensing.store_sql import SqlStore
from sealwright_policies.errors import OperationError
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.license_server import running_service
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.postgres import PostgresServer, running_postgres

Capture = pytest.CaptureFixture[str]


def run(capture: Capture, *arguments: object) -> Any:
    """Run a command that succeeds; returns its JSON."""
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capture.readouterr().out)


def fails(capture: Capture, *arguments: object) -> str:
    """Run a command that fails; returns what it says."""
    assert main([*map(str, arguments)]) == 1
    return capture.readouterr().err


@pytest.fixture
def store(postgres_url: str) -> Iterator[SqlStore]:
    """An empty store."""
    engine = open_engine(postgres_url)
    schema.upgrade(engine)
    yield SqlStore(engine)
    engine.dispose()


def test_init_takes_an_empty_database_only(tmp_path: Path, postgres_url: str, capsys: Capture) -> None:
    """Two services in one database would count each other's seats."""
    first, second = tmp_path / "a", tmp_path / "b"
    made = ("--url", "https://license.example", "--database", postgres_url)
    run(capsys, "init", first, *made)
    assert "holds a licence service already" in fails(capsys, "init", second, *made)
    assert not second.exists()
    status = run(capsys, "database", "status", first)
    assert (status["schema"], status["records"]["devices"]) == (newest_revision(), 0)
    assert status["database"].startswith("PostgreSQL test_")


def test_a_service_that_has_grown_moves_to_postgresql(tmp_path: Path, postgres_url: str, capsys: Capture) -> None:
    """Its box renews there as if nothing had been, with the nonce of its last lease; a second copy is refused."""
    world = LicenseWorld.create(tmp_path / "service")
    box = EnrolledDevice.enroll(world)
    copied = run(capsys, "database", "copy", world.folder.path, "--to", postgres_url)["copied"]
    assert copied["devices"] == copied["leases"] == 1
    assert copied == count_records(world.store._engine)
    assert "has records already" in fails(capsys, "database", "copy", world.folder.path, "--to", postgres_url)
    world.store.close()
    text = world.folder.config_file.read_text()
    world.folder.config_file.write_text(text.replace("sqlite:service.db", postgres_url))
    engine = service_engine(world.folder, load_config(world.folder))
    world.store = SqlStore(engine, admission(world.folder))
    world.interrupt(lambda: None)  # wires the services to the store anew
    box.pass_time(100)
    box.ask()
    with world.store.read() as transaction:
        assert [one.revision for one in transaction.find(Device)] == [1]
    world.store.close()


def test_a_copy_that_was_cut_off_begins_anew(tmp_path: Path, postgres_url: str) -> None:
    """It leaves the schema, and no record."""
    world = LicenseWorld.create(tmp_path / "service")
    target = open_engine(postgres_url)
    schema.upgrade(target)
    assert copy_records(world.store._engine, target)["releases"] == 1
    target.dispose()
    world.store.close()


def test_the_password_comes_from_a_file_that_nobody_else_reads(tmp_path: Path, capsys: Capture) -> None:
    with running_postgres() as server:
        hba = server.folder / "data/pg_hba.conf"
        server.execute("CREATE ROLE license LOGIN PASSWORD 'open sesame'")
        server.execute("CREATE DATABASE license OWNER license")
        hba.write_text("local license license scram-sha-256\n" + hba.read_text())
        server.execute("SELECT pg_reload_conf()")
        url = server.url("license").replace("sealwright@", "license@")
        secret = tmp_path / "password"
        secret.write_text("open sesame\n")
        given = ("--url", "https://license.example", "--database", url, "--database-password-file", secret)
        secret.chmod(0o644)
        assert "can be read by others" in fails(capsys, "init", tmp_path / "service", *given)
        secret.chmod(0o600)
        assert "no password" in fails(capsys, "init", tmp_path / "service", *given[:-2])
        run(capsys, "init", tmp_path / "service", *given)
        assert "sesame" not in (tmp_path / "service/config.toml").read_text()
        assert run(capsys, "database", "status", tmp_path / "service")["schema"] == newest_revision()
        secret.write_text("open barley\n")
        said = fails(capsys, "database", "status", tmp_path / "service")
        assert "password authentication failed" in said
        assert "barley" not in said


def test_a_restart_of_the_database_is_a_503_at_most(tmp_path: Path) -> None:
    """Connections break; the process stays, and answers again."""
    with running_postgres() as server:
        world = LicenseWorld.create(tmp_path / "service", now=int(time.time()), database=server.url())
        world.store.close()
        with running_service(world.folder) as service, service.client() as client:
            assert client.get("/readyz").status_code == 200
            server.stop("immediate")
            down = client.get("/readyz")
            assert (down.status_code, down.json()["code"]) == (503, "UNAVAILABLE")
            server.start()
            seen = [client.get("/readyz").status_code for _ in range(12)]
            assert set(seen[-8:]) == {200}
            assert service.process.poll() is None


def test_connections_keep_commits_and_bound_waits(store: SqlStore) -> None:
    expected = {
        "synchronous_commit": "on",
        "statement_timeout": "30s",
        "lock_timeout": "15s",
        "idle_in_transaction_session_timeout": "1min",
    }
    with store._engine.connect() as connection:
        assert expected == {name: connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in expected}


def test_an_old_server_is_refused(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """We have no old one, so the floor is raised above this one."""
    monkeypatch.setattr(database, "OLDEST_POSTGRESQL", 990000)
    engine = open_engine(postgres_url)
    with pytest.raises(OperationError, match="at least 99 is needed"):
        schema.current_revision(engine)
    engine.dispose()


def test_transactions_with_different_names_run_side_by_side(store: SqlStore) -> None:
    """Each of them begins while the other one is open; SQLite cannot do that."""
    with store.write(device_name("a")) as first, store.write(device_name("b")) as second:
        first.add(NextNonce("a", b"1", 1))
        second.add(NextNonce("b", b"1", 1))
    with store.read() as transaction:
        assert transaction.count(NextNonce) == 2


def test_an_error_shows_no_row(store: SqlStore) -> None:
    """PostgreSQL's detail quotes the key, or the whole row."""

    def add_twice() -> None:
        with store.write() as transaction:
            for _ in range(2):
                transaction.add(NextNonce("d", b"hush", 1))

    with pytest.raises(OperationError) as caught:
        add_twice()
    assert b"hush".hex() not in str(caught.value)


def test_a_database_that_nobody_serves_is_an_error_with_its_cure(postgres_server: PostgresServer) -> None:
    engine = open_engine(postgres_server.url().replace("sealwright-postgres", "nowhere"))
    with pytest.raises(OperationError, match="Check that PostgreSQL runs"):
        schema.current_revision(engine)


def test_a_connection_that_cannot_roll_back_takes_no_place_of_the_pool(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first error is the one that is told."""

    def fail(_: object) -> None:
        raise psycopg.OperationalError("no way back")

    pool: Any = store.engine.pool
    before = pool.checkedout()
    with monkeypatch.context() as patch:
        patch.setattr(psycopg.Connection, "rollback", fail)
        with pytest.raises(ValueError, match="first"), store.write():
            raise ValueError("first")
    assert pool.checkedout() == before
    with store.read() as transaction:
        assert transaction.count(Device) == 0
