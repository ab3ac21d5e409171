"""Renewal: what it gives, nonces, repetition, rights; each denial by its code."""

from __future__ import annotations

import dataclasses
import threading
from typing import TypeVar

import pytest

from sealwright_licensing.grants import KEPT_RECORDS, MOST_RECORDS
from sealwright_licensing.journal import PRUNED_EVERY
from sealwright_licensing.nonces import LIFETIME_S
from sealwright_licensing.operations.devices import retire_device
from sealwright_licensing.operations.licenses import reinstate_license, revoke_license, suspend_license
from sealwright_licensing.records import (
    Device,
    DeviceCertificateRecord,
    DeviceStatus,
    LeaseRecord,
    NextNonce,
    RenewalReply,
    SpentNonce,
)
from sealwright_licensing.renewal_results import MOST_OPEN_REPLIES
from sealwright_policies.errors import RejectionCode
from sealwright_policies.wire.lease import verify_lease
from sealwright_policies.wire.messages import NonceRequest, Purpose
from sealwright_testing.denials import denied
from sealwright_testing.enrolled_device import DAY, EnrolledDevice
from sealwright_testing.evidence_factory import NOW
from sealwright_testing.license_checks import count
from sealwright_testing.license_world import OPERATOR, LicenseWorld, SetStatus, grant

R = TypeVar("R", LeaseRecord, DeviceCertificateRecord)

# --- the honest way ---------------------------------------------------------------------------------------------------


def test_a_renewal_is_for_n_plus_one_and_from_the_new_clock(box: EnrolledDevice) -> None:
    box.pass_time(2 * DAY, resets=3)
    lease = box.renew()
    assert lease.number == 2
    assert lease.clock_end_ms == box.device.clock.clock_ms + box.license_.lease_s * 1000
    assert lease.max_reset_count == box.device.clock.reset_count + 120
    assert len(lease.next_nonce) == 32
    box.pass_time(DAY)
    assert box.renew().number == 3


def test_a_repeated_request_gets_the_same_bytes_until_the_next_number_is_proved(box: EnrolledDevice) -> None:
    """Box gets no reply, asks again with the same nonce and new evidence: the same lease, not a second one."""
    box.pass_time(DAY)
    nonce = box.lease.next_nonce
    first = box.ask(nonce)
    box.pass_time(60, resets=1)
    assert box.ask(nonce) == first
    box.lease = verify_lease(grant(first).leases[0], box.world.service)
    box.device.increment()
    box.renew()
    denied(RejectionCode.NONCE_INVALID, lambda: box.ask(nonce))


def test_a_stateless_nonce_is_repeated_past_its_time_too(box: EnrolledDevice) -> None:
    nonce = box.nonce()
    first = box.ask(nonce)
    box.pass_time(LIFETIME_S + 1)
    assert box.ask(nonce) == first


def test_a_renewal_after_the_lease_has_ended_works_while_the_licence_lasts(box: EnrolledDevice) -> None:
    box.pass_time(60 * DAY)
    assert box.renew().expires_at == box.world.now + box.license_.lease_s


# --- nonces -----------------------------------------------------------------------------------------------------------


def test_nonces_for_unknown_devices_are_denied(world: LicenseWorld) -> None:
    denied(RejectionCode.DEVICE_UNKNOWN, lambda: world.renewal.nonce(NonceRequest(device_id="a" * 52), now=world.now))


def test_asking_for_nonces_stores_nothing(box: EnrolledDevice) -> None:
    """Nobody fills the database by asking."""
    for _ in range(20):
        box.nonce()
    assert count(box.world, SpentNonce) == 0


def test_an_old_nonce_is_denied(box: EnrolledDevice) -> None:
    nonce = box.nonce()
    box.pass_time(LIFETIME_S + 1)
    denied(RejectionCode.NONCE_INVALID, lambda: box.ask(nonce))


def test_a_made_up_nonce_is_denied(box: EnrolledDevice) -> None:
    denied(RejectionCode.NONCE_INVALID, lambda: box.ask(bytes(32)))


def test_a_nonce_of_another_device_is_denied(box: EnrolledDevice) -> None:
    _, (code,) = box.world.issue()
    other = box.world.device(1)
    box.world.enroll(other, code)
    nonce = bytes(box.world.renewal.nonce(NonceRequest(device_id=other.device_id), now=box.world.now).nonce)
    denied(RejectionCode.NONCE_INVALID, lambda: box.ask(nonce))


def test_a_leases_nonce_proves_that_leases_number_only(box: EnrolledDevice) -> None:
    """The box incremented without a new lease: its old lease's nonce is for a number that is gone."""
    box.device.increment()
    denied(RejectionCode.NONCE_INVALID, lambda: box.ask(box.lease.next_nonce))
    assert box.ask(box.nonce())


def test_a_replayed_message_is_denied_and_holds_nobody(box: EnrolledDevice) -> None:
    """A recorded request, sent again after the box went on: spent nonce, no verdict about the TPM."""
    nonce = box.nonce()
    recorded = box.device.renewal(box.license_.license_id, nonce)
    box.lease = verify_lease(grant(box.world.renewal.renew(recorded, now=box.world.now)).leases[0], box.world.service)
    box.device.increment()
    box.pass_time(10)
    box.renew()
    denied(RejectionCode.NONCE_INVALID, lambda: box.world.renewal.renew(recorded, now=box.world.now))
    assert box.stored().status is DeviceStatus.LIVE


def test_evidence_for_another_nonce_is_denied(box: EnrolledDevice) -> None:
    """Replayed proof under a fresh nonce."""
    old = box.device.renewal(box.license_.license_id, box.nonce())
    replayed = old.model_copy(update={"nonce": box.nonce()})
    denied(RejectionCode.QUALIFYING_DATA_MISMATCH, lambda: box.world.renewal.renew(replayed, now=box.world.now))


def test_enrolment_evidence_does_not_renew(box: EnrolledDevice) -> None:
    """The purpose is part of what the TPM signs."""
    nonce = box.nonce()
    bound = box.device.bound(nonce=nonce, license_id=box.license_.license_id, purpose=Purpose.ENROLL)
    denied(RejectionCode.QUALIFYING_DATA_MISMATCH, lambda: box.ask(nonce, extra=bound))


def test_stored_replies_are_bounded(box: EnrolledDevice) -> None:
    for _ in range(MOST_OPEN_REPLIES + 3):
        box.ask(box.nonce())
    assert count(box.world, RenewalReply) <= MOST_OPEN_REPLIES
    assert count(box.world, NextNonce) <= MOST_OPEN_REPLIES + 1


def test_a_box_that_never_stops_renewing_fills_no_disk(box: EnrolledDevice) -> None:
    """Its oldest leases and certificates go, the newest stay."""
    (lease,), (certificate,) = records(box, LeaseRecord), records(box, DeviceCertificateRecord)
    with box.world.store.write() as transaction:
        for number in range(MOST_RECORDS - 1):
            made = box.world.now - number
            transaction.add(dataclasses.replace(lease, lease_id=f"older-{number}", issued_at=made))
            transaction.add(dataclasses.replace(certificate, serial=f"older-{number}", issued_at=made))
        (device,) = transaction.find(Device)
        transaction.put(dataclasses.replace(device, revision=PRUNED_EVERY - 1))  # so that the next grant counts
    box.pass_time(1)
    box.ask()
    for kept in (records(box, LeaseRecord), records(box, DeviceCertificateRecord)):
        assert len(kept) <= KEPT_RECORDS + 1
        assert max(one.issued_at for one in kept) == box.world.now


def records(box: EnrolledDevice, kind: type[R]) -> list[R]:
    with box.world.store.read() as transaction:
        return transaction.find(kind, device_id=box.device.device_id)


# --- rights -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("take_away", "code"),
    [(revoke_license, RejectionCode.REVOKED), (suspend_license, RejectionCode.SUSPENDED)],
)
def test_a_licence_taken_away_is_denied(box: EnrolledDevice, take_away: SetStatus, code: RejectionCode) -> None:
    """At the next contact, and for a stored reply as well."""
    nonce = box.nonce()
    box.ask(nonce)
    take_away(box.world.store, OPERATOR, box.license_.license_id, now=NOW)
    denied(code, lambda: box.ask(nonce))
    denied(code, lambda: box.ask(box.nonce()))


def test_a_suspension_can_end(box: EnrolledDevice) -> None:
    suspend_license(box.world.store, OPERATOR, box.license_.license_id, now=NOW)
    reinstate_license(box.world.store, OPERATOR, box.license_.license_id, now=NOW)
    assert box.renew().number == 2


def test_an_ended_licence_is_denied(box: EnrolledDevice) -> None:
    box.pass_time(366 * DAY)
    denied(RejectionCode.EXPIRED, lambda: box.ask(box.nonce()))


def test_another_licence_than_the_devices_is_denied(box: EnrolledDevice) -> None:
    other, _ = box.world.issue()
    request = box.device.renewal(other.license_id, box.nonce())
    denied(RejectionCode.LICENSE_UNKNOWN, lambda: box.world.renewal.renew(request, now=box.world.now))


def test_an_unknown_release_is_denied(box: EnrolledDevice) -> None:
    request = box.device.renewal(box.license_.license_id, box.nonce()).model_copy(update={"release_id": "0" * 64})
    denied(RejectionCode.RELEASE_UNKNOWN, lambda: box.world.renewal.renew(request, now=box.world.now))


def test_a_retired_device_is_unknown(box: EnrolledDevice) -> None:
    retire_device(box.world.store, OPERATOR, box.device.device_id, now=NOW)
    denied(RejectionCode.DEVICE_UNKNOWN, box.ask)


def test_a_tier_taken_from_the_licence_is_enforced(box: EnrolledDevice) -> None:
    with box.world.store.write() as transaction:
        transaction.put(dataclasses.replace(box.license_, tiers="discrete"))
    denied(RejectionCode.TIER_NOT_ALLOWED, box.ask)


def test_running_time_is_a_budget(box: EnrolledDevice) -> None:
    box.device.ticks += box.license_.tick_budget - 1
    lease = box.renew()
    assert lease.max_ticks == 5 + box.license_.tick_budget
    assert [warning.code for warning in lease.warnings] == ["BUDGET_LOW"]
    box.device.ticks += 1
    denied(RejectionCode.BUDGET_EXHAUSTED, box.ask)


def test_resets_beyond_plan_are_reported(box: EnrolledDevice) -> None:
    box.pass_time(DAY, resets=51)
    assert [warning.code for warning in box.renew().warnings] == ["RESETS_BEYOND_PLAN"]


def test_eight_renewals_at_once_are_decided_one_after_the_other(box: EnrolledDevice) -> None:
    """The same nonce from eight threads: one reply, or a plain "ask again"; never two leases for one nonce."""
    nonce = box.nonce()
    request = box.device.renewal(box.license_.license_id, nonce)
    barrier = threading.Barrier(8)
    replies: list[bytes] = []

    def run() -> None:
        barrier.wait()
        replies.append(box.world.renewal.renew(request, now=box.world.now))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(replies) == 8
    assert len(set(replies)) == 1
    assert count(box.world, SpentNonce) == 1
