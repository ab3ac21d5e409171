"""Rotation of the service's keys: new images know the new ones, boxes on older images go on, and what then ends."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealwright_custody.keeper import Keeper
from sealwright_custody.locator import CredentialLocator, FileLocator, TokenLocator
from sealwright_licensing import rewrapping
from sealwright_licensing.cli import main
from sealwright_licensing.custodian_keys import load_custodians
from sealwright_licensing.key_retirement import forget_key
from sealwright_licensing.keyring import KeyRole, load_keyring
from sealwright_licensing.manifest_keys import ManifestKeys
from sealwright_licensing.operations.releases import withdraw_release
from sealwright_licensing.records import Operation, ReleaseShares
from sealwright_licensing.release_import import import_release
from sealwright_licensing.rotation import Rotation
from sealwright_policies.errors import OperationError, RejectionCode, UsageError, VerificationError
from sealwright_policies.tcg.policy import external_signing_key, policy_authorize
from sealwright_policies.tcg.structures import parse_public
from sealwright_policies.wire.device_certificate import verify_device_certificate
from sealwright_policies.wire.envelope import load_p256_public_key
from sealwright_policies.wire.framing import lease_share_reference
from sealwright_policies.wire.lease import verify_lease
from sealwright_policies.wire.messages import Grant
from sealwright_policies.wire.service import LicenseService
from sealwright_testing.denials import denied
from sealwright_testing.enrolled_device import DAY, EnrolledDevice
from sealwright_testing.license_world import OPERATOR, LicenseWorld, build_output, grant, synthetic_box

LEASE_KEYS = (KeyRole.LEASE_DOCUMENT, KeyRole.LEASE_POLICY, KeyRole.DEVICE_CA)
CUSTODIANS = (KeyRole.CUSTODIAN_LEASE_SHARE, KeyRole.CUSTODIAN_RELEASE_SHARE)


def earlier(world: LicenseWorld, role: KeyRole) -> str:
    """Fingerprint of the role's key from before its rotation."""
    return load_keyring(world.folder.keys).all_of(role)[1].fingerprint


def forget(world: LicenseWorld, role: KeyRole) -> None:
    forget_key(world.folder.keys, Keeper(world.folder.keys), world.store, OPERATOR, earlier(world, role), now=world.now)


def update(box: EnrolledDevice) -> str:
    """Boot an image that was built with the present licence-service file; its release."""
    updated = synthetic_box(product_version="1.3.0", service_file=box.world.service_file)
    box.world.import_release(updated)
    box.device.box = dataclasses.replace(updated, ak=box.device.ak)
    box.pass_time(DAY, resets=1)
    return updated.release.release_id


def check(reply: Grant, service: LicenseService) -> None:
    """What a box on an image with this file demands of a grant."""
    for token in reply.leases:
        verify_lease(token, service)
    verify_device_certificate(reply.device_certificate, service.device_ca, now=reply.service_time)


def refused(reply: Grant, service: LicenseService) -> bool:
    """Whether such a box takes none of its leases."""

    def fails(token: str) -> bool:
        try:
            verify_lease(token, service)
        except VerificationError:
            return True
        return False

    return all(fails(token) for token in reply.leases)


# --- keys that boxes know by their image -----------------------------------------------------------------------------


@pytest.mark.parametrize("role", LEASE_KEYS)
def test_a_box_on_an_older_image_goes_on_with_the_key_that_it_knows(box: EnrolledDevice, role: KeyRole) -> None:
    before = box.world.service
    box.world.rotate(role)
    box.world.restart()
    assert box.world.service != before
    for _ in range(2):
        reply = grant(box.ask(box.nonce()))
        check(reply, before)
        box.device.increment()


def test_a_new_image_knows_the_new_keys_and_gets_shares_under_them(box: EnrolledDevice) -> None:
    """Share A is sealed anew, under the Name of the new lease-policy key; leases for the older image are left out."""
    before = box.world.service
    for role in LEASE_KEYS:
        box.world.rotate(role)
    box.world.restart()
    release_id = update(box)
    reply = grant(box.ask(box.nonce()))
    after = box.world.service
    check(reply, after)
    assert refused(reply, before)
    assert [verify_lease(token, after).release_id for token in reply.leases] == [release_id]
    (shares,) = reply.shares
    name = parse_public(box.stored().srk_public).name
    reference = lease_share_reference(name, bytes.fromhex(shares.partition_id))
    sealed = parse_public(bytes(shares.lease_share.public)[2:])
    assert sealed.auth_policy == policy_authorize(
        external_signing_key(load_p256_public_key(after.lease_policy_key)).name, reference
    )
    opened = box.device.import_share(*(bytes(getattr(shares.lease_share, part)) for part in _PARTS))
    assert opened == box.world.shares[shares.partition_id][0]


_PARTS = ("public", "duplicate", "encrypted_seed")


def test_rotating_a_custodian_leaves_a_box_its_leases_for_both_images(box: EnrolledDevice) -> None:
    """The licence-service file is another, its lease keys are the same."""
    box.world.rotate(KeyRole.CUSTODIAN_LEASE_SHARE)
    box.world.restart()
    update(box)
    assert len(grant(box.ask(box.nonce())).leases) == 2


def test_a_key_that_images_know_is_forgotten_only_when_their_releases_are_withdrawn(box: EnrolledDevice) -> None:
    world = box.world
    world.rotate(KeyRole.LEASE_POLICY)
    world.restart()
    old = box.device.box.release.release_id
    with pytest.raises(OperationError, match=r"Images of 1 releases know the service by this lease-policy key"):
        forget(world, KeyRole.LEASE_POLICY)
    withdraw_release(world.store, OPERATOR, old, now=world.now)
    forget(world, KeyRole.LEASE_POLICY)
    world.restart()
    denied(RejectionCode.RELEASE_NOT_ALLOWED, lambda: box.ask(box.nonce()))
    update(box)
    check(grant(box.ask(box.nonce())), world.service)


def test_an_image_with_a_file_that_is_no_more_known_is_not_served(box: EnrolledDevice) -> None:
    """Also if somebody imports its release again behind a withdrawal."""
    world = box.world
    carried = world.service_file
    world.rotate(KeyRole.LEASE_DOCUMENT)
    withdraw_release(world.store, OPERATOR, box.device.box.release.release_id, now=world.now)
    forget(world, KeyRole.LEASE_DOCUMENT)
    with pytest.raises(VerificationError, match="whose keys this service has not"):
        world.import_release(synthetic_box(product_version="1.4.0", service_file=carried))


def test_the_current_key_is_not_forgotten(world: LicenseWorld) -> None:
    current = load_keyring(world.folder.keys).current(KeyRole.LEASE_POLICY).fingerprint
    keeper = Keeper(world.folder.keys)
    with pytest.raises(UsageError, match="current lease-policy key"):
        forget_key(world.folder.keys, keeper, world.store, OPERATOR, current, now=world.now)
    for named in ("00000000", current[:7]):
        with pytest.raises(UsageError, match="8 digits"):
            forget_key(world.folder.keys, keeper, world.store, OPERATOR, named, now=world.now)


# --- custodians -------------------------------------------------------------------------------------------------------


def rewrap(world: LicenseWorld, *roles: KeyRole) -> int:
    lease, release = (load_custodians(world.folder.keys)._keys[number] for number in (0, 1))
    found = {CUSTODIANS[0]: lease, CUSTODIANS[1]: release}
    return sum(rewrapping.rewrap_shares(world.store, OPERATOR, role, found[role], now=world.now) for role in roles)


def wrapped(world: LicenseWorld) -> list[dict[str, Any]]:
    with world.store.read() as transaction:
        return [json.loads(one.wrapped) for one in transaction.find(ReleaseShares)]


@pytest.mark.parametrize("role", CUSTODIANS)
def test_all_shares_move_to_the_new_custodian_key(world: LicenseWorld, role: KeyRole) -> None:
    world.import_release(synthetic_box(product_version="2.0.0"))
    before, share = wrapped(world), "lease_share" if role is CUSTODIANS[0] else "release_share"
    world.rotate(role)
    with pytest.raises(OperationError, match=r"2 shares in the database are wrapped to this key.*keys rewrap"):
        forget(world, role)
    assert rewrap(world, role) == 2
    assert rewrap(world, role) == 0
    changed = [
        {name for name in one if one[name] != other[name]} for one, other in zip(before, wrapped(world), strict=True)
    ]
    assert changed == [{share}, {share}]
    forget(world, role)
    world.restart()
    _, (code,) = world.issue()
    device = world.device()
    (shares,) = world.enroll(device, code).shares
    sealed = shares.lease_share if role is CUSTODIANS[0] else shares.release_share
    assert device.import_share(*(bytes(getattr(sealed, part)) for part in _PARTS)) in world.shares[shares.partition_id]


def test_a_service_that_runs_takes_up_a_rotated_custodian_by_itself(world: LicenseWorld) -> None:
    """Keys, and then shares, change under it; nobody restarts it."""
    for role in CUSTODIANS:
        world.rotate(role)
        rewrap(world, role)
    _, (code,) = world.issue()
    assert world.enroll(world.device(), code).shares


def test_a_rotation_that_is_cut_off_is_completed_by_the_next_run(
    world: LicenseWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("2.0.0", "3.0.0", "4.0.0"):
        world.import_release(synthetic_box(product_version=version))
    role = KeyRole.CUSTODIAN_LEASE_SHARE
    world.rotate(role)
    done: list[object] = []
    real = rewrapping._rewrapped

    def cut_off(*arguments: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(arguments)
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(rewrapping, "_rewrapped", cut_off)
        with pytest.raises(KeyboardInterrupt):
            rewrap(world, role)
    _, (code,) = world.issue()
    assert world.enroll(world.device(), code).shares, "shares of both keys are opened meanwhile"
    assert rewrap(world, role) == 2


def test_a_build_for_the_earlier_custodian_key_is_taken_while_that_is_kept(world: LicenseWorld) -> None:
    custodians = load_custodians(world.folder.keys)
    box = synthetic_box(product_version="2.0.0")
    output, _ = build_output(box, (custodians.lease_share.public_key, custodians.release_share.public_key))
    world.rotate(KeyRole.CUSTODIAN_RELEASE_SHARE)

    def take() -> None:
        import_release(
            world.store,
            OPERATOR,
            load_custodians(world.folder.keys),
            output,
            box.manifest_key.public_key(),
            trusted=ManifestKeys(world.folder.manifest_keys),
            service_id="service-1",
            service_files=load_keyring(world.folder.keys).service_files,
            now=world.now,
        )

    take()
    rewrap(world, KeyRole.CUSTODIAN_RELEASE_SHARE)
    forget(world, KeyRole.CUSTODIAN_RELEASE_SHARE)
    with pytest.raises(VerificationError) as caught:
        take()
    assert caught.value.code is RejectionCode.DOCUMENT_SIGNATURE


# --- the nonce key, the keyring ---------------------------------------------------------------------------------------


def test_a_rotated_nonce_key_voids_nonces_that_are_out_and_nothing_else(box: EnrolledDevice) -> None:
    out = box.nonce()
    keys = box.world.folder.keys
    before = (keys / "nonce.key").read_bytes()
    box.world.rotate(KeyRole.NONCE)
    box.world.restart()
    assert not (keys / "nonce.key").exists()
    assert box.world.keys.nonce != before
    denied(RejectionCode.NONCE_INVALID, lambda: box.ask(out))
    box.renew()
    box.ask(box.nonce())


def test_a_failed_rotation_changes_nothing(world: LicenseWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_keyring(world.folder.keys)
    files = sorted(world.folder.keys.iterdir())
    published = world.folder.service_file.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OperationError("No space left.")

    monkeypatch.setattr("sealwright_licensing.rotation.save_keyring", fail)
    for role in (*LEASE_KEYS, *CUSTODIANS):
        with pytest.raises(OperationError, match="No space"):
            world.rotate(role)
    assert load_keyring(world.folder.keys) == before
    assert sorted(world.folder.keys.iterdir()) == files
    assert world.folder.service_file.read_bytes() == published


def damage_missing(keys: Path) -> None:
    (keys / "keyring.json").unlink()


def damage_text(keys: Path) -> None:
    (keys / "keyring.json").write_text("{}")


def damage_service_file(keys: Path) -> None:
    (path,) = (keys / "service-files").iterdir()
    path.write_bytes(path.read_bytes().replace(b"service-1", b"service-2"))


def damage_key(keys: Path) -> None:
    (keys / "lease-policy.pem").write_bytes((keys / "device-ca.pem").read_bytes())


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (damage_missing, "cannot be read"),
        (damage_text, "is damaged"),
        (damage_service_file, "not the file of this name"),
        (damage_key, "another key than the lease-policy key"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    world: LicenseWorld, damage: Callable[[Path], None], sentence: str
) -> None:
    damage(world.folder.keys)
    with pytest.raises(OperationError, match=sentence):
        world.restart()


def test_a_key_of_the_tls_library_stays_a_file(world: LicenseWorld) -> None:
    rotation = Rotation(world.folder, Keeper(world.folder.keys))
    token = TokenLocator(Path("/m.so"), "t", FileLocator(Path("/p")), "k")
    for role in (KeyRole.TLS_CA, KeyRole.TLS_SERVER, KeyRole.NONCE):
        with pytest.raises(UsageError, match="cannot be kept in a token"):
            rotation.move(role, token)
    with pytest.raises(UsageError, match="beside its certificate"):
        rotation.move(KeyRole.TLS_SERVER, CredentialLocator("tls"))


# --- the command ------------------------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    code = main([*map(str, arguments), "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return json.loads(printed.out)


def test_the_keys_command(world: LicenseWorld, capsys: pytest.CaptureFixture[str]) -> None:
    directory = world.folder.path
    listed = run(capsys, "keys", "list", directory, "--check")
    assert [one["role"] for one in listed] == list(KeyRole)
    assert {one["problem"] for one in listed} == {""}
    assert listed[0]["age_days"] == 0
    assert "PRIVATE" not in json.dumps(listed)
    made = run(capsys, "keys", "rotate", directory, "custodian-lease-share")
    assert made["rewrapped"] == 1
    assert run(capsys, "keys", "rewrap", directory) == {"rewrapped": 0}
    named = earlier(world, KeyRole.CUSTODIAN_LEASE_SHARE)
    assert run(capsys, "keys", "forget", directory, named[:12])["fingerprint"] == named
    moved = run(capsys, "keys", "move", directory, "lease-policy", "file:elsewhere.pem")
    assert moved["keeper"] == "file:elsewhere.pem"
    (world.folder.keys / "lease-policy.pem").unlink()
    world.restart()
    with world.store.read() as transaction:
        done = [
            (one.operation, json.loads(one.detail)) for one in transaction.find(Operation) if "keys." in one.operation
        ]
    assert sorted(operation for operation, _ in done) == ["keys.forget", "keys.move", "keys.rewrap", "keys.rotate"]
    assert all(set(detail) <= {"role", "keeper", "partition_id"} for _, detail in done)
    (world.folder.keys / "elsewhere.pem").chmod(0o644)
    assert main(["keys", "list", str(directory), "--check"]) == 1
    assert "can be read by others" in capsys.readouterr().out


def test_a_pin_on_the_command_line_is_refused(world: LicenseWorld, capsys: pytest.CaptureFixture[str]) -> None:
    uri = "pkcs11:token=t;object=k?module-path=/m.so&pin-value=47110815"
    with pytest.raises(SystemExit) as caught:
        main(["keys", "rotate", str(world.folder.path), "lease-policy", "--keeper", uri])
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    assert "A PIN must not stand" in printed
    assert "47110815" not in printed
