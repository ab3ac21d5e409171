"""Enrolment: every denial by its code, and nothing else than the whole proof takes a seat."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_licensing.endorsement import Tier
from sealwright_licensing.enrollment import MOST_PENDING_PER_CODE, PENDING_S
from sealwright_licensing.enrollment_results import REPLY_KEPT_S
from sealwright_licensing.issuing import add_activation_code
from sealwright_licensing.journal import last_decision
from sealwright_licensing.records import (
    Device,
    DeviceCertificateRecord,
    DeviceStatus,
    LeaseRecord,
    LicenseStatus,
    PendingEnrollment,
    TickLedger,
)
from sealwright_licensing.revocation import retire_device, set_license_status, withdraw_release
from sealwright_policies.errors import FormatError, RejectionCode, VerificationError
from sealwright_policies.tcg.structures import parse_public
from sealwright_policies.wire.device_certificate import verify_device_certificate
from sealwright_policies.wire.lease import verify_lease
from sealwright_policies.wire.messages import EnrollmentChallenge, Purpose
from sealwright_testing.evidence_factory import LEASE_INDEX, TICK_INDEX
from sealwright_testing.license_world import LicenseWorld, grant, synthetic_box
from sealwright_testing.maker_ca import MakerCa, der
from sealwright_testing.software_device import SoftwareDevice, srk_area
from sealwright_testing.software_tpm import AK_ATTRIBUTES, RH_ENDORSEMENT, Clock, SoftwareAk, name_of


def denied(code: RejectionCode, call: Callable[[], object]) -> VerificationError:
    """Demand a denial with this code."""
    with pytest.raises(VerificationError) as caught:
        call()
    assert caught.value.code is code, caught.value
    return caught.value


def challenge(world: LicenseWorld, device: SoftwareDevice, code: str, **changes: object) -> EnrollmentChallenge:
    return world.enrollment.challenge(device.request(code, **changes), now=world.now)


def seats_taken(world: LicenseWorld) -> int:
    with world.store.read() as transaction:
        return transaction.count(Device)


def pending(world: LicenseWorld) -> int:
    with world.store.read() as transaction:
        return transaction.count(PendingEnrollment)


# --- what an accepted enrolment gives ---------------------------------------------------------------------------------


def test_an_honest_device_gets_both_shares_a_lease_and_a_certificate(world: LicenseWorld) -> None:
    """The lease is for the N that was proved; both shares open under the SRK and nowhere else."""
    license_, (code,) = world.issue()
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
    assert [one.pcrs["4"] for one in granted.release_approvals] == [one.pcr4 for one in ways]
    certificate = verify_device_certificate(granted.device_certificate, world.service.device_ca, now=lease.expires_at)
    assert (certificate.device_id, certificate.license_id) == (device.device_id, license_.license_id)
    assert (certificate.tier, certificate.ak) == ("software", parse_public(device.ak.public_area).key())
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
        withdraw_release(world.store, world.box.release.release_id)
    elif what == "retired":
        retire_device(world.store, device.device_id)
    else:
        with world.store.write() as transaction:
            (stored,) = transaction.find(Device)
            transaction.put(replace(stored, status=DeviceStatus.HELD))
    for code_of_denial, tried in zip(expected, (proof, again), strict=True):
        denied(code_of_denial, lambda tried=tried: world.enrollment.prove(tried, now=world.now))  # type: ignore[misc]


# --- codes, licences, seats -------------------------------------------------------------------------------------------


def test_an_unknown_code_is_denied(world: LicenseWorld) -> None:
    denied(RejectionCode.ACTIVATION_CODE_INVALID, lambda: challenge(world, world.device(), "00000-00000-00000-00000"))


def test_codes_are_not_in_the_database(world: LicenseWorld) -> None:
    """A stolen database activates nothing."""
    _, (code,) = world.issue()
    world.store.close()
    for file in world.folder.path.glob("service.db*"):
        assert code.encode() not in file.read_bytes()


def test_a_spent_code_is_denied_to_another_box(world: LicenseWorld) -> None:
    _, (code,) = world.issue(seats=1)
    world.enroll(world.device(0), code)
    denied(RejectionCode.ACTIVATION_CODE_INVALID, lambda: challenge(world, world.device(1), code))


def test_a_spent_code_is_denied_to_the_same_tpm_with_another_ak(world: LicenseWorld) -> None:
    _, (code,) = world.issue(seats=1)
    world.enroll(world.device(0), code)
    denied(RejectionCode.ACTIVATION_CODE_INVALID, lambda: challenge(world, world.device(0), code))


@pytest.mark.parametrize(
    ("status", "code"),
    [(LicenseStatus.REVOKED, RejectionCode.REVOKED), (LicenseStatus.SUSPENDED, RejectionCode.SUSPENDED)],
)
def test_a_licence_taken_away_is_denied_at_both_steps(
    world: LicenseWorld, status: LicenseStatus, code: RejectionCode
) -> None:
    """Also when it happens between challenge and proof, and for a stored result."""
    license_, (activation,) = world.issue()
    device = world.device()
    proof = device.proof(challenge(world, device, activation))
    set_license_status(world.store, license_.license_id, status)
    denied(code, lambda: challenge(world, device, activation))
    denied(code, lambda: world.enrollment.prove(proof, now=world.now))
    assert seats_taken(world) == 0


def test_a_stored_result_is_denied_after_revocation(world: LicenseWorld) -> None:
    license_, (activation,) = world.issue()
    device = world.device()
    proof = device.proof(challenge(world, device, activation))
    world.enrollment.prove(proof, now=world.now)
    set_license_status(world.store, license_.license_id, LicenseStatus.REVOKED)
    denied(RejectionCode.REVOKED, lambda: world.enrollment.prove(proof, now=world.now))


def test_an_ended_licence_is_denied(world: LicenseWorld) -> None:
    license_, (code,) = world.issue(days=1)
    request = world.device().request(code)
    denied(RejectionCode.EXPIRED, lambda: world.enrollment.challenge(request, now=license_.expires_at))


def test_more_boxes_than_seats_are_denied(world: LicenseWorld) -> None:
    """A third code does not make a third seat."""
    license_, codes = world.issue(seats=2)
    third = add_activation_code(world.store, license_.license_id, now=world.now)
    for number, code in enumerate(codes):
        world.enroll(world.device(number), code)
    denied(RejectionCode.TOO_MANY_DEVICES, lambda: challenge(world, world.device(2), third))
    assert seats_taken(world) == 2


def test_one_live_device_per_endorsement_key(world: LicenseWorld) -> None:
    """The same TPM under a second licence would be counted twice and metered by half."""
    _, (first,) = world.issue()
    _, (second,) = world.issue()
    device = world.device()
    world.enroll(device, first)
    denied(RejectionCode.TOO_MANY_DEVICES, lambda: challenge(world, device, second))


def second_ek(world: LicenseWorld, device: SoftwareDevice, *shared: str) -> SoftwareDevice:
    """What another certified EK of the same TPM would show."""
    return replace(device, number=1, maker=world.maker, **{
        key: getattr(world.device(), key) for key in {"ak", "srk"} - set(shared)
    })  # fmt: skip


@pytest.mark.parametrize("shared", ["ak", "srk"])
def test_a_tpm_with_two_endorsement_keys_is_one_device(world: LicenseWorld, shared: str) -> None:
    """AK and SRK come from the TPM's seeds. After TPM2_Clear the SRK is another; the AK stays. A hold counts too."""
    _, (first, second) = world.issue(seats=2)
    device = world.device()
    other = second_ek(world, device, shared)
    assert other.device_id != device.device_id
    early = other.proof(challenge(world, other, second))
    world.enroll(device, first)
    denied(RejectionCode.TOO_MANY_DEVICES, lambda: challenge(world, other, second))
    denied(RejectionCode.TOO_MANY_DEVICES, lambda: world.enrollment.prove(early, now=world.now))
    with world.store.write() as transaction:
        (stored,) = transaction.find(Device)
        transaction.put(replace(stored, status=DeviceStatus.HELD))
    denied(RejectionCode.TOO_MANY_DEVICES, lambda: challenge(world, other, second))
    assert seats_taken(world) == 1


def test_charges_follow_the_tpm_to_its_other_endorsement_key(world: LicenseWorld) -> None:
    """Budgets belong to licence and TPM: no fresh one by showing the other EK, and back."""
    license_, (first,) = world.issue()
    device = world.device()
    other = second_ek(world, device, "ak", "srk")
    codes = [first, *(add_activation_code(world.store, license_.license_id, now=world.now) for _ in range(2))]
    used = 0
    for shown, code in zip((device, other, device), codes, strict=True):
        lease = verify_lease(world.enroll(shown, code).leases[0], world.service)
        with world.store.read() as transaction:
            stored = transaction.get(Device, shown.device_id)
        assert stored is not None
        assert stored.charged_ticks == used
        used += lease.max_ticks - shown.ticks
        retire_device(world.store, shown.device_id)


def test_two_proofs_of_one_tpm_take_one_seat(world: LicenseWorld) -> None:
    """Both challenges were open; the second proof finds the device enrolled."""
    _, (first,) = world.issue()
    _, (second,) = world.issue()
    device = world.device()
    one, two = (device.proof(challenge(world, device, code)) for code in (first, second))
    world.enrollment.prove(one, now=world.now)
    denied(RejectionCode.TOO_MANY_DEVICES, lambda: world.enrollment.prove(two, now=world.now))


def test_a_retired_device_frees_its_seat_and_is_charged_its_whole_lease(world: LicenseWorld) -> None:
    license_, (code,) = world.issue()
    device = world.device()
    before = verify_lease(world.enroll(device, code).leases[0], world.service)
    retire_device(world.store, device.device_id)
    code = add_activation_code(world.store, license_.license_id, now=world.now)
    world.enroll(device, code)
    with world.store.read() as transaction:
        stored = transaction.get(Device, device.device_id)
    assert stored is not None
    assert stored.charged_ticks == before.max_ticks - device.ticks


def test_eight_racing_boxes_take_one_seat(world: LicenseWorld) -> None:
    """One code, eight TPMs, all challenged before any proof: one seat, seven denials, on a real database file."""
    _, (code,) = world.issue()
    devices = [world.device(number) for number in range(MOST_PENDING_PER_CODE)]
    proofs = [device.proof(challenge(world, device, code)) for device in devices]
    barrier = threading.Barrier(len(proofs))
    outcomes: list[str] = []

    def run(index: int) -> None:
        barrier.wait()
        try:
            world.enrollment.prove(proofs[index], now=world.now)
            outcomes.append("granted")
        except VerificationError as denial:
            outcomes.append(denial.code.value)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(proofs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("granted") == 1
    assert set(outcomes) - {"granted"} <= {
        RejectionCode.ACTIVATION_CODE_INVALID.value,
        RejectionCode.TOO_MANY_DEVICES.value,
        RejectionCode.ENROLLMENT_EXPIRED.value,
    }
    assert seats_taken(world) == 1


def test_open_enrolments_of_one_code_are_bounded(world: LicenseWorld) -> None:
    _, (code,) = world.issue()
    device = world.device()
    for _ in range(MOST_PENDING_PER_CODE):
        challenge(world, device, code)
    denied(RejectionCode.RATE_LIMITED, lambda: challenge(world, device, code))
    world.now += PENDING_S + 1
    challenge(world, device, code)
    assert pending(world) == 1


# --- the TPM's maker --------------------------------------------------------------------------------------------------


def test_an_unknown_maker_is_denied_before_anything_is_written(world: LicenseWorld) -> None:
    _, (code,) = world.issue()
    stranger = SoftwareDevice(world.box, MakerCa("Stranger"))
    denied(RejectionCode.EK_CHAIN_INVALID, lambda: challenge(world, stranger, code))
    assert pending(world) == 0


def test_a_makers_name_with_another_key_is_denied(world: LicenseWorld) -> None:
    """The attacker's CA has the trusted one's names."""
    _, (code,) = world.issue()
    forger = SoftwareDevice(world.box, MakerCa())
    denied(RejectionCode.EK_CHAIN_INVALID, lambda: challenge(world, forger, code))


def test_the_tier_must_be_one_of_the_licence(world: LicenseWorld) -> None:
    _, (code,) = world.issue(tiers=[Tier.DISCRETE, Tier.FIRMWARE])
    denied(RejectionCode.TIER_NOT_ALLOWED, lambda: challenge(world, world.device(), code))
    assert pending(world) == 0


def test_another_certified_key_than_the_ek_is_denied(world: LicenseWorld) -> None:
    """Somebody else's genuine EK certificate."""
    _, (code,) = world.issue()
    other = world.device(1)
    certificates = [der(other.ek_certificate), der(world.maker.intermediate)]
    denied(RejectionCode.EK_KEY_MISMATCH, lambda: challenge(world, world.device(0), code, ek_certificates=certificates))


def test_nv_padding_behind_the_certificate_is_dropped(world: LicenseWorld) -> None:
    _, (code,) = world.issue()
    device = world.device()
    padded = [der(device.ek_certificate) + b"\xff" * 100, der(world.maker.intermediate)]
    assert challenge(world, device, code, ek_certificates=padded).device_id == device.device_id


# --- keys -------------------------------------------------------------------------------------------------------------


def test_an_unrestricted_ak_is_denied(world: LicenseWorld) -> None:
    """It would sign whatever the owner writes."""
    _, (code,) = world.issue()
    device = world.device()
    device.ak = SoftwareAk(attributes=AK_ATTRIBUTES & ~0x10000)
    denied(RejectionCode.AK_ATTRIBUTES, lambda: challenge(world, device, code))


def test_an_exportable_srk_is_denied(world: LicenseWorld) -> None:
    """Attacker-made parent with fixedTPM cleared: it could be duplicated to a key outside."""
    _, (code,) = world.issue()
    device = world.device()
    area = srk_area(device.srk, attributes=0x00030470)
    denied(RejectionCode.SRK_TEMPLATE, lambda: challenge(world, device, code, srk_public=area))


def test_a_relayed_credential_does_not_open(world: LicenseWorld) -> None:
    """An honest box's EK with the attacker's AK: the honest TPM does not hold that AK, so it refuses."""
    _, (code,) = world.issue()
    honest = world.device()
    attacker = SoftwareAk()
    asked = challenge(world, honest, code, ak_public=attacker.public_area)
    with pytest.raises(ValueError, match="INTEGRITY"):
        honest.open_credential(asked)


def test_a_guessed_secret_is_denied(world: LicenseWorld) -> None:
    _, (code,) = world.issue()
    device = world.device()
    proof = device.proof(challenge(world, device, code), secret=bytes(32))
    denied(RejectionCode.CREDENTIAL_SECRET_MISMATCH, lambda: world.enrollment.prove(proof, now=world.now))
    assert seats_taken(world) == 0


@pytest.mark.parametrize("parent", [RH_ENDORSEMENT, 0x4000000C, 0x40000007])
def test_an_srk_under_another_hierarchy_is_denied(world: LicenseWorld, parent: int) -> None:
    """Endorsement survives TPM2_Clear, Platform and NULL are the firmware's and nobody's (tried)."""
    _, (code,) = world.issue()
    device = world.device()
    proof = device.proof(challenge(world, device, code), parent=parent)
    denied(RejectionCode.SRK_HIERARCHY, lambda: world.enrollment.prove(proof, now=world.now))


def test_another_certified_storage_key_is_denied(world: LicenseWorld) -> None:
    """The SRK in the request is the attacker's, outside any TPM; the TPM certifies its own."""
    _, (code,) = world.issue()
    device = world.device()
    real = srk_area(device.srk)
    device.srk = ec.generate_private_key(ec.SECP256R1())
    asked = challenge(world, device, code)
    proof = device.proof(asked, certified=real)
    denied(RejectionCode.SRK_NAME_MISMATCH, lambda: world.enrollment.prove(proof, now=world.now))


def test_an_ak_outside_the_endorsement_hierarchy_is_denied(world: LicenseWorld) -> None:
    """Under Owner the TPM obfuscates resetCount and restartCount."""
    _, (code,) = world.issue()
    device = world.device()
    device.ak = SoftwareAk(hierarchy=0x40000001)
    device.box.ak = device.ak
    proof = device.proof(challenge(world, device, code))
    denied(RejectionCode.SIGNER_NOT_ENDORSEMENT, lambda: world.enrollment.prove(proof, now=world.now))


@pytest.mark.parametrize("counter", ["tick_counter", "lease_counter"])
def test_a_counter_that_can_be_reset_is_denied(world: LicenseWorld, counter: str) -> None:
    _, (code,) = world.issue()
    device = world.device()
    asked = challenge(world, device, code)
    index = TICK_INDEX if counter == "tick_counter" else LEASE_INDEX
    extra = device.bound(nonce=asked.nonce, license_id=asked.license_id, purpose=Purpose.ENROLL)
    orderly = device.ak.nv_certify(1, index=index, extra=extra, clock=device.clock, attributes=0x26040014)
    proof = (
        device.proof(asked, tick_counter=orderly) if index == TICK_INDEX else device.proof(asked, lease_counter=orderly)
    )
    denied(RejectionCode.COUNTER_INVALID, lambda: world.enrollment.prove(proof, now=world.now))


def test_a_proof_for_another_enrolment_is_denied(world: LicenseWorld) -> None:
    """Replayed evidence: same device, same licence, the nonce of the challenge before."""
    _, (code,) = world.issue()
    device = world.device()
    old, new = challenge(world, device, code), challenge(world, device, code)
    replayed = device.proof(old).model_copy(
        update={"enrollment_id": new.enrollment_id, "secret": device.open_credential(new)}
    )
    denied(RejectionCode.QUALIFYING_DATA_MISMATCH, lambda: world.enrollment.prove(replayed, now=world.now))
    assert seats_taken(world) == 0


# --- evidence and releases --------------------------------------------------------------------------------------------


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
    withdraw_release(world.store, world.box.release.release_id)
    denied(RejectionCode.RELEASE_NOT_ALLOWED, lambda: challenge(world, world.device(), code))


def test_a_release_withdrawn_while_the_grant_is_made_is_denied(world: LicenseWorld) -> None:
    """Rights are checked again in the transaction that takes the seat."""
    _, (code,) = world.issue()
    world.interrupt(lambda: withdraw_release(world.store, world.box.release.release_id))
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
