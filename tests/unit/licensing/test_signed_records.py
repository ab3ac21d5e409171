"""Whoever can write the database, and nothing else, cannot enter a device that is given shares."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import update

from sealwright_custody.keeper import Keeper
from sealwright_licensing import schema, signed_records
from sealwright_licensing.endorsement import Tier
from sealwright_licensing.journal import record_operation
from sealwright_licensing.key_retirement import forget_key
from sealwright_licensing.keyring import KeyRole, load_keyring
from sealwright_licensing.maker_roots import KnownRoot, parse_pem_certificates
from sealwright_licensing.operations.devices import approve_firmware, resume_device, retire_device
from sealwright_licensing.operations.releases import withdraw_release
from sealwright_licensing.records import Device, DeviceStatus, MakerCertificate, Operation, PendingEnrollment
from sealwright_licensing.service_schema import downgrade_service, upgrade_service
from sealwright_licensing.signed_records import SIGNED, UntrustedRecordError, load_signed_records, sign_record
from sealwright_licensing.store_sql import SqlStore
from sealwright_licensing.tables import devices, pending_enrollments
from sealwright_policies.errors import OperationError, RejectionCode, UsageError
from sealwright_testing.denials import denied
from sealwright_testing.enrolled_device import DAY, EnrolledDevice
from sealwright_testing.license_world import OPERATOR, LicenseWorld
from sealwright_testing.maker_ca import MakerCa, pem
from sealwright_testing.software_device import SoftwareDevice


def edit(world: LicenseWorld, **columns: Any) -> None:
    with world.store.engine.begin() as connection:
        connection.execute(update(devices).values(**columns))


def other(value: Any) -> Any:
    return value + 1 if isinstance(value, int) else value + (b"x" if isinstance(value, bytes) else "x")


def raw(world: LicenseWorld) -> SqlStore:
    """The operator's store, which believes everything."""
    return SqlStore(world.store.engine)


@pytest.mark.parametrize("name", SIGNED[Device])
def test_no_field_of_an_identity_can_be_edited(world: LicenseWorld, box: EnrolledDevice, name: str) -> None:
    value = getattr(box.stored(), name)
    changed: dict[str, Any] = {name: other(value)}
    with raw(world).read() as transaction:
        (forged,) = transaction.find(Device)
    with pytest.raises(UntrustedRecordError):
        load_signed_records(world.folder.keys).admit(replace(forged, **changed))


def test_a_device_with_keys_of_somebodys_own_is_given_nothing(world: LicenseWorld, box: EnrolledDevice) -> None:
    """A stranger's TPM in the place of the device's, with whatever signature; neither nonce nor lease nor a report."""
    stranger = world.device(7)
    before = box.stored()
    edit(world, ak_public=stranger.ak.public_area)
    for signature in (before.signature, b"", bytes(64)):
        edit(world, signature=signature)
        for call in (box.nonce, box.ask):
            with pytest.raises(UntrustedRecordError, match="is not as this service has written it"):
                call()
    edit(world, ak_public=before.ak_public, signature=before.signature)
    box.ask()


def test_a_signature_of_another_device_is_not_its_own(world: LicenseWorld, box: EnrolledDevice) -> None:
    _, (code,) = world.issue()
    other = world.device(1)
    world.enroll(other, code)
    signature = box.stored().signature
    with world.store.engine.begin() as connection:
        here = devices.c.device_id == other.device_id
        connection.execute(update(devices).where(here).values(signature=signature))
    with world.store.read() as transaction, pytest.raises(UntrustedRecordError):
        transaction.get(Device, other.device_id)


def test_what_operators_and_renewals_change_keeps_the_signature(world: LicenseWorld, box: EnrolledDevice) -> None:
    before = box.stored().signature
    box.pass_time(DAY)
    box.renew()
    with world.store.write() as transaction:
        transaction.put(replace(box.stored(), status=DeviceStatus.HELD, held_code="FIRMWARE_CHANGED"))
    resume_device(raw(world), OPERATOR, box.device.device_id, now=world.now)
    with pytest.raises(UsageError):
        approve_firmware(raw(world), OPERATOR, box.device.device_id, "00", now=world.now)
    box.pass_time(DAY)
    box.renew()
    assert box.stored().signature == before


def test_a_forged_device_can_be_retired_and_the_box_enrolled_anew(world: LicenseWorld, box: EnrolledDevice) -> None:
    edit(world, signature=b"")
    retire_device(raw(world), OPERATOR, box.device.device_id, now=world.now)
    denied(RejectionCode.DEVICE_UNKNOWN, box.nonce)
    edit(world, status="live")
    with pytest.raises(UntrustedRecordError):
        box.nonce()
    edit(world, status="retired")
    _, (code,) = world.issue()
    world.enroll(box.device, code)
    assert box.stored().status is DeviceStatus.LIVE


def test_a_forgotten_key_leaves_its_devices_to_the_current_one(world: LicenseWorld, box: EnrolledDevice) -> None:
    """But not one that it has not signed."""
    world.rotate(KeyRole.LEASE_DOCUMENT)
    world.restart()
    before = box.stored().signature
    _, (code,) = world.issue()
    other = world.device(1)
    world.enroll(other, code)
    with raw(world).write() as transaction:  # and the log has it so
        record_operation(transaction, actor=OPERATOR, operation="test", subject="", now=world.now)
        (there,) = transaction.find(Device, device_id=other.device_id)
        transaction.put(replace(there, signature=b"nothing"))
    withdraw_release(world.store, OPERATOR, world.box.release.release_id, now=world.now)
    earlier = load_keyring(world.folder.keys).all_of(KeyRole.LEASE_DOCUMENT)[1].fingerprint
    forget_key(world.folder.keys, Keeper(world.folder.keys), raw(world), OPERATOR, earlier, now=world.now)
    world.restart()

    assert box.stored().signature != before
    box.nonce()
    with world.store.read() as transaction:
        with pytest.raises(UntrustedRecordError):
            transaction.get(Device, other.device_id)
        (operation,) = transaction.find(Operation, operation="keys.sign-anew")
    name = hashlib.sha256(world.maker.root.public_bytes(Encoding.DER)).hexdigest()
    signed = f"devices {box.device.device_id}\nmaker_certificates {name}\n"
    assert json.loads(operation.detail) == {"records": 2, "sha256": hashlib.sha256(signed.encode()).hexdigest()}


@pytest.mark.parametrize("has_changed", [False, True])
def test_what_a_stolen_old_key_has_written_is_not_signed_anew(
    world: LicenseWorld, box: EnrolledDevice, has_changed: bool
) -> None:
    """Into the database, past the service: the log does not know it so, also when the service has changed it since."""
    world.sequence()
    stolen = world.keys.lease_document
    world.rotate(KeyRole.LEASE_DOCUMENT)
    world.restart()
    forged = sign_record(replace(box.stored(), tier="discrete"), stolen)
    edit(world, tier=forged.tier, signature=forged.signature)
    withdraw_release(world.store, OPERATOR, world.box.release.release_id, now=world.now)
    if has_changed:
        retire_device(world.store, OPERATOR, box.device.device_id, now=world.now)
    earlier = load_keyring(world.folder.keys).all_of(KeyRole.LEASE_DOCUMENT)[1].fingerprint

    with pytest.raises(OperationError, match=r"signs anew .* is not as the log has it"):
        forget_key(world.folder.keys, Keeper(world.folder.keys), raw(world), OPERATOR, earlier, now=world.now)
    assert len(load_keyring(world.folder.keys).all_of(KeyRole.LEASE_DOCUMENT)) == 2


def test_an_upgrade_signs_the_devices_that_are_there(world: LicenseWorld, box: EnrolledDevice) -> None:
    schema.downgrade(world.store.engine, "0008", world.migrator)
    schema.upgrade(world.store.engine, world.migrator)
    box.ask()
    edit(world, signature=b"")
    schema.upgrade(world.store.engine, world.migrator)
    with pytest.raises(UntrustedRecordError):
        box.ask()


def test_a_renewal_verifies_no_signature_again(
    world: LicenseWorld, box: EnrolledDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known by its content, whatever else of the device has changed."""
    box.nonce()
    before = signed_records._is_signed.cache_info().misses
    for _ in range(3):
        box.pass_time(DAY)
        box.renew()
    assert signed_records._is_signed.cache_info().misses == before


@pytest.mark.parametrize("name", SIGNED[PendingEnrollment])
def test_an_open_enrolment_cannot_be_edited(world: LicenseWorld, name: str) -> None:
    """Or whoever writes one with keys and a secret of his own would be enrolled without the EK that it names."""
    _, (code,) = world.issue()
    world.enrollment.challenge(world.device().request(code), now=world.now)
    with world.store.read() as transaction:
        (held,) = transaction.find(PendingEnrollment)
    changed: dict[str, Any] = {name: other(getattr(held, name))}
    with pytest.raises(UntrustedRecordError):
        load_signed_records(world.folder.keys).admit(replace(held, **changed))


def test_an_enrolment_that_somebody_has_written_is_not_completed(world: LicenseWorld) -> None:
    _, (code,) = world.issue()
    device = world.device()
    challenge = world.enrollment.challenge(device.request(code), now=world.now)
    secret = bytes(range(32))
    with world.store.engine.begin() as connection:
        connection.execute(update(pending_enrollments).values(secret_hash=hashlib.sha256(secret).digest()))
    proof = device.proof(challenge).model_copy(update={"secret": secret})
    with pytest.raises(UntrustedRecordError):
        world.enrollment.prove(proof, now=world.now)


def test_a_root_that_somebody_has_written_vouches_for_nobody(world: LicenseWorld) -> None:
    """Neither one of his own, nor one of ours for a better tier; one of our list needs no signature."""
    maker = MakerCa("nobody's")
    root = parse_pem_certificates(pem(maker.root))[0]
    forged = MakerCertificate(root.fingerprint, "discrete", "CN=Infineon", root.encoded, world.now)
    with raw(world).write() as transaction:
        transaction.add(forged)
    _, (code,) = world.issue()
    with pytest.raises(UntrustedRecordError):
        world.enrollment.challenge(SoftwareDevice(world.box, maker, 3).request(code), now=world.now)
    with raw(world).write() as transaction:
        transaction.delete(MakerCertificate, fingerprint=root.fingerprint)
        (ours,) = transaction.find(MakerCertificate)
    admit = load_signed_records(world.folder.keys).admit
    admit(ours)
    admit(replace(forged, tier=""))
    with pytest.raises(UntrustedRecordError):
        admit(replace(ours, tier="discrete"))


def test_a_listed_root_is_known_by_its_content(world: LicenseWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    root = parse_pem_certificates(pem(MakerCa("listed").root))[0]
    listed = KnownRoot("maker", "root", Tier.DISCRETE, root.fingerprint, "", "fingerprint", "")
    monkeypatch.setattr("sealwright_licensing.maker_roots.known_roots", lambda: {root.fingerprint: listed})
    record = MakerCertificate(root.fingerprint, "discrete", "", root.encoded, world.now)
    admit = load_signed_records(world.folder.keys).admit
    admit(record)
    for changes in ({"encoded": root.encoded + b"x"}, {"tier": "firmware"}):
        changed: dict[str, Any] = changes
        with pytest.raises(UntrustedRecordError):
            admit(replace(record, **changed))


def test_an_upgrade_does_not_sign_what_was_planted(world: LicenseWorld, box: EnrolledDevice) -> None:
    """In a database that somebody has made look like one from before signatures."""
    stranger = world.device(7)
    with world.store.engine.begin() as connection:
        connection.execute(update(devices).values(ak_public=stranger.ak.public_area))
        for table in ("devices", "pending_enrollments", "maker_certificates"):
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN signature")
        connection.exec_driver_sql("DROP TABLE denied_logs")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num='0008'")

    with pytest.raises(OperationError, match="this service has signed its records"):
        upgrade_service(world.folder, world.store.engine, OPERATOR)
    assert schema.current_revision(world.store.engine) == "0008"


def test_whoever_takes_the_schema_back_has_the_next_upgrade_sign(world: LicenseWorld, box: EnrolledDevice) -> None:
    """An operator, with the keyring; once."""
    keys, engine = world.folder.keys, world.store.engine
    assert load_keyring(keys).records_signed
    downgrade_service(world.folder, engine, "0010", OPERATOR)
    assert load_keyring(keys).records_signed
    assert upgrade_service(world.folder, engine, OPERATOR).signed == 0
    downgrade_service(world.folder, engine, "0008", OPERATOR)
    assert not load_keyring(keys).records_signed

    assert upgrade_service(world.folder, engine, OPERATOR).signed >= 2
    assert load_keyring(keys).records_signed
    box.nonce()
