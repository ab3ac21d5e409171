"""The version floor of a licence, moved after issue: what boxes get at their next renewal."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from sealwright_licensing.cli import main
from sealwright_licensing.operations.licenses import set_version_floor
from sealwright_licensing.records import Decision, License
from sealwright_policies.errors import RejectionCode, UsageError, VerificationError
from sealwright_policies.wire.lease import Lease, verify_lease
from sealwright_policies.wire.messages import NonceRequest, RenewalRequest
from sealwright_testing.evidence_factory import NOW
from sealwright_testing.license_world import OPERATOR, LicenseWorld, grant, synthetic_box
from sealwright_testing.software_device import SoftwareDevice

OLD = "1.2.0"


@pytest.fixture
def license_(world: LicenseWorld) -> License:
    return world.issue()[0]


@pytest.fixture
def device(world: LicenseWorld) -> SoftwareDevice:
    """A box on the old version, with the lease of its activation."""
    _, (code,) = world.issue()
    device = world.device()
    assert device.box.release.manifest.product_version == OLD
    world.enroll(device, code)
    return device


def license_of(world: LicenseWorld) -> License:
    with world.store.read() as transaction:
        (found,) = transaction.find(License)
    return found


def request(world: LicenseWorld, device: SoftwareDevice) -> RenewalRequest:
    nonce = world.renewal.nonce(NonceRequest(device_id=device.device_id), now=world.now).nonce
    return device.renewal(license_of(world).license_id, nonce)


def leases(world: LicenseWorld, asked: RenewalRequest) -> Sequence[Lease]:
    reply = grant(world.renewal.renew(asked, now=world.now))
    return [verify_lease(token, world.service) for token in reply.leases]


def update(world: LicenseWorld, device: SoftwareDevice, version: str) -> None:
    """The box boots a later release, which the service knows."""
    later = synthetic_box(product_version=version)
    world.import_release(later)
    device.box = dataclasses.replace(later, ak=device.box.ak)
    device.pass_time(60, resets=1)


def test_a_box_below_a_raised_floor_gets_no_more_leases(world: LicenseWorld, device: SoftwareDevice) -> None:
    assert len(leases(world, request(world, device))) == 1
    device.increment()
    set_version_floor(world.store, OPERATOR, license_of(world).license_id, "2.0", now=NOW)
    with pytest.raises(VerificationError) as caught:
        world.renewal.renew(request(world, device), now=world.now)
    assert caught.value.code is RejectionCode.VERSION_BELOW_FLOOR
    with world.store.read() as transaction:
        assert RejectionCode.VERSION_BELOW_FLOOR.value in {one.code for one in transaction.find(Decision)}


def test_an_updated_box_loses_the_leases_of_the_old_release(world: LicenseWorld, device: SoftwareDevice) -> None:
    """They have the number that is proved, so the increment that follows the renewal ends them in the TPM."""
    update(world, device, "2.0")
    before = leases(world, request(world, device))
    assert len(before) == 2
    device.increment()
    set_version_floor(world.store, OPERATOR, license_of(world).license_id, "2.0", now=NOW)
    (left,) = leases(world, request(world, device))
    assert left.release_id == device.box.release.release_id
    assert {one.number for one in before} == {device.lease_number} == {left.number - 1}


def test_a_repeated_request_is_decided_by_the_new_floor(world: LicenseWorld, device: SoftwareDevice) -> None:
    """A reply that was lost held a lease for the old release; it must not be had after the floor has risen."""
    (last,) = leases(world, request(world, device))
    device.increment()
    update(world, device, "2.0")
    asked = device.renewal(license_of(world).license_id, last.next_nonce)
    assert len(leases(world, asked)) == 2
    set_version_floor(world.store, OPERATOR, license_of(world).license_id, "2.0", now=NOW)
    assert [one.release_id for one in leases(world, asked)] == [device.box.release.release_id]


def test_so_is_one_after_a_release_was_withdrawn(world: LicenseWorld, device: SoftwareDevice) -> None:
    old = device.box.release.release_id
    (last,) = leases(world, request(world, device))
    device.increment()
    update(world, device, "2.0")
    asked = device.renewal(license_of(world).license_id, last.next_nonce)
    assert len(leases(world, asked)) == 2
    assert main(["release", "withdraw", str(world.folder.path), old, "--yes"]) == 0
    assert [one.release_id for one in leases(world, asked)] == [device.box.release.release_id]


def test_a_floor_comes_down_only_if_somebody_says_so(world: LicenseWorld, license_: License) -> None:
    set_version_floor(world.store, OPERATOR, license_.license_id, "1.10", now=NOW)
    with pytest.raises(UsageError, match=r"1\.10; 1\.9 would allow older.*--lower"):
        set_version_floor(world.store, OPERATOR, license_.license_id, "1.9", now=NOW)
    assert license_of(world).version_floor == "1.10"
    assert set_version_floor(world.store, OPERATOR, license_.license_id, "1.10.0", now=NOW).version_floor == "1.10.0"
    set_version_floor(world.store, OPERATOR, license_.license_id, "1.9", lower=True, now=NOW)
    assert license_of(world).version_floor == "1.9"


def test_the_command(world: LicenseWorld, license_: License, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["license", "set-floor", str(world.folder.path), license_.license_id]
    assert main([*command, "2.0"]) == 0
    assert "allows version 2.0" in capsys.readouterr().out
    assert main([*command, "1.9"]) == 2
    assert main([*command, "1.9", "--lower", "--json"]) == 0
    assert '"version_floor": "1.9"' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*command, "new"])
    assert main([*command[:-1], "lic-none", "2"]) == 10
