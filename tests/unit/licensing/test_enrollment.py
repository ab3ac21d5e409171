"""Enrolment: what it gives, for which evidence and releases, and every denial by its code."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sealwright_licensing.decision_limit import DecisionLimit
from sealwright_licensing.enrollment_opening import PENDING_S
from sealwright_licensing.enrollment_results import REPLY_KEPT_S
from sealwright_licensing.journal import last_decision
from sealwright_licensing.operations.devices import retire_device
from sealwright_licensing.operations.releases import withdraw_release
from sealwright_licensing.records import (
    Decision,
    Device,
    DeviceCertificateRecord,
    DeviceStatus,
    LeaseRecord,
    TickLedger,
)
from sealwright_policies.errors import FormatError, RejectionCode
from sealwright_policies.tcg.structures import parse_public
from sealwright_policies.wire.device_certificate import verify_device_certificate
from sealwright_policies.wire.lease import verify_lease
from sealwright_testing.denials import denied
from sealwright_testing.evidence_factory import NOW
from sealwright_testing.license_checks import challenge, pending, seats_taken
from sealwright_testing.license_world import OPERATOR, LicenseWorld, grant, synthetic_box
from sealwright_testing.software_device import srk_area
from sealwright_testing.software_tpm import Clock, name_of

# --- what an accepted enrolment gives ---------------------------------------------------------------------------------


def test_an_honest_device_gets_both_shares_a_lease_and_a_certificate(world: LicenseWorld) -> None:
    """The lease is for the N that was proved; both shares open under the SRK and nowhere else."""
    license_, (code,) = world.issue(features=["training", "serving"])
    device = world.device()
    granted = world.enroll(device, code)
    (shares,) = granted.shares
    for blob, expected in zip(
        (shares.lease_share, shares.release_share), world.shares[shares.partition_id], strict=True
    ):
        assert device.import_share(blob.public, blob.duplicate, blob.encrypted_seed) == expected
    lease = verify_lease(granted.leases[0], world.service)
    assert (lease.number, lease.device_id, lease.license_id) == (1, device.device_id, license_.license_id)
    assert lease.srk_name == name_of(srk_area(device.srk)).hex()
    assert lease.clock_end_ms == device.clock.clock_ms + license_.lease_s * 1000
    assert lease.expires_at == world.now + license_.lease_s
    ways = world.box.release.manifest.measurements.boot_applications
    assert [one.pcrs["4"] for one in granted.release_approvals] == 2 * [one.pcr4 for one in ways]
    certificate = verify_device_certificate(granted.device_certificate, world.service.device_ca, now=lease.expires_at)
    assert (certificate.device_id, certificate.license_id) == (device.device_id, license_.license_id)
    assert (certificate.tier, certificate.ak) == ("software", parse_public(device.ak.public_area).key())
    assert certificate.features == {"serving", "training"} == set(lease.license.features)
    denied(
        RejectionCode.LEASE_EXPIRED,
        lambda: verify_device_certificate(
            granted.device_certificate, world.service.device_ca, now=lease.expires_at + 1
        ),
    )
    with world.store.read() as transaction:
        stored = transaction.get(Device, device.device_id)
        assert stored is not None
        assert stored.status is DeviceStatus.LIVE
        assert transaction.count(LeaseRecord, device_id=device.device_id) == 1
        assert transaction.count(DeviceCertificateRecord, device_id=device.device_id) == 1
        decision = last_decision(transaction, device.device_id)
        assert decision is not None
        assert decision.code == "ok"
        assert '"ear.status":"affirming"' in decision.result
        assert "Secure Boot is on" in decision.words


def test_the_lease_ends_with_the_licence_if_that_is_sooner(world: LicenseWorld) -> None:
    license_, (code,) = world.issue(days=3)
    lease = verify_lease(world.enroll(world.device(), code).leases[0], world.service)
    assert lease.expires_at == license_.expires_at
    assert lease.warnings[0].code == "LICENSE_ENDS"


def test_the_same_proof_gets_the_same_bytes_for_fourteen_days(world: LicenseWorld) -> None:
    """A lost reply locks nobody out."""
    _, (code,) = world.issue()
    device = world.device()
    asked = challenge(world, device, code)
    proof = device.proof(asked)
    first = world.enrollment.prove(proof, now=world.now)
    assert world.enrollment.prove(proof, now=world.now + REPLY_KEPT_S) == first
    denied(
        RejectionCode.ENROLLMENT_EXPIRED,
        lambda: world.enrollment.prove(proof, now=world.now + REPLY_KEPT_S + 1),
    )
    assert seats_taken(world) == 1


def test_a_box_that_forgot_its_proof_fetches_the_result_with_the_spent_code(world: LicenseWorld) -> None:
    """Same EK and AK, new challenge: the same bytes, no second seat."""
    _, (code,) = world.issue()
    device = world.device()
    first = world.enrollment.prove(device.proof(challenge(world, device, code)), now=world.now)
    device.pass_time(60, resets=1)
    again = world.enrollment.prove(device.proof(challenge(world, device, code)), now=world.now + 60)
    assert again == first
    assert (seats_taken(world), pending(world)) == (1, 0)


def test_a_stored_result_is_not_given_to_whoever_lacks_the_secret(world: LicenseWorld) -> None:
    _, (code,) = world.issue()
    device = world.device()
    proof = device.proof(challenge(world, device, code))
    world.enrollment.prove(proof, now=world.now)
    forged = proof.model_copy(update={"secret": bytes(32)})
    denied(RejectionCode.CREDENTIAL_SECRET_MISMATCH, lambda: world.enrollment.prove(forged, now=world.now))


def test_a_spent_code_fetches_nothing_after_fourteen_days(world: LicenseWorld) -> None:
    _, (code,) = world.issue()
    device = world.device()
    world.enroll(device, code)
    world.now += REPLY_KEPT_S
    again = challenge(world, device, code)
    world.now += 1
    denied(RejectionCode.ACTIVATION_CODE_INVALID, lambda: challenge(world, device, code))
    proof = device.proof(again)
    denied(RejectionCode.ACTIVATION_CODE_INVALID, lambda: world.enrollment.prove(proof, now=world.now))


@pytest.mark.parametrize("what", ["withdrawn", "held", "retired"])
def test_a_result_of_which_something_was_taken_away_is_not_given_again(world: LicenseWorld, what: str) -> None:
    """Not for the same proof, and not for the spent code."""
    _, (code,) = world.issue()
    device = world.device()
    proof = device.proof(challenge(world, device, code))
    world.enrollment.prove(proof, now=world.now)
    again = device.proof(challenge(world, device, code))
    expected = {
        "withdrawn": (RejectionCode.RELEASE_NOT_ALLOWED, RejectionCode.RELEASE_NOT_ALLOWED),
        "held": (RejectionCode.ROLLED_BACK, RejectionCode.ROLLED_BACK),
        "retired": (RejectionCode.ENROLLMENT_EXPIRED, RejectionCode.ACTIVATION_CODE_INVALID),
    }[what]
    if what == "withdrawn":
        withdraw_release(world.store, OPERATOR, world.box.release.release_id, now=NOW)
    elif what == "retired":
        retire_device(world.store, OPERATOR, device.device_id, now=NOW)
    else:
        with world.store.write() as transaction:
            (stored,) = transaction.find(Device)
            transaction.put(replace(stored, status=DeviceStatus.HELD))
    for code_of_denial, tried in zip(expected, (proof, again), strict=True):
        denied(code_of_denial, lambda tried=tried: world.enrollment.prove(tried, now=world.now))  # type: ignore[misc]


# --- evidence and releases --------------------------------------------------------------------------------------------


def test_denials_of_one_box_in_a_day_are_bounded(world: LicenseWorld) -> None:
    _, (code,) = world.issue()
    device = world.device()
    proof = device.proof(challenge(world, device, code))
    bad = proof.model_copy(update={"srk_certify": proof.evidence.quote})
    world.enrollment._decisions = DecisionLimit(2)
    for _ in range(2):
        denied(RejectionCode.ATTESTATION_TYPE, lambda: world.enrollment.prove(bad, now=world.now))
    denied(RejectionCode.RATE_LIMITED, lambda: world.enrollment.prove(bad, now=world.now))
    with world.store.read() as transaction:
        assert transaction.count(Decision, device_id=device.device_id) == 2
        assert transaction.count(Decision, device_id="", code="RATE_LIMITED") == 1


def test_a_bad_boot_is_denied_with_all_mismatches_and_recorded(world: LicenseWorld) -> None:
    _, (code,) = world.issue()
    device = world.device()
    proof = device.proof(challenge(world, device, code), pcrs={12: b"\x01" * 32})
    denial = denied(RejectionCode.EVENT_LOG_REPLAY_MISMATCH, lambda: world.enrollment.prove(proof, now=world.now))
    assert denial.details["mismatches"]
    with world.store.read() as transaction:
        decision = last_decision(transaction, device.device_id)
    assert decision is not None
    assert decision.code == RejectionCode.EVENT_LOG_REPLAY_MISMATCH
    assert '"ear.status":"contraindicated"' in decision.result
    assert seats_taken(world) == 0


def test_a_late_proof_is_denied(world: LicenseWorld) -> None:
    _, (code,) = world.issue()
    device = world.device()
    proof = device.proof(challenge(world, device, code))
    denied(RejectionCode.ENROLLMENT_EXPIRED, lambda: world.enrollment.prove(proof, now=world.now + PENDING_S + 1))


def test_an_unknown_release_is_denied(world: LicenseWorld) -> None:
    _, (code,) = world.issue()
    denied(RejectionCode.RELEASE_UNKNOWN, lambda: challenge(world, world.device(), code, release_id="0" * 64))


def test_a_release_of_another_product_is_denied(world: LicenseWorld) -> None:
    _, (code,) = world.issue(product="another")
    denied(RejectionCode.RELEASE_NOT_ALLOWED, lambda: challenge(world, world.device(), code))


def test_a_version_below_the_floor_is_denied(world: LicenseWorld) -> None:
    _, (code,) = world.issue(version_floor="1.2.1")
    denied(RejectionCode.VERSION_BELOW_FLOOR, lambda: challenge(world, world.device(), code))
    _, (code,) = world.issue(version_floor="1.2")
    challenge(world, world.device(), code)


def test_a_test_image_needs_a_licence_that_allows_it(world: LicenseWorld) -> None:
    world.box = synthetic_box(flavour="test")
    world.import_release(world.box)
    _, (code,) = world.issue()
    denied(RejectionCode.RELEASE_NOT_ALLOWED, lambda: challenge(world, world.device(), code))
    _, (code,) = world.issue(allow_test_images=True)
    assert len(grant(_enroll(world, code)).leases) == 1


def test_a_withdrawn_release_is_denied(world: LicenseWorld) -> None:
    _, (code,) = world.issue()
    withdraw_release(world.store, OPERATOR, world.box.release.release_id, now=NOW)
    denied(RejectionCode.RELEASE_NOT_ALLOWED, lambda: challenge(world, world.device(), code))


def test_a_release_withdrawn_while_the_grant_is_made_is_denied(world: LicenseWorld) -> None:
    """Rights are checked again in the transaction that takes the seat."""
    _, (code,) = world.issue()
    world.interrupt(lambda: withdraw_release(world.store, OPERATOR, world.box.release.release_id, now=NOW))
    denied(RejectionCode.RELEASE_NOT_ALLOWED, lambda: world.enroll(world.device(), code))
    assert seats_taken(world) == 0


def test_a_charge_that_comes_while_the_grant_is_made_is_counted(world: LicenseWorld) -> None:
    """What the grant was made from has changed, so it is made again."""
    license_, (code,) = world.issue()
    device = world.device()
    charges = iter([TickLedger(license_.license_id, device.device_id, 1000)])

    def charge() -> None:
        for one in charges:
            with world.store.write() as transaction:
                transaction.put(one)

    world.interrupt(charge)
    lease = verify_lease(world.enroll(device, code).leases[0], world.service)
    with world.store.read() as transaction:
        (stored,) = transaction.find(Device)
        assert transaction.count(LeaseRecord) == 1
    assert stored.charged_ticks == 1000
    assert stored.granted_ticks == lease.max_ticks


def test_a_clock_too_far_ahead_gets_no_lease(world: LicenseWorld) -> None:
    """2⁶² ms and more: no lease could end in the TPM's own time."""
    _, (code,) = world.issue()
    device = world.device()
    device.clock = Clock(clock_ms=1 << 62)
    proof = device.proof(challenge(world, device, code))
    denied(RejectionCode.BUDGET_EXHAUSTED, lambda: world.enrollment.prove(proof, now=world.now))


def test_garbage_for_keys_is_a_format_error(world: LicenseWorld) -> None:
    _, (code,) = world.issue()
    for field in ("ek_public", "ak_public", "srk_public"):
        with pytest.raises(FormatError):
            challenge(world, world.device(), code, **{field: b"\x00\x23\x00"})
    with pytest.raises(FormatError):
        challenge(world, world.device(), code, ek_certificates=[b"\x30\x03abc"])


def test_one_ek_has_one_device_id(world: LicenseWorld) -> None:
    """The certified key in an area of another shape would be a new device: free of holds, charges and other seats."""
    _, (code,) = world.issue()
    device = world.device()
    area = bytearray(device.request(code).ek_public)
    area[6] |= 0x04  # noDA
    denied(RejectionCode.EK_KEY_MISMATCH, lambda: challenge(world, device, code, ek_public=bytes(area)))
    assert pending(world) == 0


def _enroll(world: LicenseWorld, code: str) -> bytes:
    device = world.device()
    return world.enrollment.prove(device.proof(challenge(world, device, code)), now=world.now)
