"""The log's own keys: one follows on another, one is retired, and what whoever has an old one can still do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, delete, insert, select

from sealwright_custody.keeper import Keeper
from sealwright_licensing.audit import StoredNote, audit
from sealwright_licensing.audit_source import DatabaseSource, open_database_source
from sealwright_licensing.cli import main
from sealwright_licensing.key_retirement import forget_key
from sealwright_licensing.keyring import KeyRole, load_keyring
from sealwright_licensing.keys import load_log_keys
from sealwright_licensing.operations.devices import retire_device
from sealwright_licensing.operations.releases import withdraw_release
from sealwright_licensing.records import LogCheckpoint, LogEntryRecord, LogQueueItem
from sealwright_licensing.rotation import MOST_LOG_KEYS
from sealwright_licensing.row_changes import log_key_entry, queue_item
from sealwright_licensing.sequencer import Sequencer, newest_checkpoint
from sealwright_licensing.tables import log_checkpoints, log_entries, log_nodes, log_queue
from sealwright_policies.errors import OperationError, VerificationError
from sealwright_policies.transparency.checkpoint import Checkpoint, log_origin, sign_checkpoint, verify_checkpoint
from sealwright_policies.transparency.entries import LogKeyEntry, parse_entry
from sealwright_policies.transparency.key_schedule import key_fingerprint
from sealwright_policies.transparency.merkle import Frontier, leaf_hash
from sealwright_policies.transparency.release_proof import verify_release_proof
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.license_world import OPERATOR, SERVICE_ID, LicenseWorld, grant, synthetic_box

ORIGIN = log_origin(SERVICE_ID)
Keys = Sequence[Ed25519PrivateKey]


def forget(world: LicenseWorld) -> None:
    """Forget the log key from before the rotation; no image needs it."""
    withdraw_release(world.store, OPERATOR, world.box.release.release_id, now=world.now)
    earlier = load_keyring(world.folder.keys).all_of(KeyRole.LOG)[1].fingerprint
    forget_key(world.folder.keys, Keeper(world.folder.keys), world.store, OPERATOR, earlier, now=world.now)


def rotated(world: LicenseWorld) -> tuple[Ed25519PrivateKey, Ed25519PrivateKey]:
    """Rotate; the old key and the new one."""
    world.rotate(KeyRole.LOG)
    old, new = load_log_keys(world.folder.keys)
    return old, new


def key_entries(world: LicenseWorld) -> list[tuple[int, str, str]]:
    with world.store.read() as transaction:
        found = transaction.find(LogEntryRecord, entry_kind="log-key")
    entries = [(one.entry_index, parse_entry(one.leaf)) for one in found]
    return sorted((index, one.event, one.key) for index, one in entries if isinstance(one, LogKeyEntry))


def newest(world: LicenseWorld) -> LogCheckpoint:
    with world.store.read() as transaction:
        found = newest_checkpoint(transaction)
    assert found is not None
    return found


def findings(world: LicenseWorld, keys: Keys, *kept: str) -> list[str]:
    with open_database_source(world.store.engine) as source:
        report = audit(source, [key.public_key() for key in keys], ORIGIN, [StoredNote("kept", one) for one in kept])
    return [f"{one.place}: {one.sentence}" for one in report.findings]


def rewritten(connection: Connection, leaves: Sequence[bytes], key: Ed25519PrivateKey) -> str:
    """Replace the whole log by these entries, signed with a key; its checkpoint."""
    frontier = Frontier()
    for table in (log_nodes, log_entries, log_checkpoints):
        connection.execute(delete(table))
    for index, leaf in enumerate(leaves):
        for node in frontier.append(leaf_hash(leaf)):
            values = {"level": node.level, "node_index": node.index, "hash": node.hash}
            connection.execute(insert(log_nodes).values(values))
        found_by = {"entry_kind": "", "at": 0, "code": "", "device_id": "", "license_id": "", "subject": ""}
        connection.execute(insert(log_entries).values(entry_index=index, leaf=leaf, **found_by))
    note = sign_checkpoint(Checkpoint(ORIGIN, frontier.size, frontier.root()), key)
    connection.execute(insert(log_checkpoints).values(size=frontier.size, note=note))
    return note


def test_the_first_checkpoint_of_a_new_key_is_signed_by_the_old_one_too(world: LicenseWorld) -> None:
    """And covers an entry that names the new one, at the size up to which the old one signed alone."""
    before = world.sequence()
    old, new = rotated(world)
    world.issue()
    world.sequence()

    assert key_entries(world) == [(before, "current", key_fingerprint(new.public_key()))]
    for key in (old, new):
        assert verify_checkpoint(newest(world).note, key.public_key(), ORIGIN).size == before + 2
    assert findings(world, (old, new)) == []
    world.issue()
    world.sequence()
    assert len(key_entries(world)) == 1


def test_a_retired_key_signs_no_more_and_what_it_signed_stays_good(world: LicenseWorld) -> None:
    before = newest(world).note
    old, new = rotated(world)
    forget(world)
    world.restart()
    world.issue()
    world.sequence()

    assert [event for _, event, _ in key_entries(world)] == ["current", "retired"]
    assert key_entries(world)[1][2] == key_fingerprint(old.public_key())
    with pytest.raises(VerificationError, match="LOG_PROOF_INVALID"):
        verify_checkpoint(newest(world).note, old.public_key(), ORIGIN)
    assert findings(world, (old, new), before) == []


def test_a_checkpoint_of_a_retired_key_behind_its_end_is_refused(world: LicenseWorld) -> None:
    """Also if it is of the very log: nobody honest has such a one."""
    old, new = rotated(world)
    forget(world)
    text = verify_checkpoint(newest(world).note, new.public_key(), ORIGIN)
    (found,) = findings(world, (old, new), sign_checkpoint(text, old))

    assert found.startswith("kept: LOG_KEY_RETIRED: ")


def test_whoever_has_a_forgotten_key_cannot_rewrite_the_log(world: LicenseWorld) -> None:
    """Neither with its retirement in it nor without, and neither whole nor up to where the key was good."""
    old, new = rotated(world)
    forget(world)
    world.restart()
    with world.store.engine.connect() as connection:
        leaves = list(connection.execute(select(log_entries.c.leaf).order_by(log_entries.c.entry_index)).scalars())
    without = [leaf for leaf in leaves if b"log-key" not in leaf]
    for forged, sentence in (
        (leaves, "LOG_KEY_RETIRED"),
        (without, "not signed by the current key"),
        (leaves[:-1], "not signed by the current key"),
    ):
        with world.store.engine.connect() as connection, connection.begin() as transaction:
            rewritten(connection, forged, old)
            report = audit(DatabaseSource(connection), [old.public_key(), new.public_key()], ORIGIN)
            transaction.rollback()
        places = [one.sentence for one in report.findings if one.place.startswith("checkpoint")]
        assert sentence in " ".join(places)


def test_a_process_without_the_new_key_leaves_the_log_alone(world: LicenseWorld) -> None:
    """A service that has not been restarted: what it decides waits for one that has the key."""
    stale = Sequencer(world.store, world.keys.log, SERVICE_ID)
    rotated(world)
    world.issue()
    stale.run()  # nobody has signed with the new key yet
    world.issue()
    size = world.sequence()
    world.issue()

    with pytest.raises(OperationError, match="a key that this process does not have"):
        stale.run()
    assert newest(world).size == size
    with world.store.read() as transaction:
        assert transaction.count(LogQueueItem) == 1
    assert world.sequence() == size + 1
    assert findings(world, load_log_keys(world.folder.keys)) == []


def test_a_retirement_that_was_cut_off_is_done_again(world: LicenseWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log has it, the keyring not yet; of two such entries the first one counts."""

    def fail(*_: object) -> None:
        raise OperationError("No space.", cure="Make some.")

    old, new = rotated(world)
    with monkeypatch.context() as patch:
        patch.setattr("sealwright_licensing.key_retirement.save_keyring", fail)
        with pytest.raises(OperationError, match="No space"):
            forget(world)
    assert findings(world, load_log_keys(world.folder.keys)) == []
    forget(world)
    first, *again = [index for index, event, _ in key_entries(world) if event == "retired"]
    assert len(again) == 1
    with world.store.engine.connect() as connection:
        leaves = list(connection.execute(select(log_entries.c.leaf).order_by(log_entries.c.entry_index)).scalars())
    frontier = Frontier()
    for leaf in leaves[: first + 1]:
        list(frontier.append(leaf_hash(leaf)))
    note = sign_checkpoint(Checkpoint(ORIGIN, frontier.size, frontier.root()), old)
    assert "LOG_KEY_RETIRED" in " ".join(findings(world, (old, new), note))


def planted(world: LicenseWorld, event: Literal["current", "retired"], key: Ed25519PrivateKey) -> LogQueueItem:
    """An entry about a key waits that no sequencer has written, and looks like another kind's."""
    item = queue_item(log_key_entry(event, key_fingerprint(key.public_key()), world.now))
    with world.store.write() as transaction:
        transaction.add(replace(item, entry_kind="operation"))
    return item


def test_an_entry_that_waits_retires_no_key(world: LicenseWorld, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever can write the database can have one wait: the audit names it, the sequencer leaves it out."""
    old, new = rotated(world)
    world.issue()
    size = world.sequence()
    for key in (old, new):
        planted(world, "retired", key)
    assert sum("it is about a key of the log" in found for found in findings(world, (old, new))) == 2
    assert world.sequence() == size
    world.issue()

    assert world.sequence() == size + 1
    assert "which no service has written" in caplog.text
    assert [event for _, event, _ in key_entries(world)] == ["current"]
    assert findings(world, (old, new)) == []


def test_an_entry_that_retires_the_current_key_is_one_finding_and_retires_nothing(world: LicenseWorld) -> None:
    """Such as an earlier version could be made to append."""
    (key,) = load_log_keys(world.folder.keys)
    world.sequence()
    item = planted(world, "retired", key)
    with world.store.engine.begin() as connection:
        connection.execute(delete(log_queue))
        leaves = connection.execute(select(log_entries.c.leaf).order_by(log_entries.c.entry_index)).scalars()
        rewritten(connection, [*leaves, item.leaf], key)
    world.issue()
    world.sequence()

    found = [one for one in findings(world, [key]) if "found by" not in one]
    assert len(found) == 1
    assert "it retires the current key" in found[0]


def test_boxes_of_both_images_take_leases_and_after_the_retirement_those_of_the_new_one(world: LicenseWorld) -> None:
    before = world.service
    world.rotate(KeyRole.LOG)
    world.restart()
    world.sequence()
    new_image = synthetic_box(product_version="2.0", service_file=world.service_file)
    world.import_release(new_image)
    box = EnrolledDevice.enroll(world)
    for service in (before, world.service):
        verify_release_proof(box.lease.log, box.lease.release_id, service)

    forget(world)
    world.restart()
    retire_device(world.store, OPERATOR, box.device.device_id, now=world.now)
    world.sequence()
    world.box = new_image
    box = EnrolledDevice.enroll(world)
    verify_release_proof(box.lease.log, box.lease.release_id, world.service)
    with pytest.raises(VerificationError, match="LOG_PROOF_INVALID"):
        verify_release_proof(box.lease.log, box.lease.release_id, before)


def test_there_are_no_more_log_keys_than_a_checkpoint_has_room_for(
    world: LicenseWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    """One more would make notes that nobody reads: refused, and the log goes on."""
    rotate = ["keys", "rotate", str(world.folder.path), "log"]
    for _ in range(MOST_LOG_KEYS - 1):
        assert main(rotate) == 0
    assert main(rotate) == 1
    assert "keys forget" in capsys.readouterr().err
    assert len(load_log_keys(world.folder.keys)) == MOST_LOG_KEYS
    world.restart()
    assert grant(EnrolledDevice.enroll(world).ask()).leases


def test_the_commands_leave_a_log_that_passes(world: LicenseWorld, capsys: pytest.CaptureFixture[str]) -> None:
    """At once, with nothing decided in between."""
    folder = world.folder.path

    def verified() -> None:
        capsys.readouterr()
        assert main(["audit", "verify", str(folder), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["waiting"] in (0, 1)

    world.sequence()
    assert main(["keys", "rotate", str(folder), "log"]) == 0
    verified()
    withdraw_release(world.store, OPERATOR, world.box.release.release_id, now=world.now)
    earlier = load_keyring(world.folder.keys).all_of(KeyRole.LOG)[1].fingerprint
    verified_files = sorted((folder / "keys/service-files").iterdir())
    assert main(["keys", "forget", str(folder), earlier]) == 0
    assert sorted((folder / "keys/service-files").iterdir()) == verified_files, "the old public file is still there"
    verified()
