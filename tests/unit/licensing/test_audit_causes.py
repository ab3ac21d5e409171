"""What the log says of decisions and operations is what their rows say, and every change has one for a cause."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from sealwright_custody.keeper import Keeper
from sealwright_licensing import schema
from sealwright_licensing.audit import Report, audit
from sealwright_licensing.audit_source import DatabaseSource, open_database_source
from sealwright_licensing.custodian_keys import open_custodian
from sealwright_licensing.journal import record_operation
from sealwright_licensing.keyring import KeyRole, load_keyring
from sealwright_licensing.metering import MeteringService
from sealwright_licensing.nonces import StatelessNonces
from sealwright_licensing.operations.devices import retire_device, transfer_device
from sealwright_licensing.operations.licenses import add_activation_code, reinstate_license, suspend_license
from sealwright_licensing.operators.records import ApiTokenUse
from sealwright_licensing.operators.roles import Role
from sealwright_licensing.operators.tokens import authenticate_token, create_token, revoke_token
from sealwright_licensing.records import ActivationCodeRecord, Decision, LogEntryRecord, LogQueueItem, Operation
from sealwright_licensing.revisions import newest_revision
from sealwright_licensing.rewrapping import rewrap_shares
from sealwright_licensing.row_changes import SPOKEN_OF, change_entry, named_entry, queue_item, row_change, row_state
from sealwright_licensing.store import Transaction
from sealwright_licensing.tables import TABLES, activation_codes, decisions, devices, licenses, log_queue
from sealwright_policies.errors import VerificationError
from sealwright_policies.transparency.checkpoint import log_origin
from sealwright_policies.transparency.entries import MOST_ROWS, parse_entry
from sealwright_policies.wire.messages import NonceRequest, Purpose
from sealwright_testing.enrolled_device import DAY, EnrolledDevice
from sealwright_testing.license_world import OPERATOR, SERVICE_ID, LicenseWorld, synthetic_box
from sealwright_testing.maker_ca import MakerCa
from sealwright_testing.metering import ChainWriter, make_report, point

SPOKEN = [(kind, column) for kind, fields in SPOKEN_OF.items() for column in fields.values()]


def audited(world: LicenseWorld, change: Callable[[Connection], object] = lambda _: None) -> Report:
    """What the audit says after a change, which does not stay."""
    keys = [key.public_key() for key in world.keys.log]
    with world.store.engine.connect() as connection, connection.begin() as transaction:
        change(connection)
        report = audit(DatabaseSource(connection), keys, log_origin(SERVICE_ID))
        transaction.rollback()
    return report


def sentences(report: Report) -> str:
    return "\n".join(f"{one.place}: {one.sentence}" for one in report.findings)


def entered(connection: Connection, entry: Any) -> None:
    """Have an entry wait: whoever can write the database can."""
    item = queue_item(entry)
    values = {name: getattr(item, name) for name in item.__dataclass_fields__ if name != "position"}
    connection.execute(log_queue.insert().values(values))


@pytest.mark.parametrize(("kind", "column"), SPOKEN, ids=lambda one: one if isinstance(one, str) else one.__name__)
def test_a_field_that_the_log_says_otherwise_is_named(
    world: LicenseWorld, box: EnrolledDevice, kind: type[Any], column: str
) -> None:
    """Also if the log has got an entry for the edited row."""
    table = TABLES[kind]
    with world.store.engine.connect() as connection:
        row = dict(connection.execute(select(table).limit(1)).mappings().one())
    edited = row | {column: row[column] + (1 if isinstance(row[column], int) else "x")}
    here = next(iter(table.primary_key))

    def edit(connection: Connection) -> None:
        connection.execute(update(table).where(here == row[here.name]).values({column: edited[column]}))

    def edit_and_enter(connection: Connection) -> None:
        edit(connection)
        entered(connection, change_entry("written", [row_state(kind, edited)], 1))

    wanted = f"says {column} {row[column]!r}, the row {edited[column]!r}"
    assert wanted in sentences(audited(world, edit))
    assert wanted in sentences(audited(world, edit_and_enter))
    assert audited(world).findings == []


def test_a_decision_that_no_entry_speaks_of_is_found(world: LicenseWorld, box: EnrolledDevice) -> None:
    """It came in with the entry of an operation: its row is known, and nobody has said what was decided."""

    def enter(connection: Connection) -> None:
        row = dict(connection.execute(select(decisions).limit(1)).mappings().one()) | {"decision_id": "d" * 32}
        operation = Operation("o" * 32, "cli", "somebody", "test", "", "{}", 1)
        columns = {name: getattr(operation, name) for name in operation.__dataclass_fields__}
        connection.execute(decisions.insert().values(row))
        connection.execute(TABLES[Operation].insert().values(columns))
        new = [row_change(Decision, None, row), row_change(Operation, None, columns)]
        entered(connection, named_entry(operation, new))

    (finding,) = audited(world, enter).findings
    assert (finding.place, finding.sentence) == (f"decisions {'d' * 32}", "no entry speaks of it")


def test_a_change_that_nothing_speaks_for_is_found(world: LicenseWorld, box: EnrolledDevice) -> None:
    """A row edited past the service, with an entry that makes the digests right; also as if an upgrade had done it."""
    for reason in ("written", "baseline"):

        def edit(connection: Connection, reason: str = reason) -> None:
            before = dict(connection.execute(select(licenses)).mappings().one())
            connection.execute(update(licenses).values(seats=1000))
            change = row_change(type(box.license_), before, before | {"seats": 1000})
            entered(connection, change_entry(reason, [change], 1))

        (finding,) = audited(world, edit).findings
        assert finding.place == "a waiting entry"
        assert "neither a decision nor an operation speaks for" in finding.sentence


def test_an_edited_row_is_found_behind_its_next_honest_change(world: LicenseWorld, box: EnrolledDevice) -> None:
    """The entry says how the service found it: more seats, less time charged, a deleted code."""
    with world.store.engine.begin() as connection:
        connection.execute(update(licenses).values(seats=1000))
        connection.execute(update(devices).values(charged_ticks=0, held_because="x"))
    license_id, device_id = box.license_.license_id, box.device.device_id
    suspend_license(world.store, OPERATOR, license_id, now=world.now)
    reinstate_license(world.store, OPERATOR, license_id, now=world.now)
    box.pass_time(DAY)
    box.renew()

    found = sorted(one.sentence for one in audited(world).findings)
    assert found == [
        f"it did not find {row} as the entry before had left it"
        for row in (f"devices {device_id}", f"licenses {license_id}")
    ]


def test_a_row_that_was_put_in_or_taken_out_is_found_behind_its_next_change(world: LicenseWorld) -> None:
    """A service deletes what it never wrote, replaces what is gone, and adds what it had written already."""

    def code(name: str) -> ActivationCodeRecord:
        return ActivationCodeRecord(name, "l", world.now, None, None)

    with operation(world) as transaction:
        transaction.add(code("replaced"))
        transaction.add(code("added"))
    with world.store.engine.begin() as connection:
        connection.execute(delete(activation_codes))
        row = {"code_hash": "deleted", "license_id": "l", "created_at": 1, "replaces": ""}
        connection.execute(insert(activation_codes).values(row))
    with operation(world) as transaction:
        transaction.delete(ActivationCodeRecord, code_hash="deleted")
        transaction.put(code("replaced"))
        transaction.add(code("added"))

    assert sorted(one.sentence.split()[5] for one in audited(world).findings) == ["added", "deleted", "replaced"]


def test_whatever_way_a_row_is_replaced_the_log_says_how_it_was(world: LicenseWorld) -> None:
    """Read or not, there or not, twice, and deleted in between: nothing is found."""

    def code(created_at: int) -> ActivationCodeRecord:
        return ActivationCodeRecord("c", "l", created_at, None, None)

    for step in range(9):
        with operation(world) as transaction:
            match step:
                case 0 | 1 | 6:
                    transaction.put(code(step))
                case 2:
                    assert transaction.get(ActivationCodeRecord, "c")
                    transaction.put(code(step))
                    assert transaction.get(ActivationCodeRecord, "c") == code(step)
                    transaction.put(code(step + 100))
                case 3:
                    transaction.put(code(step))
                    transaction.delete(ActivationCodeRecord, code_hash="c")
                    transaction.add(code(step))
                case 4:
                    transaction.delete(ActivationCodeRecord, license_id="l")
                case 5:
                    assert transaction.get(ActivationCodeRecord, "c") is None
                    transaction.put(code(step))
                case 7:
                    transaction.add(replace(code(step), code_hash="short-lived"))
                    transaction.delete(ActivationCodeRecord, code_hash="short-lived")
                case _:
                    transaction.find(ActivationCodeRecord, license_id="another")
                    transaction.find(ActivationCodeRecord, license_id="l", limit=0)
                    transaction.put(code(step))
        assert audited(world).findings == [], step


@contextmanager
def operation(world: LicenseWorld) -> Iterator[Transaction]:
    """A transaction of an operation."""
    with world.store.write() as transaction:
        record_operation(transaction, actor=OPERATOR, operation="test", subject="", now=world.now)
        yield transaction


def test_an_entry_that_does_not_say_how_a_row_was_is_found(world: LicenseWorld, box: EnrolledDevice) -> None:
    """As those of earlier versions did not; behind an upgrade from there they are forgiven."""
    done = Operation("o" * 32, "cli", "somebody", "test", "", "{}", 1)
    columns = {name: getattr(done, name) for name in done.__dataclass_fields__}

    def enter(connection: Connection) -> None:
        connection.execute(TABLES[Operation].insert().values(columns))
        entered(connection, named_entry(done, [row_state(Operation, columns)]))

    (finding,) = audited(world, enter).findings
    assert finding.sentence == "it does not say how it found a row"
    schema.downgrade(world.store.engine, "0010", world.migrator)
    with world.store.engine.begin() as connection:
        enter(connection)
    schema.upgrade(world.store.engine, world.migrator)
    world.sequence()
    assert audited(world).findings == []


def test_whatever_a_service_does_has_a_cause(world: LicenseWorld) -> None:
    """One of everything that changes an audited table."""
    world.trust(MakerCa("another maker"))
    world.import_release(synthetic_box(product_version="2.0"))
    box = EnrolledDevice.enroll(world)
    clock = box.device.clock
    writer = ChainWriter(
        device_id=box.device.device_id,
        license_id=box.license_.license_id,
        at=point(clock.clock_ms, resets=clock.reset_count, ticks=box.device.ticks),
        opened_at=world.now,
    )
    box.pass_time(2 * DAY)
    asked = NonceRequest(device_id=box.device.device_id, purpose=Purpose.METERING)
    nonces = StatelessNonces(world.keys.nonce)
    nonce = bytes(world.renewal.nonce(asked, now=world.now).nonce)
    report = make_report(box.device, box.license_.license_id, nonce, [writer.next()])
    for _ in range(2):
        MeteringService(world.store, world.keys, nonces).report(report, now=world.now)
    box.renew()
    record, token = create_token(world.store, OPERATOR, "console", Role.OPERATOR, now=world.now)
    authenticate_token(world.store, token, now=world.now)
    revoke_token(world.store, OPERATOR, record.token_id, now=world.now)
    world.rotate(KeyRole.CUSTODIAN_LEASE_SHARE)
    custodian = open_custodian(
        load_keyring(world.folder.keys), Keeper(world.folder.keys), KeyRole.CUSTODIAN_LEASE_SHARE
    )
    assert rewrap_shares(world.store, OPERATOR, KeyRole.CUSTODIAN_LEASE_SHARE, custodian, now=world.now)
    add_activation_code(world.store, OPERATOR, box.license_.license_id, now=world.now)
    transfer_device(world.store, OPERATOR, box.device.device_id, now=world.now)
    suspend_license(world.store, OPERATOR, box.license_.license_id, now=world.now)
    with pytest.raises(VerificationError, match="SUSPENDED"):
        box.ask(box.nonce())
    retire_device(world.store, OPERATOR, box.device.device_id, now=world.now)
    world.sequence()

    assert audited(world).findings == []
    with world.store.read() as transaction:
        assert transaction.count(ApiTokenUse) == 1
        found = transaction.find(LogEntryRecord)
    assert {one.entry_kind for one in found} == {"release", "decision", "operation"}
    (metered,) = [one.leaf for one in found if b'"purpose":"metering"' in one.leaf]
    assert {"decisions", "metering_receipts"} <= {row.table for row in parse_entry(metered).rows}  # type: ignore[union-attr]


def test_an_operation_that_changes_much_has_several_entries(world: LicenseWorld) -> None:
    with world.store.write() as transaction:
        record_operation(transaction, actor=OPERATOR, operation="test", subject="", now=world.now)
        for number in range(2 * MOST_ROWS):
            transaction.add(ActivationCodeRecord(f"{number}", "l", world.now, None, None))
    with world.store.read() as transaction:
        waiting = [parse_entry(one.leaf) for one in transaction.find(LogQueueItem, code="test")]

    assert sorted(len(entry.rows) for entry in waiting) == [1, MOST_ROWS, MOST_ROWS]  # type: ignore[union-attr]
    assert len({entry.operation_id for entry in waiting}) == 1  # type: ignore[union-attr]
    assert audited(world).findings == []


def test_an_upgrade_is_an_operation_and_what_earlier_versions_left_is_forgiven(world: LicenseWorld) -> None:
    """They entered reports and the use of tokens without a cause; behind the upgrade such a change is found."""
    EnrolledDevice.enroll(world)
    engine = world.store.engine
    schema.downgrade(engine, "0007", world.migrator)
    with world.store.write() as transaction:
        transaction.add(queue_item(change_entry("written", [], world.now)))
    schema.upgrade(engine, world.migrator)
    world.sequence()
    report = audited(world)
    assert (report.findings, report.earlier_changes, len(report.upgrades)) == ([], 1, 2)
    with world.store.read() as transaction:
        found = {one.subject: one.actor for one in transaction.find(Operation, operation="database.upgrade")}
        code = transaction.find(ActivationCodeRecord)[0]
    newest = newest_revision()
    assert found == {f"{newest}-0007": OPERATOR.name, f"0007-{newest}": OPERATOR.name}

    with world.store.write() as transaction:
        transaction.put(replace(code, created_at=1))
    assert "neither a decision nor an operation" in sentences(audited(world))


def test_the_last_use_of_a_token_goes_down_and_up(world: LicenseWorld) -> None:
    record, token = create_token(world.store, OPERATOR, "console", Role.OPERATOR, now=world.now)
    authenticate_token(world.store, token, now=world.now + 7)
    schema.downgrade(world.store.engine, "0007", world.migrator)
    schema.upgrade(world.store.engine, world.migrator)
    with world.store.read() as transaction:
        assert transaction.get(ApiTokenUse, record.token_id) == ApiTokenUse(record.token_id, world.now + 7)


def test_rows_that_are_gone_are_not_missed(world: LicenseWorld, box: EnrolledDevice) -> None:
    """A journal is pruned, with an entry that says so; what stood in the log about it stays there."""
    with world.store.write() as transaction:
        record_operation(transaction, actor=OPERATOR, operation="test", subject="", now=world.now)
        transaction.delete(Decision, device_id=box.device.device_id)
    with open_database_source(world.store.engine) as source:
        report = audit(source, [key.public_key() for key in world.keys.log], log_origin(SERVICE_ID))
    assert report.findings == []
    assert "the row is missing" in sentences(audited(world, lambda connection: connection.execute(delete(licenses))))
