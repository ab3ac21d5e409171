"""Transactions: whole or not at all, alone with what they name, and refused what they do not name."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from sealwright_licensing import row_arrays, schema
from sealwright_licensing.database import open_engine
from sealwright_licensing.locks import EXPIRY, UnnamedError, code_name, device_name, seats_name
from sealwright_licensing.records import (
    ActivationCodeRecord,
    Decision,
    Device,
    DeviceRelease,
    License,
    NextNonce,
    PendingEnrollment,
    ReleaseRecord,
    SpentNonce,
    TickLedger,
)
from sealwright_licensing.row_arrays import MOST_KEPT, RECORDS, RowArrayLoader
from sealwright_licensing.statements import BOUND, Change, Shape, Verb, groups
from sealwright_licensing.store import Transaction, query, query_named
from sealwright_licensing.store_sql import SqlStore
from sealwright_licensing.tables import TABLES
from sealwright_policies.errors import OperationError, UsageError


@pytest.fixture
def store(engine: Engine) -> SqlStore:
    """An empty store."""
    schema.upgrade(engine)
    return SqlStore(engine)


@pytest.mark.parametrize("url", ["mysql://localhost/licences", "postgresql+pg8000://localhost/l", "postgresql://h/l"])
def test_another_kind_of_database_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="must be sqlite"):
        open_engine(url)


def test_a_password_in_the_url_is_refused_and_not_shown() -> None:
    with pytest.raises(UsageError, match="database_password_file") as caught:
        open_engine("postgresql+psycopg://user:hush@localhost/licences")
    assert "hush" not in str(caught.value)


def test_a_failed_block_changes_nothing(store: SqlStore) -> None:

    def fail() -> None:
        with store.write() as transaction:
            transaction.add(SpentNonce(b"x", 1))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with store.read() as transaction:
        assert transaction.count(SpentNonce) == 0


def test_a_write_transaction_is_alone_from_its_first_read_on(store: SqlStore) -> None:
    """Sixteen threads read a count and add one: with late locking two would read the same."""

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


def test_a_database_that_fails_is_an_operation_error(store: SqlStore) -> None:

    def add_twice() -> None:
        with store.write() as transaction:
            transaction.add(SpentNonce(b"x", 1))
            transaction.add(SpentNonce(b"x", 1))

    with pytest.raises(OperationError):
        add_twice()


def test_a_transaction_with_a_name_is_alone_with_it(store: SqlStore) -> None:
    """As above, under one name."""

    def add_one() -> None:
        for _ in range(4):
            with store.write(device_name("d")) as transaction:
                number = transaction.count(NextNonce, device_id="d")
                transaction.add(NextNonce("d", b"%d" % number, number))

    threads = [threading.Thread(target=add_one) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as transaction:
        assert transaction.count(NextNonce) == 64


def test_changes_are_seen_by_the_reads_behind_them(store: SqlStore) -> None:
    with store.write() as transaction:
        transaction.add(NextNonce("d", b"1", 1))
        transaction.put(NextNonce("d", b"1", 2))
        transaction.add(NextNonce("d", b"2", 5))
        assert transaction.find(NextNonce, newest_first="lease_number") == [
            NextNonce("d", b"2", 5),
            NextNonce("d", b"1", 2),
        ]
        transaction.delete_below(NextNonce, "lease_number", 5, device_id="d")
        assert transaction.find_each(query(NextNonce, device_id="d"), query(SpentNonce)) == [
            [NextNonce("d", b"2", 5)],
            [],
        ]


def test_what_has_run_out_goes(store: SqlStore) -> None:
    with store.write() as transaction:
        for moment in range(4):
            transaction.add(SpentNonce(b"%d" % moment, moment))
    with store.write(EXPIRY) as transaction:
        transaction.delete_expired(SpentNonce, 2)
    with store.read() as transaction:
        assert sorted(one.expires_at for one in transaction.find(SpentNonce)) == [2, 3]


def test_text_that_a_database_refuses_is_stored_all_the_same(store: SqlStore) -> None:
    """A box's event log may have it in the words of a decision, and must not keep the box from renewing."""
    decision = Decision("1", "d", "l", "renew", "ok", "", "", "NUL \0, surrogate \ud800, 中文", 0)
    with store.write() as transaction:
        transaction.add(decision)
        assert [one.words for one in transaction.find(Decision)] == ["NUL \ufffd, surrogate ?, 中文"]


UNNAMED: dict[str, Callable[[Transaction], object]] = {
    "another device's record is read": lambda t: t.get(Device, "other"),
    "another device's nonces are read": lambda t: t.find(NextNonce, device_id="other"),
    "all devices are counted": lambda t: t.count(Device),
    "devices of a licence are counted": lambda t: t.count(Device, license_id="l"),
    "one of several reads is not covered": lambda t: t.find_each(
        query(Device, device_id="d"), query(NextNonce, device_id="other")
    ),
    "another device's nonce is added": lambda t: t.add(NextNonce("other", b"n", 1)),
    "all nonces are deleted": lambda t: t.delete(NextNonce),
    "low nonces of all are deleted": lambda t: t.delete_below(NextNonce, "lease_number", 9),
    "a code is read": lambda t: t.get(ActivationCodeRecord, "c"),
    "a code is spent": lambda t: t.put(ActivationCodeRecord("c", "l", 0, 1, "e")),
    "open enrolments are counted": lambda t: t.count(PendingEnrollment, code_hash="c"),
    "ticks are charged": lambda t: t.put(TickLedger("l", "d", 1)),
    "a licence is changed": lambda t: t.delete(License, license_id="l"),
    "a release is removed": lambda t: t.delete(ReleaseRecord, release_id="r"),
    "what has run out is removed": lambda t: t.delete_expired(SpentNonce, 1),
}


@pytest.mark.parametrize("what", UNNAMED)
def test_what_is_not_named_is_neither_read_nor_written(store: SqlStore, what: str) -> None:
    def touch() -> None:
        with store.write(device_name("d")) as transaction:
            UNNAMED[what](transaction)

    with pytest.raises(UnnamedError):
        touch()


def test_what_is_named_is_allowed(store: SqlStore) -> None:
    with store.write(device_name("d"), seats_name("l"), code_name("c")) as transaction:
        assert transaction.get(Device, "d") is None
        assert transaction.find(Device, license_id="l") == []
        assert transaction.get(License, "l") is None
        named = query_named(ReleaseRecord, {"release_id": "r"}, DeviceRelease, device_id="d")
        assert transaction.find_each(named) == [{}]
        transaction.put(TickLedger("l", "d", 1))
        transaction.put(ActivationCodeRecord("c", "l", 0, 1, "e"))
        transaction.delete(NextNonce, device_id="d")
        transaction.add(SpentNonce(b"n", 1))


def test_a_transaction_without_names_may_do_everything(store: SqlStore) -> None:
    with store.write() as transaction:
        for kind in TABLES:
            transaction.delete(kind)
            assert transaction.count(kind) == 0


def test_a_view_is_not_changed(store: SqlStore) -> None:
    for view in (store.read, store.read_once):
        with pytest.raises(RuntimeError, match="view is changed"), view() as transaction:
            transaction.add(SpentNonce(b"x", 1))
    with store.read() as transaction:
        assert transaction.count(SpentNonce) == 0


def test_a_view_for_one_read_refuses_another(store: SqlStore) -> None:
    with store.write() as transaction:
        transaction.add(SpentNonce(b"x", 1))
    with store.read_once() as transaction:
        assert transaction.find_each(query(SpentNonce, nonce=b"x"), query(License)) == [[SpentNonce(b"x", 1)], []]
        with pytest.raises(RuntimeError, match="read again"):
            transaction.count(SpentNonce)


def test_records_that_others_name_come_with_the_one_asked_for(store: SqlStore) -> None:
    def release(name: str) -> ReleaseRecord:
        return ReleaseRecord(name, "p", "1", "f", b"", "", "[]", "[]", 0, withdrawn=False)

    with store.write() as transaction:
        for name in ("asked", "named", "other"):
            transaction.add(release(name))
        transaction.add(DeviceRelease("d", "named", "{}", 0, 0, ""))
        transaction.add(DeviceRelease("e", "other", "{}", 0, 0, ""))
    asked = query_named(ReleaseRecord, {"release_id": "asked"}, DeviceRelease, device_id="d")
    with store.read() as transaction:
        assert transaction.find_each(asked) == [{name: release(name) for name in ("asked", "named")}]


def test_a_new_record_and_a_deletion_keep_their_order(store: SqlStore) -> None:
    """On PostgreSQL they are one statement where the order makes no difference, else two."""
    with store.write() as transaction:
        for number in (1, 2):
            transaction.add(NextNonce("d", bytes([number]), number))
    with store.write(device_name("d")) as transaction:
        transaction.delete_below(NextNonce, "lease_number", 2, device_id="d")
        for number in (3, 1):
            transaction.add(NextNonce("d", bytes([number]), number))
    with store.read() as transaction:
        assert sorted(one.lease_number for one in transaction.find(NextNonce)) == [1, 2, 3]


def test_changes_to_one_row_are_different_statements() -> None:
    below: Change = Shape(Verb.DELETE, NextNonce, ("device_id",), below="lease_number"), {"device_id": "d", BOUND: 2}
    every: Change = Shape(Verb.DELETE, NextNonce, ("device_id",)), {"device_id": "d"}
    new: list[Change] = [(Shape(Verb.ADD, NextNonce), {"lease_number": number}) for number in (1, 2)]
    other: Change = Shape(Verb.PUT, DeviceRelease), {}

    def sizes(*changes: Change) -> list[int]:
        return [part.stop - part.start for part in groups(changes)]

    assert sizes(below, new[1], new[1], other) == [4]
    assert sizes(below, new[0]) == [1, 1]
    assert sizes(every, new[1]) == [1, 1]
    assert sizes(new[0], new[1], below) == [2, 1]
    assert sizes(other, other) == [1, 1]


def test_a_row_that_has_changed_is_read_anew(store: SqlStore) -> None:
    """Arrays of rows are remembered by their bytes alone."""
    asked = query(SpentNonce, nonce=b"x"), query(License)
    for expires_at in (1, 2, 1):
        with store.write() as transaction:
            transaction.put(SpentNonce(b"x", expires_at))
        for _ in range(2):
            with store.read_once() as transaction:
                assert transaction.find_each(*asked) == [[SpentNonce(b"x", expires_at)], []]


def test_no_more_row_arrays_are_kept_than_that() -> None:
    loader = RowArrayLoader(RECORDS)
    for number in range(2 * MOST_KEPT):
        # One dimension of one record, which has one field: an int4 (array_recv, record_recv).
        record = struct.pack(">iiii", 1, 23, 4, number)
        raw = struct.pack(">iiiiii", 1, 0, 2249, 1, 1, len(record)) + record
        assert loader.load(raw) == ((number,),)
        assert loader.load(raw) == ((number,),)
        assert len(row_arrays._kept) <= MOST_KEPT
