"""The log on a real PostgreSQL: writers and sequencers at once, and the audit of what they leave."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import update

from sealwright_licensing import schema
from sealwright_licensing.audit import Report, audit
from sealwright_licensing.audit_source import open_database_source
from sealwright_licensing.database import open_engine
from sealwright_licensing.journal import record_decision
from sealwright_licensing.locks import device_name, seats_name
from sealwright_licensing.records import LogEntryRecord, LogQueueItem, TickLedger
from sealwright_licensing.release_proofs import enter_release, prove_release
from sealwright_licensing.sequencer import Sequencer
from sealwright_licensing.store_sql import SqlStore
from sealwright_licensing.tables import tick_ledgers
from sealwright_policies.transparency.checkpoint import log_origin
from sealwright_policies.wire.messages import Purpose
from sealwright_testing.postgres import running_postgres

KEY = Ed25519PrivateKey.generate()
WRITERS, TIMES = 6, 25


@pytest.fixture(scope="module")
def store() -> Iterator[SqlStore]:
    with running_postgres() as server:
        engine = open_engine(server.url(server.create_database()))
        schema.upgrade(engine)
        yield SqlStore(engine)
        engine.dispose()


def audited(store: SqlStore) -> Report:
    with open_database_source(store.engine) as source:
        return audit(source, [KEY.public_key()], log_origin("service-1"))


def test_entries_of_one_row_have_the_order_of_its_commits(store: SqlStore) -> None:
    """Six writers change two rows while two sequencers number entries; the last entry is the row's last state."""
    writing = threading.Event()
    writing.set()

    def write(license_id: str) -> None:
        for _ in range(TIMES):
            with store.write(seats_name(license_id), device_name(license_id)) as transaction:
                record_decision(
                    transaction, device_id=license_id, license_id=license_id, purpose=Purpose.RENEW,
                    denial=None, result=None, now=1, revision=1,
                )  # fmt: skip
                ledger = transaction.get(TickLedger, license_id, "d") or TickLedger(license_id, "d", 0)
                transaction.put(TickLedger(license_id, "d", ledger.charged_ticks + 1))

    def sequence() -> None:
        while writing.is_set():
            Sequencer(store, [KEY], "service-1").run()

    writers = [threading.Thread(target=write, args=(f"l{number % 2}",)) for number in range(WRITERS)]
    sequencers = [threading.Thread(target=sequence) for _ in range(2)]
    for thread in (*writers, *sequencers):
        thread.start()
    for thread in writers:
        thread.join()
    writing.clear()
    for thread in sequencers:
        thread.join()

    assert Sequencer(store, [KEY], "service-1").run() == WRITERS * TIMES
    report = audited(store)
    assert (report.findings, report.waiting, report.rows) == ([], 0, 2 + WRITERS * TIMES)
    with store.read() as transaction:
        entries = transaction.find(LogEntryRecord)
        assert len({entry.leaf for entry in entries}) == WRITERS * TIMES
        assert transaction.count(LogQueueItem) == 0


def test_a_release_is_proved_and_an_edit_is_found(store: SqlStore) -> None:
    with store.write() as transaction:
        enter_release(transaction, "ab" * 32, "sealed-advisor", "1.0")
    Sequencer(store, [KEY], "service-1").run()
    with store.read() as transaction:
        assert prove_release(transaction, "ab" * 32) is not None

    with store.engine.begin() as connection:
        connection.execute(update(tick_ledgers).where(tick_ledgers.c.license_id == "l0").values(charged_ticks=1))

    assert [one.place for one in audited(store).findings] == ["tick_ledgers l0/d"]
