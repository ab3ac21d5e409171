"""Transfer to a replacement box, and what a licence covers growing and shrinking."""

from __future__ import annotations

import pytest

from sealwright_licensing.operations.devices import transfer_device
from sealwright_licensing.operations.licenses import add_activation_code, change_terms
from sealwright_licensing.operations.terms import TermChanges
from sealwright_licensing.records import ActivationCodeRecord, Device, DeviceStatus
from sealwright_policies.errors import RejectionCode
from sealwright_policies.wire.lease import verify_lease
from sealwright_testing.denials import denied
from sealwright_testing.enrolled_device import DAY, EnrolledDevice
from sealwright_testing.evidence_factory import NOW, payload_fields
from sealwright_testing.license_world import OPERATOR, LicenseWorld, grant, synthetic_box


def status(world: LicenseWorld, device_id: str) -> DeviceStatus:
    """What a device is."""
    with world.store.read() as transaction:
        found = transaction.get(Device, device_id)
    assert found is not None
    return found.status


@pytest.mark.parametrize("at_once", [False, True])
def test_a_replacement_takes_seat_and_account(box: EnrolledDevice, *, at_once: bool) -> None:
    """The licence has one seat. The new box begins with all that the old one was granted; the old one is out."""
    world, old = box.world, box.device.device_id
    box.pass_time(10 * DAY, resets=1)
    box.renew()
    stored = box.stored()
    used = stored.granted_ticks - stored.first_ticks + stored.charged_ticks
    transfer = transfer_device(world.store, OPERATOR, old, at_once=at_once, now=world.now)
    assert (status(world, old) is DeviceStatus.RETIRED) is at_once
    new = world.device(1)
    assert world.enroll(new, transfer.activation_code).leases
    assert status(world, old) is DeviceStatus.RETIRED
    with world.store.read() as transaction:
        found = transaction.get(Device, new.device_id)
    assert found is not None
    assert found.charged_ticks == used > 700
    denied(RejectionCode.DEVICE_UNKNOWN, lambda: box.ask(box.lease.next_nonce))
    denied(RejectionCode.ACTIVATION_CODE_INVALID, lambda: world.enroll(world.device(2), transfer.activation_code))


@pytest.mark.parametrize("same_license", [True, False])
def test_a_code_does_not_retire_a_box_that_was_enrolled_anew(box: EnrolledDevice, *, same_license: bool) -> None:
    """The broken box came back before its replacement did: both serve, if there is a seat for each."""
    world, old = box.world, box.device.device_id
    change_terms(world.store, OPERATOR, box.license_.license_id, TermChanges(seats=2), now=world.now)
    transfer = transfer_device(world.store, OPERATOR, old, at_once=True, now=world.now)
    box.pass_time(DAY)
    license_id = box.license_.license_id if same_license else world.issue()[0].license_id
    world.enroll(box.device, add_activation_code(world.store, OPERATOR, license_id, now=world.now))
    assert world.enroll(world.device(1), transfer.activation_code).leases
    assert status(world, old) is DeviceStatus.LIVE


def test_until_then_the_old_box_goes_on(box: EnrolledDevice) -> None:
    """Also while the new one has its challenge; a second transfer takes the first one's code back."""
    first = transfer_device(box.world.store, OPERATOR, box.device.device_id, now=NOW)
    new = box.world.device(1)
    proof = new.proof(box.world.enrollment.challenge(new.request(first.activation_code), now=box.world.now))
    box.pass_time(DAY)
    assert box.renew().number == 2
    transfer_device(box.world.store, OPERATOR, box.device.device_id, now=NOW)
    denied(RejectionCode.ENROLLMENT_EXPIRED, lambda: box.world.enrollment.prove(proof, now=box.world.now))
    with box.world.store.read() as transaction:
        assert transaction.count(ActivationCodeRecord, replaces=box.device.device_id) == 1


def test_a_renewal_between_preparation_and_commit_is_charged(box: EnrolledDevice) -> None:
    """The old box gets a longer lease just while the new one is enrolled: the new one is charged for that too."""
    world = box.world
    code = transfer_device(world.store, OPERATOR, box.device.device_id, now=NOW).activation_code
    box.pass_time(5 * DAY)
    waiting, old = [box.ask], world.renewal
    world.interrupt(lambda: waiting.pop()() if waiting else None)
    world.renewal = old
    new = world.device(1)
    world.enroll(new, code)
    with world.store.read() as transaction:
        replaced, made = transaction.get(Device, box.device.device_id), transaction.get(Device, new.device_id)
    assert replaced is not None
    assert made is not None
    assert made.charged_ticks == replaced.granted_ticks - replaced.first_ticks
    assert replaced.ticks == 5 + 5 * 24


def opened(box: EnrolledDevice, reply: bytes) -> tuple[list[str], int]:
    """Payloads that a reply's lease opens, and how many shares came along."""
    given = grant(reply)
    lease = verify_lease(given.leases[0], box.world.service)
    return [partition.payload_id for partition in lease.partitions], len(given.shares)


def test_what_a_licence_comes_to_cover_is_given_with_the_next_renewal(world: LicenseWorld) -> None:
    """And again until it is proved that the reply came; then no more. The rest is neither leased nor given."""
    finance = payload_fields("8f" * 32) | {"payload_id": "finance", "domain": "finance"}
    world.box = synthetic_box(payloads=[payload_fields(), finance])
    world.import_release(world.box)
    license_, (code,) = world.issue(domains=["medical"])
    device = world.device()
    first = world.enroll(device, code)
    box = EnrolledDevice(world, license_, device, verify_lease(first.leases[0], world.service))
    assert ([one.payload_id for one in box.lease.partitions], len(first.shares)) == (["medical"], 1)
    assert opened(box, box.ask()) == (["medical"], 0)
    change_terms(world.store, OPERATOR, license_.license_id, TermChanges(domains=""), now=NOW)
    assert opened(box, box.ask(box.nonce())) == (["medical", "finance"], 2)
    assert opened(box, box.ask(box.nonce())) == (["medical", "finance"], 2)
    box.device.increment()
    box.pass_time(DAY)
    assert opened(box, box.ask(box.nonce())) == (["medical", "finance"], 0)
    change_terms(world.store, OPERATOR, license_.license_id, TermChanges(partitions="finance"), now=NOW)
    assert opened(box, box.ask(box.nonce())) == (["finance"], 0)


def test_what_it_covers_no_more_is_leased_no_more(box: EnrolledDevice) -> None:
    change_terms(box.world.store, OPERATOR, box.license_.license_id, TermChanges(partitions="finance"), now=NOW)
    denied(RejectionCode.NOT_ENTITLED, box.ask)
