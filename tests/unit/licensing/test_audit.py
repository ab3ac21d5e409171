"""The log of a service on a real database, and the audit: whatever is done to a row, it is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import Boolean, Connection, Table, and_, delete, insert, select, update
from sqlalchemy.types import BigInteger, Integer, LargeBinary

from sealwright_licensing.audit import Report, StoredNote, audit
from sealwright_licensing.audit_source import DatabaseSource, ExportSource, open_database_source, write_export
from sealwright_licensing.flow_records import ReportedFlow
from sealwright_licensing.journal import record_operation
from sealwright_licensing.metering_records import MeteringAlarm, MeteringChain, MeteringReceipt, MeteringUsage
from sealwright_licensing.operations.devices import retire_device
from sealwright_licensing.operations.licenses import suspend_license
from sealwright_licensing.operators.records import ApiToken
from sealwright_licensing.records import ClockSighting, DeviceFirmware, LogEntryRecord, LogQueueItem
from sealwright_licensing.row_changes import AUDITED, PASSING, row_state
from sealwright_licensing.sequencer import newest_checkpoint
from sealwright_licensing.tables import TABLES, log_checkpoints, log_entries, log_nodes, log_queue
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.transparency.checkpoint import Checkpoint, log_origin, sign_checkpoint
from sealwright_policies.transparency.entries import DecisionEntry, parse_entry
from sealwright_policies.transparency.merkle import Frontier, leaf_hash
from sealwright_testing.enrolled_device import DAY, EnrolledDevice
from sealwright_testing.license_world import OPERATOR, SERVICE_ID, LicenseWorld, synthetic_box
from sealwright_testing.maker_ca import MakerCa

ORIGIN = log_origin(SERVICE_ID)
ROW_TABLES = [TABLES[kind] for kind in AUDITED]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory, module_database: str) -> Iterator[LicenseWorld]:
    """A service that has granted and denied, retired devices and enrolled them again; its log is complete.

    At least two rows of every table.
    """
    world = LicenseWorld.create(tmp_path_factory.mktemp("history") / "service", database=module_database)
    world.trust(MakerCa("another maker"))
    world.import_release(synthetic_box(product_version="2.0"))
    for number, days in enumerate((365, 10)):
        _, (code,) = world.issue(days=days)
        enrolled = world.enroll(world.device(number), code)
        retire_device(world.store, OPERATOR, enrolled.device_id, now=world.now)
    _, (code,) = world.issue()
    world.enroll(world.device(1), code)
    box = EnrolledDevice.enroll(world)
    for _ in range(2):
        box.pass_time(DAY)
        box.renew()
    suspend_license(world.store, OPERATOR, box.license_.license_id, now=world.now)
    with pytest.raises(VerificationError, match="SUSPENDED"):
        box.ask()
    with world.store.write() as transaction:
        record_operation(transaction, actor=OPERATOR, operation="test", subject="", now=world.now)
        for number in (1, 2):
            transaction.put(ApiToken(f"token-{number}", f"token {number}", "auditor", "", "", world.now, None, None))
            transaction.add(MeteringChain("d", f"c{number}", "l", "e", world.now, 1, "", 0, 0, number, False, 0))
            transaction.add(MeteringReceipt("d", "c", f"{number}", number, "l", b"{}", False, world.now))
            transaction.add(
                MeteringUsage("l", "2027-01", "2027-01", "d", "p", f"{number}", False, "", number, 0, 0, 0, 0)
            )
            transaction.add(MeteringAlarm(f"a{number}", "d", "l", "c", number, "GAP", "", world.now))
            transaction.add(
                ReportedFlow("d", "l", f"{number}", number, "sent", "f", "o", "u", "v", "raw", "n", "", 1, "", b"{}", 1)
            )
            transaction.put(DeviceFirmware(world.device(number).device_id, f"[{number}]"))
            transaction.add(ClockSighting(box.device.device_id, number, number, world.now, number, 0, 0, 0, 1, "ok"))
    world.sequence()
    yield world
    world.store.close()


def public_keys(world: LicenseWorld) -> list[Ed25519PublicKey]:
    return [key.public_key() for key in world.keys.log]


def audited(world: LicenseWorld, *kept: StoredNote) -> Report:
    with open_database_source(world.store.engine) as source:
        return audit(source, public_keys(world), ORIGIN, kept)


@contextmanager
def tampered(world: LicenseWorld) -> Iterator[Connection]:
    """A transaction in which anything may be done, and nothing stays."""
    with world.store.engine.connect() as connection, connection.begin() as transaction:
        yield connection
        transaction.rollback()


def places(world: LicenseWorld, change: Callable[[Connection], object]) -> list[str]:
    """Where the audit finds something after a change."""
    with tampered(world) as connection:
        change(connection)
        report = audit(DatabaseSource(connection), public_keys(world), ORIGIN)
    assert report.found == len(report.findings)
    return [one.place for one in report.findings]


def executed(statement: Any) -> Callable[[Connection], object]:
    return lambda connection: connection.execute(statement)


def other(value: Any, kind: Any) -> Any:
    if isinstance(kind, Boolean):
        return not value
    if isinstance(kind, (BigInteger, Integer)):
        return (value or 0) + 100
    if isinstance(kind, LargeBinary):
        return (value or b"") + b"x"
    return (value or "") + "x"


def key_of(table: Table, row: Any) -> str:
    (kind,) = [kind for kind in AUDITED if TABLES[kind] is table]
    return row_state(kind, row).key


def here(table: Table, row: Any) -> Any:
    return and_(*(column == row[column.name] for column in table.primary_key))


def first_rows(world: LicenseWorld, table: Table, count: int = 1) -> list[Any]:
    with world.store.engine.connect() as connection:
        rows = connection.execute(select(table).limit(count)).mappings().all()
    assert rows, f"the history has no row in {table.name}"
    return [dict(row) for row in rows]


def spread(rows: list[Any], count: int) -> list[Any]:
    """The first and the last, and some between."""
    return rows[:: -(-len(rows) // (count - 1))] + rows[-1:]


def test_an_untouched_service_passes(history: LicenseWorld) -> None:
    report = audited(history)

    assert report.findings == []
    assert report.waiting == 0
    with history.store.read() as transaction:
        assert report.rows == sum(transaction.count(kind) for kind in AUDITED)
        assert report.entries == transaction.count(LogEntryRecord)


def test_every_table_is_audited_or_passing() -> None:
    """Whoever adds a table decides here on which side it is."""
    assert set(AUDITED) | set(PASSING) == set(TABLES)
    assert not set(AUDITED) & set(PASSING)


@pytest.mark.parametrize("table", ROW_TABLES, ids=lambda table: table.name)
def test_an_edit_of_any_column_is_found(history: LicenseWorld, table: Table) -> None:
    (row,) = first_rows(history, table)
    for column in table.c:
        edited = {column.name: other(row[column.name], column.type)}
        found = places(history, executed(update(table).where(here(table, row)).values(edited)))

        wanted = {f"{table.name} {key_of(table, row)}", f"{table.name} {key_of(table, row | edited)}"}
        assert set(found) == wanted, column.name


@pytest.mark.parametrize("table", ROW_TABLES, ids=lambda table: table.name)
def test_a_row_removed_or_added_is_found(history: LicenseWorld, table: Table) -> None:
    (row,) = first_rows(history, table)
    key = next(iter(table.primary_key)).name
    added = row | {key: other(row[key], table.c[key].type)}

    removed = places(history, lambda connection: connection.execute(delete(table).where(here(table, row))))
    brought = places(history, lambda connection: connection.execute(insert(table).values(added)))

    assert removed == [f"{table.name} {key_of(table, row)}"]
    assert brought == [f"{table.name} {key_of(table, added)}"]


@pytest.mark.parametrize("table", ROW_TABLES, ids=lambda table: table.name)
def test_rows_that_have_changed_places_are_found(history: LicenseWorld, table: Table) -> None:
    one, two = rows = first_rows(history, table, 2)
    keys = [column.name for column in table.primary_key]
    contents = [{name: value for name, value in row.items() if name not in keys} for row in rows]
    assert contents[0] != contents[1]

    def swap(connection: Connection) -> None:
        connection.execute(update(table).where(here(table, one)).values(contents[1]))
        connection.execute(update(table).where(here(table, two)).values(contents[0]))

    assert sorted(places(history, swap)) == sorted(f"{table.name} {key_of(table, row)}" for row in rows)


@pytest.mark.parametrize("table", [log_entries, log_nodes, log_checkpoints], ids=lambda table: table.name)
def test_the_log_itself_cannot_be_edited(history: LicenseWorld, table: Table) -> None:
    """Any column of a row, and any row, wherever it is in the log."""
    for row in spread(first_rows(history, table, 1000), 12):
        for column in table.c:
            edited = {column.name: other(row[column.name], column.type)}

            def edit(connection: Connection, row: Any = row, edited: Any = edited) -> None:
                target = row | edited
                if here(table, target) is not None and edited.keys() <= {one.name for one in table.primary_key}:
                    connection.execute(delete(table).where(here(table, target)))
                connection.execute(update(table).where(here(table, row)).values(edited))

            assert places(history, edit), f"{column.name} of {row}"
        assert places(history, executed(delete(table).where(here(table, row))))


def test_entries_that_have_changed_places_are_found(history: LicenseWorld) -> None:
    """With all that they are found by, and even the leaf hashes."""

    def swap(connection: Connection) -> None:
        for index, target in ((3, -1), (4, 3), (-1, 4)):
            connection.execute(update(log_entries).where(log_entries.c.entry_index == index).values(entry_index=target))
            connection.execute(
                update(log_nodes)
                .where((log_nodes.c.level == 0) & (log_nodes.c.node_index == index))
                .values(node_index=target)
            )

    assert "subtree 1/1" in places(history, swap) or "subtree 2/0" in places(history, swap)


def test_the_last_entries_cannot_be_cut_off(history: LicenseWorld) -> None:
    """Neither with the checkpoint that covers them, if somebody has kept it, nor without."""
    with history.store.read() as transaction:
        newest = newest_checkpoint(transaction)
    assert newest is not None
    last = newest.size - 1

    def cut(connection: Connection) -> None:
        connection.execute(delete(log_entries).where(log_entries.c.entry_index == last))
        connection.execute(delete(log_nodes).where((log_nodes.c.level == 0) & (log_nodes.c.node_index == last)))

    assert f"checkpoint {newest.size}" in places(history, cut)


def rewritten(world: LicenseWorld, connection: Connection, leaf: bytes) -> None:
    """The log with another first entry, all hashes and the checkpoint made anew: what the log key's thief can do."""
    leaves = list(connection.execute(select(log_entries.c.leaf).order_by(log_entries.c.entry_index)).scalars())
    leaves[0] = leaf
    frontier = Frontier()
    connection.execute(delete(log_nodes))
    for node in [node for one in leaves for node in frontier.append(leaf_hash(one))]:
        values = {"level": node.level, "node_index": node.index, "hash": node.hash}
        connection.execute(insert(log_nodes).values(values))
    connection.execute(update(log_entries).where(log_entries.c.entry_index == 0).values(leaf=leaf))
    note = sign_checkpoint(Checkpoint(ORIGIN, frontier.size, frontier.root()), *world.keys.log)
    connection.execute(delete(log_checkpoints))
    connection.execute(insert(log_checkpoints).values(size=frontier.size, note=note))


def test_a_log_rewritten_with_its_own_key_is_found_by_a_kept_checkpoint(history: LicenseWorld) -> None:
    with history.store.read() as transaction:
        newest = newest_checkpoint(transaction)
        entry = transaction.get(LogEntryRecord, 0)
    assert newest is not None
    assert entry is not None
    leaf = entry.leaf.replace(json.loads(entry.leaf)["entry_id"].encode(), b"0" * 32)
    key = public_keys(history)
    with tampered(history) as connection:
        rewritten(history, connection, leaf)
        alone = audit(DatabaseSource(connection), key, ORIGIN)
        held = audit(DatabaseSource(connection), key, ORIGIN, [StoredNote("kept.txt", newest.note)])

    assert alone.findings == [], "nobody can see it from the database alone"
    assert [one.place for one in held.findings] == ["kept.txt"]


@pytest.mark.parametrize("note", ["", "no note", "another key"])
def test_a_kept_checkpoint_that_is_none_is_a_finding(history: LicenseWorld, note: str) -> None:
    if note == "another key":
        note = sign_checkpoint(Checkpoint(ORIGIN, 1, bytes(32)), Ed25519PrivateKey.generate())
    report = audited(history, StoredNote("kept.txt", note))

    assert [one.place for one in report.findings] == ["kept.txt"]


def test_an_entry_that_waits_is_counted_and_its_row_is_expected(world: LicenseWorld) -> None:
    """What is decided and not yet numbered is no finding; the same without its entry is one."""
    EnrolledDevice.enroll(world)

    report = audited(world)

    assert report.findings == []
    assert report.waiting == 2, "the licence and the enrolment"
    assert places(world, lambda connection: connection.execute(delete(log_queue)))
    world.sequence()
    assert audited(world).waiting == 0


def test_findings_end_in_a_refusal() -> None:
    report = Report()
    report.require_clean()
    report.add("decisions d", "the row is missing")

    with pytest.raises(VerificationError) as error:
        report.require_clean()
    assert error.value.code is RejectionCode.AUDIT_MISMATCH


def test_an_export_holds_the_log_and_nothing_else(history: LicenseWorld, tmp_path: Path) -> None:
    folder, key = tmp_path / "export", public_keys(history)
    with open_database_source(history.store.engine) as source:
        count = write_export(source, folder)

    report = audit(ExportSource(folder), key, ORIGIN)
    assert (report.entries, report.findings) == (count, [])

    lines = (folder / "entries.jsonl").read_bytes().splitlines(keepends=True)
    for damaged in ([*lines[1:]], [*lines[:-1]], [lines[1], lines[0], *lines[2:]], [*lines, lines[-1]]):
        (folder / "entries.jsonl").write_bytes(b"".join(damaged))
        assert audit(ExportSource(folder), key, ORIGIN).findings


def test_a_decision_is_one_entry_with_all_that_it_changed(world: LicenseWorld) -> None:
    """The query cost of a renewal: one insert more."""
    box = EnrolledDevice.enroll(world)
    world.sequence()
    box.pass_time(DAY)
    box.renew()

    with world.store.read() as transaction:
        (item,) = transaction.find(LogQueueItem)
    entry = parse_entry(item.leaf)
    assert isinstance(entry, DecisionEntry)
    assert (entry.code, entry.purpose, entry.device_id) == ("ok", "renew", box.device.device_id)
    assert sorted(row.table for row in entry.rows) == sorted(
        ["decisions", "device_certificates", "device_releases", "devices", "leases"]
    )


def test_rows_that_a_journal_drops_are_dropped_from_the_log_too(world: LicenseWorld) -> None:
    """A box that is denied for ever fills neither the disk nor the audit with findings."""
    box = EnrolledDevice.enroll(world)
    suspend_license(world.store, OPERATOR, box.license_.license_id, now=world.now)
    for _ in range(152):
        box.pass_time(1)
        with pytest.raises(VerificationError, match="SUSPENDED"):
            box.ask()
    world.sequence()

    assert audited(world).findings == []
