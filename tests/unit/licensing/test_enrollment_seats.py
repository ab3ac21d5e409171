"""Codes, licences and seats: nothing else than the whole proof takes a seat, and none is taken twice."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from sealwright_licensing.enrollment_opening import MOST_PENDING_PER_CODE, PENDING_S
from sealwright_licensing.operations.devices import retire_device
from sealwright_licensing.operations.licenses import add_activation_code, revoke_license, suspend_license
from sealwright_licensing.records import Device, DeviceStatus
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.wire.lease import verify_lease
from sealwright_testing.denials import denied
from sealwright_testing.evidence_factory import NOW
from sealwright_testing.license_checks import challenge, pending, seats_taken
from sealwright_testing.license_world import OPERATOR, LicenseWorld, SetStatus
from sealwright_testing.software_device import SoftwareDevice


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
    ("take_away", "code"),
    [(revoke_license, RejectionCode.REVOKED), (suspend_license, RejectionCode.SUSPENDED)],
)
def test_a_licence_taken_away_is_denied_at_both_steps(
    world: LicenseWorld, take_away: SetStatus, code: RejectionCode
) -> None:
    """Also when it happens between challenge and proof, and for a stored result."""
    license_, (activation,) = world.issue()
    device = world.device()
    proof = device.proof(challenge(world, device, activation))
    take_away(world.store, OPERATOR, license_.license_id, now=NOW)
    denied(code, lambda: challenge(world, device, activation))
    denied(code, lambda: world.enrollment.prove(proof, now=world.now))
    assert seats_taken(world) == 0


def test_a_stored_result_is_denied_after_revocation(world: LicenseWorld) -> None:
    license_, (activation,) = world.issue()
    device = world.device()
    proof = device.proof(challenge(world, device, activation))
    world.enrollment.prove(proof, now=world.now)
    revoke_license(world.store, OPERATOR, license_.license_id, now=NOW)
    denied(RejectionCode.REVOKED, lambda: world.enrollment.prove(proof, now=world.now))


def test_an_ended_licence_is_denied(world: LicenseWorld) -> None:
    license_, (code,) = world.issue(days=1)
    request = world.device().request(code)
    denied(RejectionCode.EXPIRED, lambda: world.enrollment.challenge(request, now=license_.expires_at))


def test_more_boxes_than_seats_are_denied(world: LicenseWorld) -> None:
    """A third code does not make a third seat."""
    license_, codes = world.issue(seats=2)
    third = add_activation_code(world.store, OPERATOR, license_.license_id, now=world.now)
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
    codes = [first, *(add_activation_code(world.store, OPERATOR, license_.license_id, now=world.now) for _ in range(2))]
    used = 0
    for shown, code in zip((device, other, device), codes, strict=True):
        lease = verify_lease(world.enroll(shown, code).leases[0], world.service)
        with world.store.read() as transaction:
            stored = transaction.get(Device, shown.device_id)
        assert stored is not None
        assert stored.charged_ticks == used
        used += lease.max_ticks - shown.ticks
        retire_device(world.store, OPERATOR, shown.device_id, now=NOW)


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
    retire_device(world.store, OPERATOR, device.device_id, now=NOW)
    code = add_activation_code(world.store, OPERATOR, license_.license_id, now=world.now)
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
