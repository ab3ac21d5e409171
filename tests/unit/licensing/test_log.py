"""The log while the service works: batches, kills, two sequencers, key rotation."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

import pytest

from sealwright_licensing.audit import audit
from sealwright_licensing.audit_source import open_database_source
from sealwright_licensing.config import load_config
from sealwright_licensing.database import service_engine
from sealwright_licensing.decision_limit import DecisionLimit
from sealwright_licensing.keyring import KeyRole
from sealwright_licensing.keys import load_log_keys
from sealwright_licensing.nonces import StatelessNonces
from sealwright_licensing.records import Decision, LogCheckpoint, LogEntryRecord, LogNode, LogQueueItem
from sealwright_licensing.renewal import RenewalService
from sealwright_licensing.row_changes import queue_item
from sealwright_licensing.sequencer import BATCH, Sequencer, newest_checkpoint
from sealwright_licensing.store_sql import SqlStore
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.transparency.checkpoint import log_origin
from sealwright_policies.transparency.entries import release_entry
from sealwright_policies.transparency.release_proof import verify_release_proof
from sealwright_testing.enrolled_device import DAY, EnrolledDevice
from sealwright_testing.license_world import NO_FLOOR, SERVICE_ID, LicenseWorld, synthetic_box


def add_entries(world: LicenseWorld, count: int) -> None:
    with world.store.write() as transaction:
        for _ in range(count):
            transaction.add(queue_item(release_entry(os.urandom(32).hex(), "test", "1.0")))


def findings(world: LicenseWorld) -> list[str]:
    keys = [key.public_key() for key in load_log_keys(world.folder.keys)]
    with open_database_source(world.store.engine) as source:
        report = audit(source, keys, log_origin(SERVICE_ID))
    return [f"{one.place}: {one.sentence}" for one in report.findings]


def test_more_than_a_batch_is_appended_in_order(world: LicenseWorld) -> None:
    before = world.sequence()
    add_entries(world, BATCH + 3)
    with world.store.read() as transaction:
        waiting = [item.leaf for item in transaction.find_from(LogQueueItem, "position", 0, limit=2 * BATCH)]

    assert world.sequence() == before + BATCH + 3

    with world.store.read() as transaction:
        appended = transaction.find_from(LogEntryRecord, "entry_index", before, limit=2 * BATCH)
        assert [entry.leaf for entry in appended] == waiting
        assert transaction.count(LogQueueItem) == 0
        assert transaction.count(LogCheckpoint) == 1, "the newest takes the place of the one before"
    assert findings(world) == []


def test_two_sequencers_append_every_entry_once(world: LicenseWorld) -> None:
    before = world.sequence()
    add_entries(world, 300)
    threads = [threading.Thread(target=world.sequence) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert world.sequence() == before + 300
    assert findings(world) == []


def sequence_and_die(world: LicenseWorld, step: int) -> bool:
    """Run a sequencer of its own in a process that is killed at a step of its transactions; whether it was."""
    child = os.fork()
    if child == 0:
        steps = 0

        def count(frame: FrameType, event: str, _: object) -> None:
            nonlocal steps
            if event == "call" and frame.f_code.co_name in ("write", "enter_changes", "flush"):
                steps += 1
                if steps == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            store = SqlStore(service_engine(world.folder, load_config(world.folder)))
            sequencer = Sequencer(store, world.keys.log, SERVICE_ID)
            sys.setprofile(count)
            sequencer.run()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)


def test_a_killed_sequencer_leaves_a_log_that_goes_on(world: LicenseWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every step of its transactions, in the first batch and in the next: a whole batch is there, or none of it."""
    monkeypatch.setattr("sealwright_licensing.sequencer.BATCH", 4)
    world.sequence()
    for step in range(1, 100):
        add_entries(world, 6)
        was_killed = sequence_and_die(world, step)
        with world.store.read() as transaction:
            newest = newest_checkpoint(transaction)
            assert newest is not None
            assert transaction.count(LogEntryRecord) == newest.size
            assert transaction.count(LogNode, level=0) == newest.size
        assert findings(world) == []
        world.sequence()
        if not was_killed:
            break
    assert step > 10
    with world.store.read() as transaction:
        entries = transaction.find(LogEntryRecord)
        assert sum(entry.entry_kind == "release" for entry in entries) >= 6 * step
        assert len({entry.leaf for entry in entries}) == len(entries)
        assert transaction.count(LogQueueItem) == 0
    assert findings(world) == []


def test_a_release_is_leased_only_when_it_is_in_the_log(world: LicenseWorld) -> None:
    """As after a database that was put together by hand."""
    with world.store.write() as transaction:
        for item in (LogEntryRecord, LogNode, LogCheckpoint):
            transaction.delete(item)
    world.restart()
    _, (code,) = world.issue()
    with pytest.raises(VerificationError) as error:
        world.enroll(world.device(), code)
    assert error.value.code is RejectionCode.RELEASE_NOT_LOGGED


def test_a_lease_carries_the_proof_of_its_own_release(world: LicenseWorld) -> None:
    box = EnrolledDevice.enroll(world)
    checkpoint = verify_release_proof(box.lease.log, box.lease.release_id, world.service)

    assert checkpoint.origin == log_origin(SERVICE_ID)
    assert (box.lease.log.product, box.lease.log.product_version) == (
        "synthetic-box",
        world.box.release.manifest.product_version,
    )


def test_after_a_rotation_old_and_new_images_know_the_checkpoints(world: LicenseWorld) -> None:
    """Each by the log key in its own service file."""
    before = world.service
    world.rotate(KeyRole.LOG)
    world.restart()
    world.import_release(synthetic_box(product_version="2.0"))
    box = EnrolledDevice.enroll(world)

    for service in (before, world.service):
        verify_release_proof(box.lease.log, box.lease.release_id, service)
    assert before.log_key != world.service.log_key
    assert findings(world) == []


def test_a_device_has_so_many_decisions_a_day(world: LicenseWorld) -> None:
    """What it asks beyond is denied as strangers are; a day later it has as many again."""
    box = EnrolledDevice.enroll(world)
    grantor = world.enrollment._grantor
    world.renewal = RenewalService(world.store, grantor, StatelessNonces(world.keys.nonce), NO_FLOOR, DecisionLimit(3))
    for _ in range(3):
        box.pass_time(1)
        box.renew()
    box.pass_time(1)
    with world.store.read() as transaction:
        before = transaction.count(Decision, device_id=box.device.device_id)
    with pytest.raises(VerificationError) as error:
        box.renew()

    assert error.value.code is RejectionCode.RATE_LIMITED
    with world.store.read() as transaction:
        assert transaction.count(Decision, device_id=box.device.device_id) == before
    box.pass_time(DAY)
    box.renew()
