"""What a person has judged is judged for good, and for nothing else: neither a later state nor a signature over it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Table, delete, insert, select, update

from sealwright_custody.keeper import Keeper
from sealwright_licensing import schema
from sealwright_licensing.audit import Finding, Report, audit
from sealwright_licensing.audit_source import open_database_source
from sealwright_licensing.cli import main
from sealwright_licensing.journal import record_operation
from sealwright_licensing.key_retirement import forget_key
from sealwright_licensing.keyring import KeyRole, load_keyring
from sealwright_licensing.operations.devices import retire_device
from sealwright_licensing.operations.releases import withdraw_release
from sealwright_licensing.records import Device, LeaseRecord, License
from sealwright_licensing.signed_records import sign_record
from sealwright_licensing.store import Transaction
from sealwright_licensing.store_sql import SqlStore
from sealwright_licensing.tables import devices, leases, licenses, log_entries, log_queue
from sealwright_policies.errors import OperationError, VerificationError
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.license_world import OPERATOR, LicenseWorld

Capture = pytest.CaptureFixture[str]
COPIED = ("leaf", "entry_kind", "at", "code", "device_id", "license_id", "subject")
NOT_SO = "the row is not as the last entry about it left it"


def audited(world: LicenseWorld) -> Report:
    """Of whatever schema the database has."""
    keys = world.migrator.audit_keys
    with open_database_source(world.store.engine) as source:
        return audit(source, keys.keys, keys.origin, schema=schema.current_revision(world.store.engine))


def judge(world: LicenseWorld) -> list[Finding]:
    """Acknowledge all that is found, now and once it has its place in the log."""
    world.sequence()
    findings = audited(world).findings
    for one in findings:
        schema.acknowledge(world.store.engine, world.migrator.audit_keys, OPERATOR, one.finding_id, "Known.")
    assert audited(world).findings == []
    world.sequence()
    assert audited(world).findings == []
    return findings


def execute(world: LicenseWorld, *statements: Any) -> None:
    """Past the service."""
    with world.store.engine.begin() as connection:
        for one in statements:
            connection.execute(one)


def rows_of(world: LicenseWorld, table: Table) -> list[dict[str, Any]]:
    with world.store.engine.begin() as connection:
        return [dict(row) for row in connection.execute(select(table)).mappings()]


def change(world: LicenseWorld, write: Callable[[Transaction], object]) -> None:
    """By the service, with an operation for its cause."""
    with SqlStore(world.store.engine).write() as transaction:
        write(transaction)
        record_operation(transaction, actor=OPERATOR, operation="test", subject="", now=world.now)


# --- what it holds for ------------------------------------------------------------------------------------------------


def test_an_edited_row_that_comes_back_is_another_finding(world: LicenseWorld, box: EnrolledDevice) -> None:
    """As a whole, after the service has changed what was judged."""
    execute(world, update(licenses).values(seats=1000))
    (row,) = rows_of(world, licenses)
    (first,) = judge(world)
    change(world, lambda transaction: transaction.put(replace(transaction.find(License)[0], seats=2)))
    (second,) = judge(world)
    assert second.place.startswith("entry ")

    execute(world, update(licenses).values(row))

    (again,) = audited(world).findings
    assert (again.place, again.sentence) == (first.place, first.sentence)
    assert again.finding_id != first.finding_id


def test_a_row_that_is_missing_again_is_another_finding(world: LicenseWorld, box: EnrolledDevice) -> None:
    with world.store.read() as transaction:
        lease = transaction.find(LeaseRecord)[0]
    execute(world, delete(leases))
    assert {one.sentence for one in judge(world)} == {"the row is missing"}
    change(world, lambda transaction: transaction.put(lease))
    judge(world)
    execute(world, delete(leases))
    assert [one.sentence for one in audited(world).findings] == ["the row is missing"]


def test_a_row_of_nobody_that_comes_back_is_another_finding(world: LicenseWorld, box: EnrolledDevice) -> None:
    """Although the service has deleted it, and the log has it as gone."""
    (row,) = rows_of(world, licenses)
    planted = row | {"license_id": "lic-planted"}
    execute(world, insert(licenses).values(planted))
    (first,) = judge(world)
    assert first.sentence == "no entry of the log has brought the row"
    change(world, lambda transaction: transaction.delete(License, license_id="lic-planted"))
    judge(world)
    execute(world, insert(licenses).values(planted))
    assert [one.place for one in audited(world).findings] == ["licenses lic-planted"]


def test_the_same_entry_once_more_is_another_one(world: LicenseWorld, box: EnrolledDevice) -> None:
    """Copies of entries that take a row there and back leave its last entry what it was, but not how many there are."""
    for seats in (2, box.license_.seats):
        to = seats
        change(world, lambda transaction: transaction.put(replace(transaction.find(License)[0], seats=to)))  # noqa: B023
    size = world.sequence()
    execute(world, update(licenses).values(seats=1000))
    (finding,) = judge(world)
    copied = (log_entries.c[name] for name in COPIED)
    query = select(*copied).where(log_entries.c.entry_index.in_([size - 2, size - 1])).order_by("entry_index")
    execute(world, insert(log_queue).from_select(COPIED, query))
    assert finding.place in [one.place for one in audited(world).findings]


def test_what_was_judged_while_entries_wait_stays_judged(world: LicenseWorld, box: EnrolledDevice) -> None:
    """The last entry about the row gets its number afterwards. And what no entry tells apart is the same finding."""
    execute(world, update(licenses).values(seats=1000))
    (finding,) = audited(world).findings
    schema.acknowledge(world.store.engine, world.migrator.audit_keys, OPERATOR, finding.finding_id, "Known.")
    world.sequence()
    assert [one for one, _ in audited(world).acknowledged] == [finding]
    execute(world, update(licenses).values(seats=box.license_.seats))
    assert (audited(world).findings, audited(world).acknowledged) == ([], [])
    execute(world, update(licenses).values(seats=1000))
    assert [one for one, _ in audited(world).acknowledged] == [finding]


# --- what is signed ---------------------------------------------------------------------------------------------------


def rotate(world: LicenseWorld) -> None:
    """The lease-document key, and no release needs the earlier one."""
    world.rotate(KeyRole.LEASE_DOCUMENT)
    world.restart()
    withdraw_release(world.store, OPERATOR, world.box.release.release_id, now=world.now)


def forge(world: LicenseWorld, box: EnrolledDevice) -> None:
    """Whoever has stolen the key that is rotated now writes a device."""
    stolen = world.keys.lease_document
    rotate(world)
    forged = sign_record(replace(box.stored(), tier="discrete"), stolen)
    execute(world, update(devices).values(tier=forged.tier, signature=forged.signature))


def forget(world: LicenseWorld) -> None:
    """The key from before the rotation."""
    keys = world.folder.keys
    earlier = load_keyring(keys).all_of(KeyRole.LEASE_DOCUMENT)[1].fingerprint
    forget_key(keys, Keeper(keys), SqlStore(world.store.engine), OPERATOR, earlier, now=world.now)


def retire(world: LicenseWorld, box: EnrolledDevice) -> None:
    retire_device(SqlStore(world.store.engine), OPERATOR, box.device.device_id, now=world.now)
    judge(world)


def test_a_judged_device_is_not_signed_although_an_upgrade_has_entered_it(
    world: LicenseWorld, box: EnrolledDevice
) -> None:
    """The audit finds it no more, and lists who judged it. Retired, it keeps nobody from forgetting the key."""
    forge(world, box)
    engine = world.store.engine
    (finding,) = judge(world)
    done = schema.downgrade(engine, "0010", world.migrator)
    assert [one for one, _ in done.acknowledged] == [finding]
    assert schema.upgrade(engine, world.migrator).acknowledged == ()
    report = audited(world)
    assert (report.findings, report.acknowledged) == ([], [])
    (judgement,) = report.judgements
    assert judgement.detail is not None
    assert (judgement.detail.place, judgement.actor) == (finding.place, OPERATOR.name)

    with pytest.raises(OperationError, match=rf"devices {box.device.device_id} would be signed"):
        forget(world)
    assert len(load_keyring(world.folder.keys).all_of(KeyRole.LEASE_DOCUMENT)) == 2
    retire(world, box)
    forget(world)
    assert len(load_keyring(world.folder.keys).all_of(KeyRole.LEASE_DOCUMENT)) == 1


def test_a_judged_entry_about_a_device_keeps_the_key_until_it_is_retired(
    world: LicenseWorld, box: EnrolledDevice
) -> None:
    """It stays in the log for good; the service has changed the device since."""
    forge(world, box)
    change(world, lambda transaction: transaction.put(replace(transaction.find(Device)[0], revision=9)))
    (finding,) = judge(world)
    assert finding.rows == (("devices", box.device.device_id),)
    with pytest.raises(OperationError, match="would be signed"):
        forget(world)
    retire(world, box)
    forget(world)


def test_a_judged_entry_about_what_is_not_signed_keeps_no_key(world: LicenseWorld, box: EnrolledDevice) -> None:
    execute(world, update(licenses).values(seats=1000))
    change(world, lambda transaction: transaction.put(replace(transaction.find(License)[0], seats=2)))
    rotate(world)
    before = box.stored().signature
    judge(world)
    forget(world)
    world.restart()
    assert box.stored().signature != before


def test_a_judgement_that_cannot_be_read_any_more_keeps_the_key(world: LicenseWorld, box: EnrolledDevice) -> None:
    """Once an upgrade has entered all rows: nobody knows which one it was about."""
    rotate(world)
    with world.store.write() as transaction:
        record_operation(transaction, actor=OPERATOR, operation="audit.acknowledge", subject="0" * 64, now=world.now)
    schema.downgrade(world.store.engine, "0010", world.migrator)
    schema.upgrade(world.store.engine, world.migrator)
    world.sequence()
    with pytest.raises(VerificationError, match="which one cannot be read any more"):
        forget(world)


def test_an_upgrade_signs_no_device_that_was_judged(world: LicenseWorld, box: EnrolledDevice) -> None:
    """From a schema without signatures. As the log has it, it is signed."""
    engine = world.store.engine
    schema.downgrade(engine, "0008", world.migrator)
    with engine.begin() as connection:
        before = connection.execute(select(devices.c.tier)).scalar_one()
    execute(world, update(devices).values(tier="discrete"))
    (finding,) = judge(world)
    assert finding.place == f"devices {box.device.device_id}"
    with pytest.raises(OperationError, match="would be signed"):
        schema.upgrade(engine, world.migrator)
    assert schema.current_revision(engine) == "0008"

    execute(world, update(devices).values(tier=before))
    assert schema.upgrade(engine, world.migrator).signed >= 2
    box.nonce()


def test_an_upgrade_signs_no_device_that_is_retired(world: LicenseWorld, box: EnrolledDevice) -> None:
    """So a judged one that somebody has taken out of use holds up nothing, and cannot be brought back."""
    engine = world.store.engine
    schema.downgrade(engine, "0008", world.migrator)
    execute(world, update(devices).values(tier="discrete", status="retired"))
    judge(world)
    assert schema.upgrade(engine, world.migrator).signed >= 1
    with SqlStore(engine).read() as transaction:
        assert [one.signature for one in transaction.find(Device)] == [b""]


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_a_migration_prints_what_it_enters_although_it_was_found(
    world: LicenseWorld, box: EnrolledDevice, capsys: Capture
) -> None:
    """And the audit goes on to list it."""
    folder = str(world.folder.path)
    execute(world, update(licenses).values(seats=1000))
    (finding,) = judge(world)
    for command in (["downgrade", folder, "--to", "0010"], ["upgrade", folder]):
        assert main(["database", *command]) == 0
        printed = capsys.readouterr().out
        assert (f"Acknowledged: {finding.place}: {NOT_SO}" in printed) is (command[0] == "downgrade")
    world.sequence()
    assert main(["audit", "verify", folder]) == 0
    printed = capsys.readouterr().out
    assert f"Acknowledged before: {finding.place}." in printed
    assert f"{OPERATOR.name}: Known." in printed


def test_an_upgrade_says_in_json_who_has_judged_what(world: LicenseWorld, box: EnrolledDevice, capsys: Capture) -> None:
    folder = str(world.folder.path)
    assert main(["database", "downgrade", folder, "--to", "0010"]) == 0
    execute(world, update(licenses).values(seats=1000))
    (finding,) = judge(world)
    capsys.readouterr()
    assert main(["database", "upgrade", folder, "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)["acknowledged"]
    assert (said["id"], said["actor"], said["judgement"]) == (finding.finding_id, OPERATOR.name, "Known.")


def test_words_that_steer_a_terminal_are_not_printed(world: LicenseWorld, box: EnrolledDevice, capsys: Capture) -> None:
    """Whoever can write the database makes up a judgement."""
    detail = {"place": "licenses \x1b[2J", "finding": "x", "judgement": "\x1b[1A"}
    with world.store.write() as transaction:
        record_operation(
            transaction, actor=OPERATOR, operation="audit.acknowledge", subject="0" * 64, detail=detail, now=world.now
        )
    world.sequence()
    assert main(["audit", "verify", str(world.folder.path)]) == 0
    printed = capsys.readouterr().out
    assert "Acknowledged before: licenses \\u001b[2J." in printed
    assert "\x1b" not in printed
