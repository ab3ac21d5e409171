"""Trust in stored releases: somebody who can write the database alone brings in no reference values."""

from __future__ import annotations

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealwright_licensing.cli import main
from sealwright_licensing.manifest_keys import ManifestKeys, _verified_id
from sealwright_licensing.records import DeviceRelease, EnrollmentReply, ReleaseRecord
from sealwright_licensing.store_sql import SqlStore
from sealwright_licensing.stored_releases import stored_release, variants_json
from sealwright_policies.appraisal.boot_variants import sign_variants
from sealwright_policies.appraisal.release import read_unverified_release, sign_release
from sealwright_policies.errors import OperationError, RejectionCode
from sealwright_policies.wire.lease import verify_lease
from sealwright_testing.denials import denied
from sealwright_testing.enrolled_device import DAY, EnrolledDevice
from sealwright_testing.license_checks import challenge, count
from sealwright_testing.license_world import LicenseWorld, grant, synthetic_box

FORGER = ec.generate_private_key(ec.SECP256R1())


def without_check(world: LicenseWorld) -> SqlStore:
    """The same database, as somebody sees it who can write nothing else."""
    return SqlStore(world.store._engine)


def put_variants(world: LicenseWorld, *envelopes: bytes) -> None:
    """Write ways through PCR 4 into the record of the good release."""
    with without_check(world).write() as transaction:
        (record,) = transaction.find(ReleaseRecord)
        transaction.put(dataclasses.replace(record, variants=variants_json(envelopes)))


def put(world: LicenseWorld, envelope: bytes, *, manifest_key: str | None = None, release_id: str | None = None) -> str:
    """Write a release as the good one stands there, under its own id; returns the id."""
    chosen = release_id or read_unverified_release(envelope).release_id
    with without_check(world).write() as transaction:
        record = transaction.get(ReleaseRecord, world.box.release.release_id)
        assert record is not None
        key = manifest_key or record.manifest_key
        transaction.put(dataclasses.replace(record, release_id=chosen, envelope=envelope, manifest_key=key))
    return chosen


def forged(world: LicenseWorld) -> bytes:
    """A manifest with another PCR 4, by a key of the forger's own."""
    manifest = world.box.release.manifest
    application = manifest.measurements.boot_applications[0]
    evil = application.model_copy(update={"pcr4": "ee" * 32})
    measurements = manifest.measurements.model_copy(update={"boot_applications": [evil]})
    return sign_release(manifest.model_copy(update={"measurements": measurements}), FORGER)


def read(world: LicenseWorld, release_id: str) -> ReleaseRecord | None:
    with world.store.read() as transaction:
        return transaction.get(ReleaseRecord, release_id)


def refused(world: LicenseWorld, release_id: str) -> None:
    with pytest.raises(OperationError, match=r"Release .* PCR 4 .* is not signed by a manifest key that is trusted"):
        read(world, release_id)
    with world.store.read() as transaction, pytest.raises(OperationError):
        transaction.find(ReleaseRecord)


def test_the_key_of_an_import_is_kept_beside_the_database(world: LicenseWorld) -> None:
    record = read(world, world.box.release.release_id)
    assert record is not None
    assert stored_release(record) == world.box.release
    (kept,) = world.folder.manifest_keys.iterdir()
    assert kept.name == f"{record.manifest_key}.pem"
    spoken = world.box.manifest_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert kept.read_bytes() == spoken


def test_a_release_by_another_key_is_refused(world: LicenseWorld) -> None:
    refused(world, put(world, forged(world)))


def test_a_key_that_the_operator_never_gave_is_refused(world: LicenseWorld) -> None:
    fingerprint = ManifestKeys(world.folder.path / "elsewhere").trust(FORGER.public_key())
    refused(world, put(world, forged(world), manifest_key=fingerprint))


def test_a_key_from_elsewhere_on_the_disk_is_refused(world: LicenseWorld) -> None:
    """The fingerprint in a record is not a path."""
    fingerprint = ManifestKeys(world.folder.path / "elsewhere").trust(FORGER.public_key())
    refused(world, put(world, forged(world), manifest_key=f"../elsewhere/{fingerprint}"))


def test_a_release_under_the_id_of_another_is_refused(world: LicenseWorld) -> None:
    """A genuine manifest, e.g. of a release that was withdrawn, in the row of a good one."""
    other = world.box.release.manifest.model_copy(update={"product_version": "0.1"})
    refused(world, put(world, sign_release(other, world.box.manifest_key), release_id=world.box.release.release_id))


def test_a_way_through_pcr_4_by_another_key_is_refused(world: LicenseWorld) -> None:
    """Also beside one that the manifest key signed, which alone is believed."""
    way = world.box.way(b"tool", name="tool")
    good, evil = world.box.variants(way), world.box.variants(way, key=FORGER)
    put_variants(world, good)
    record = read(world, world.box.release.release_id)
    assert record is not None
    assert stored_release(record).variants == (way,)
    put_variants(world, good, evil)
    refused(world, world.box.release.release_id)


def test_a_way_through_pcr_4_of_another_release_is_refused(world: LicenseWorld) -> None:
    other = dataclasses.replace(
        world.box.release, release_id="00" * 32, variants=(world.box.way(b"tool", name="tool"),)
    )
    put_variants(world, sign_variants(other, world.box.manifest_key))
    refused(world, world.box.release.release_id)


def test_an_import_does_not_take_over_ways_that_were_put_there(world: LicenseWorld) -> None:
    way = world.box.way(b"tool", name="tool")
    put_variants(world, world.box.variants(way, key=FORGER))
    world.import_release(world.box)
    record = read(world, world.box.release.release_id)
    assert record is not None
    assert stored_release(record) == world.box.release


def test_no_box_is_served_by_such_a_release(world: LicenseWorld) -> None:
    _, (code,) = world.issue()
    put(world, forged(world), release_id=world.box.release.release_id)
    with pytest.raises(OperationError):
        world.enroll(world.device(), code)


def test_a_key_that_is_imported_while_the_service_runs_is_found(world: LicenseWorld) -> None:
    """The command is another process; it writes the key before the record."""
    world.box = dataclasses.replace(world.box, manifest_key=ec.generate_private_key(ec.SECP256R1()))
    world.import_release(world.box)
    _, (code,) = world.issue()
    assert len(world.enroll(world.device(), code).leases) == 1
    assert len(list(world.folder.manifest_keys.iterdir())) == 2


def test_the_operator_still_sees_it_and_imports_again(world: LicenseWorld, capsys: pytest.CaptureFixture[str]) -> None:
    put(world, forged(world), release_id=world.box.release.release_id)
    assert main(["release", "list", str(world.folder.path)]) == 0
    assert world.box.release.release_id[:16] in capsys.readouterr().out
    world.import_release(world.box)
    _, (code,) = world.issue()
    assert len(world.enroll(world.device(), code).leases) == 1


def remove_key(world: LicenseWorld, release_id: str) -> None:
    """As the operator does: delete the file, restart."""
    record = read(world, release_id)
    assert record is not None
    (world.folder.manifest_keys / f"{record.manifest_key}.pem").unlink()
    _verified_id.cache_clear()


def leased(box: EnrolledDevice, reply: bytes) -> list[str]:
    """Ids of the releases that are leased."""
    return [verify_lease(token, box.world.service).release_id for token in grant(reply).leases]


def test_a_box_that_has_moved_on_renews_without_the_key_of_its_older_release(box: EnrolledDevice) -> None:
    """It loses its leases for that release, and the kept replies that hold some."""
    old, newer = box.device.box.release.release_id, synthetic_box(product_version="1.3.0")
    key = ec.generate_private_key(ec.SECP256R1())
    box.device.box = dataclasses.replace(newer, manifest_key=key, ak=box.device.ak)
    box.world.import_release(box.device.box)
    box.pass_time(DAY, resets=1)
    new, early = box.device.box.release.release_id, box.nonce()
    assert leased(box, box.ask(early)) == [new, old]
    remove_key(box.world, old)

    denied(RejectionCode.NONCE_INVALID, lambda: box.ask(early))
    nonce = box.nonce()
    reply = box.ask(nonce)
    assert leased(box, reply) == [new]
    assert box.ask(nonce) == reply
    denied(RejectionCode.NONCE_INVALID, lambda: box.ask(early))
    with box.world.store.read() as transaction:
        assert [one.release_id for one in transaction.find(DeviceRelease)] == [new]
    assert count(box.world, EnrollmentReply) == 0


def test_the_release_that_is_attested_needs_its_key(box: EnrolledDevice) -> None:
    remove_key(box.world, box.device.box.release.release_id)
    with pytest.raises(OperationError, match="not signed by a manifest key that is trusted"):
        box.ask()


def test_an_enrolments_result_is_not_given_again_without_the_key_of_its_release(world: LicenseWorld) -> None:
    """Nor is it an error of the service."""
    _, (code,) = world.issue()
    device = world.device()
    proof = device.proof(challenge(world, device, code))
    world.enrollment.prove(proof, now=world.now)
    remove_key(world, world.box.release.release_id)
    denied(RejectionCode.RELEASE_NOT_ALLOWED, lambda: world.enrollment.prove(proof, now=world.now))
