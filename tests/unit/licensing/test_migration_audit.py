"""No migration takes in what somebody has written past the service: it audits the rows before it enters them anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, delete, text, update
from sqlalchemy.exc import OperationalError

from sealwright_licensing import baseline, schema
from sealwright_licensing.audit import Report, audit
from sealwright_licensing.audit_source import open_database_source
from sealwright_licensing.database import is_postgresql
from sealwright_licensing.journal import record_operation
from sealwright_licensing.keyring import KeyRole
from sealwright_licensing.records import License, LogQueueItem, Operation
from sealwright_licensing.revisions import newest_revision
from sealwright_licensing.tables import licenses, log_entries, log_nodes, log_queue
from sealwright_policies.errors import RejectionCode, UsageError, VerificationError
from sealwright_testing.enrolled_device import DAY, EnrolledDevice
from sealwright_testing.license_world import OPERATOR, LicenseWorld

WITH_A_LOG = ["0006", "0007", "0008", "0009", "0010"]


def audited(world: LicenseWorld, revision: str) -> Report:
    """What the audit of an older release would say of its schema."""
    keys = world.migrator.audit_keys
    with open_database_source(world.store.engine) as source:
        return audit(source, keys.keys, keys.origin, schema=revision)


def execute(engine: Engine, statement: Any) -> None:
    with engine.begin() as connection:
        connection.execute(statement)


def refused(migrate: Callable[[], object]) -> str:
    with pytest.raises(VerificationError, match="Nothing was migrated") as error:
        migrate()
    assert error.value.code is RejectionCode.AUDIT_MISMATCH
    return str(error.value)


@pytest.mark.parametrize("revision", WITH_A_LOG)
def test_an_upgrade_refuses_rows_that_the_log_does_not_know_so(
    world: LicenseWorld, box: EnrolledDevice, revision: str
) -> None:
    """Edited, or removed, in whatever older schema; with the row as it was it goes on."""
    box.pass_time(DAY)
    box.renew()
    engine, seats = world.store.engine, box.license_.seats
    schema.downgrade(engine, revision, world.migrator)
    execute(engine, update(licenses).values(seats=1000))

    assert f"licenses {box.license_.license_id}: the row is not as" in refused(
        lambda: schema.upgrade(engine, world.migrator)
    )
    assert schema.current_revision(engine) == revision

    execute(engine, update(licenses).values(seats=seats))
    schema.upgrade(engine, world.migrator)
    world.sequence()
    box.ask()


@pytest.mark.parametrize("revision", ["0006", "0010"])
def test_a_finding_that_a_person_has_judged_does_not_keep_the_schema_old(
    world: LicenseWorld, box: EnrolledDevice, revision: str
) -> None:
    """Its id holds for the row as it was judged: one that is edited once more is refused again."""
    engine, keys = world.store.engine, world.migrator.audit_keys
    schema.downgrade(engine, revision, world.migrator)
    execute(engine, update(licenses).values(seats=1000))
    (finding,) = audited(world, revision).findings
    with pytest.raises(UsageError, match="names 0 findings"):
        schema.acknowledge(engine, keys, OPERATOR, "0" * 64, "Nothing.")
    with pytest.raises(UsageError, match="names 0 findings"):
        schema.acknowledge(engine, keys, OPERATOR, finding.finding_id[:7], "Nothing.")
    with pytest.raises(UsageError, match="--sentence"):
        schema.acknowledge(engine, keys, OPERATOR, finding.finding_id, " \n")
    schema.acknowledge(engine, keys, OPERATOR, finding.finding_id[:12], "Edited by hand, ticket 12.")
    report = audited(world, revision)
    assert (report.findings, report.found) == ([], 0)
    assert [one for one, _ in report.acknowledged] == [finding]

    execute(engine, update(licenses).values(seats=1001))
    assert "the row is not as" in refused(lambda: schema.upgrade(engine, world.migrator))
    execute(engine, update(licenses).values(seats=1000))
    schema.upgrade(engine, world.migrator)
    world.sequence()
    report = audited(world, newest_revision())
    assert (report.findings, report.acknowledged) == ([], [])  # the upgrade has entered the row as it is
    with world.store.read() as transaction:
        (said,) = transaction.find(Operation, operation="audit.acknowledge")
    assert (said.subject, said.actor) == (finding.finding_id, OPERATOR.name)
    assert json.loads(said.detail)["judgement"] == "Edited by hand, ticket 12."


def test_a_change_without_a_cause_is_judged_once_and_stays_listed(world: LicenseWorld, box: EnrolledDevice) -> None:
    """It is in the log for good; one that waits for its number has no place yet that could be judged."""
    engine, keys = world.store.engine, world.migrator.audit_keys

    def change() -> None:
        with world.store.write() as transaction:
            transaction.put(replace(transaction.find(License)[0], seats=transaction.find(License)[0].seats + 1))

    change()
    newest = newest_revision()
    assert [one.finding_id for one in audited(world, newest).findings] == [""]
    world.sequence()
    (finding,) = audited(world, newest).findings
    assert finding.place.startswith("entry ")
    schema.acknowledge(engine, keys, OPERATOR, finding.finding_id, "A mistake of version 0.9.")
    world.sequence()
    schema.downgrade(engine, "0010", world.migrator)
    schema.upgrade(engine, world.migrator)
    change()
    world.sequence()
    report = audited(world, newest)
    assert [one for one, _ in report.acknowledged] == [finding]
    assert len(report.findings) == 1


def test_the_log_itself_is_never_acknowledged(world: LicenseWorld, box: EnrolledDevice) -> None:
    """Nor by an operation that somebody has made up, for no finding at all."""
    engine = world.store.engine
    with world.store.write() as transaction:
        record_operation(transaction, actor=OPERATOR, operation="audit.acknowledge", subject="", now=world.now)
    world.sequence()
    execute(engine, delete(log_nodes).where(log_nodes.c.level == 0, log_nodes.c.node_index == 1))
    report = audited(world, newest_revision())
    assert [(one.place, one.finding_id) for one in report.findings] == [("subtree 0/1", "")]
    assert report.acknowledged == []


def test_a_downgrade_refuses_them_too(world: LicenseWorld, box: EnrolledDevice) -> None:
    execute(world.store.engine, text("DELETE FROM leases"))
    assert "the row is missing" in refused(lambda: schema.downgrade(world.store.engine, "0010", world.migrator))
    assert schema.current_revision(world.store.engine) == newest_revision()


def test_entries_of_the_log_are_audited_before_a_migration(world: LicenseWorld, box: EnrolledDevice) -> None:
    """An entry that has a number cannot be taken away with its row."""
    engine = world.store.engine
    schema.downgrade(engine, "0010", world.migrator)
    world.sequence()
    last = log_entries.c.entry_index == world.sequence() - 1
    execute(engine, delete(log_entries).where(last))
    assert "there is no such subtree" in refused(lambda: schema.upgrade(engine, world.migrator))


def test_the_older_schema_is_as_its_log_says(world: LicenseWorld, box: EnrolledDevice) -> None:
    """Each migration enters the rows as it leaves them, downwards too, so the older release's audit finds nothing."""
    engine = world.store.engine
    for revision in reversed(WITH_A_LOG):
        schema.downgrade(engine, revision, world.migrator)
        report = audited(world, revision)
        assert (report.findings, report.rows > 5) == ([], True)
    world.sequence()
    with world.store.read() as transaction:
        steps = {one.subject for one in transaction.find(Operation, operation="database.upgrade")}
    assert {"0010-0009", "0007-0006"} <= steps


def test_after_a_rotation_the_log_is_audited_by_earlier_keys_too(world: LicenseWorld, box: EnrolledDevice) -> None:
    world.rotate(KeyRole.LOG)
    world.restart()
    world.sequence()
    schema.downgrade(world.store.engine, "0010", world.migrator)
    schema.upgrade(world.store.engine, world.migrator)
    assert audited(world, newest_revision()).findings == []


def test_a_schema_without_a_log_has_nothing_to_be_audited_by(world: LicenseWorld, box: EnrolledDevice) -> None:
    engine = world.store.engine
    schema.downgrade(engine, "0005", world.migrator)
    execute(engine, update(licenses).values(seats=1000))
    schema.upgrade(engine, world.migrator)
    world.sequence()
    assert audited(world, newest_revision()).findings == []


def intrude(engine: Engine, statement: Any) -> None:
    """Somebody with the database's password and none of the service's manners; he does not wait."""
    settings = {"options": "-c lock_timeout=200"} if is_postgresql(engine) else {"timeout": 0}
    other = create_engine(engine.url, connect_args=settings)
    try:
        execute(other, statement)
    finally:
        other.dispose()


@pytest.mark.parametrize("statement", [update(licenses).values(seats=1000), delete(log_queue)])
def test_nobody_writes_between_the_audit_and_the_new_entries(
    world: LicenseWorld, box: EnrolledDevice, monkeypatch: pytest.MonkeyPatch, statement: Any
) -> None:
    engine, tried = world.store.engine, []

    def audit_and_be_overtaken(*arguments: Any, **named: Any) -> Report:
        report = audit(*arguments, **named)
        with pytest.raises(OperationalError):
            intrude(engine, statement)
        tried.append(True)
        return report

    schema.downgrade(engine, "0010", world.migrator)
    monkeypatch.setattr(baseline, "audit", audit_and_be_overtaken)
    schema.upgrade(engine, world.migrator)
    assert tried
    with world.store.read() as transaction:
        assert transaction.count(LogQueueItem)
