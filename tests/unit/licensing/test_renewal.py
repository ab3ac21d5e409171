"""Renewal: nonces, repetition, clock rules, rights; each denial by its code."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import pytest

from sealwright_licensing.baselines import pcrs_json
from sealwright_licensing.grants import KEPT_RECORDS, MOST_RECORDS
from sealwright_licensing.nonces import LIFETIME_S
from sealwright_licensing.records import (
    Decision,
    Device,
    DeviceCertificateRecord,
    DeviceStatus,
    LeaseRecord,
    License,
    LicenseStatus,
    NextNonce,
    RenewalReply,
    SpentNonce,
    TickLedger,
)
from sealwright_licensing.renewal import MOST_OPEN_REPLIES
from sealwright_licensing.revocation import resume_device, retire_device, set_license_status, withdraw_release
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.wire.lease import Lease, verify_lease
from sealwright_policies.wire.messages import NonceRequest, Purpose
from sealwright_testing.evidence_factory import boot_events, quoted_values, userspace_events
from sealwright_testing.license_world import LicenseWorld, grant, synthetic_box
from sealwright_testing.software_device import SoftwareDevice

DAY = 86_400
R = TypeVar("R", LeaseRecord, DeviceCertificateRecord)


@dataclass
class Enrolled:
    """A device under a licence, and its last lease."""

    world: LicenseWorld
    license_: License
    device: SoftwareDevice
    lease: Lease

    def nonce(self) -> bytes:
        """A stateless nonce."""
        request = NonceRequest(device_id=self.device.device_id)
        return bytes(self.world.renewal.nonce(request, now=self.world.now).nonce)

    def pass_time(self, seconds: int, *, resets: int = 0) -> None:
        """Time passes for the service and for the TPM."""
        self.world.now += seconds
        self.device.pass_time(seconds, resets=resets)

    def ask(self, nonce: bytes | None = None, **changes: object) -> bytes:
        """Renew; with the last lease's nonce if none is given."""
        chosen = self.lease.next_nonce if nonce is None else nonce
        request = self.device.renewal(self.license_.license_id, chosen, **changes)
        return self.world.renewal.renew(request, now=self.world.now)

    def renew(self) -> Lease:
        """Renew, store, increment: as the box does."""
        self.lease = verify_lease(grant(self.ask()).leases[0], self.world.service)
        self.device.increment()
        return self.lease

    def stored(self) -> Device:
        """The device's record."""
        with self.world.store.read() as transaction:
            found = transaction.get(Device, self.device.device_id)
        assert found is not None
        return found


@pytest.fixture
def box(world: LicenseWorld) -> Enrolled:
    license_, (code,) = world.issue()
    device = world.device()
    lease = verify_lease(world.enroll(device, code).leases[0], world.service)
    return Enrolled(world, license_, device, lease)


def denied(code: RejectionCode, call: Callable[[], object]) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        call()
    assert caught.value.code is code, caught.value
    return caught.value


def count(world: LicenseWorld, kind: type[object]) -> int:
    with world.store.read() as transaction:
        return transaction.count(kind)


# --- the honest way ---------------------------------------------------------------------------------------------------


def test_a_renewal_is_for_n_plus_one_and_from_the_new_clock(box: Enrolled) -> None:
    box.pass_time(2 * DAY, resets=3)
    lease = box.renew()
    assert lease.number == 2
    assert lease.clock_end_ms == box.device.clock.clock_ms + box.license_.lease_s * 1000
    assert lease.max_reset_count == box.device.clock.reset_count + 120
    assert len(lease.next_nonce) == 32
    box.pass_time(DAY)
    assert box.renew().number == 3


def update(box: Enrolled) -> tuple[str, str]:
    """Boot a newer release; returns the ids of both."""
    old = box.device.box.release.release_id
    updated = synthetic_box(product_version="1.3.0")
    box.world.import_release(updated)
    box.device.box = dataclasses.replace(updated, ak=box.device.ak)
    box.pass_time(DAY, resets=1)
    return old, updated.release.release_id


def leases(box: Enrolled, reply: bytes) -> list[Lease]:
    return [verify_lease(token, box.world.service) for token in grant(reply).leases]


def test_shares_come_with_a_release_that_is_new_to_the_device_only(box: Enrolled) -> None:
    """After an OS update the box attests the new release, gets its shares, and keeps a lease for the old one."""
    assert grant(box.ask()).shares == []
    box.device.increment()
    old, new = update(box)
    reply = box.ask(box.nonce())
    assert [lease.release_id for lease in leases(box, reply)] == [new, old]
    assert {lease.number for lease in leases(box, reply)} == {3}
    assert len(grant(reply).shares) == 1
    ways = len(box.device.box.release.manifest.measurements.boot_applications)
    assert len(grant(reply).release_approvals) == 2 * ways


def test_shares_are_given_again_until_the_next_number_is_proved(box: Enrolled) -> None:
    """The reply with a new release's shares was lost, and the box asks with another nonce; then it has counted on."""
    update(box)
    for _ in range(2):
        assert len(grant(box.ask(box.nonce())).shares) == 1
    box.device.increment()
    assert grant(box.ask(box.nonce())).shares == []


def test_an_older_release_is_leased_for_the_present_firmware(box: Enrolled) -> None:
    """Firmware was updated and approved: no lease may open under the one before, whatever release it is for."""
    box.device.increment()
    old, new = update(box)
    before = leases(box, box.ask(box.nonce()))
    box.device.increment()
    events = boot_events(box.device.box.uki, box.device.box.keys, option_roms=3)
    pinned = quoted_values(events, userspace_events())
    with box.world.store.write() as transaction:
        transaction.put(
            dataclasses.replace(box.stored(), pinned_pcrs=pcrs_json({pcr: pinned[pcr] for pcr in (0, 2, 3)}))
        )
    box.pass_time(DAY, resets=1)
    now = leases(box, box.ask(box.nonce(), events=events))
    assert [lease.release_id for lease in now] == [new, old]
    assert before[1].unseal_pcrs["2"] != pinned[2].hex()
    for lease in now:
        assert (lease.unseal_pcrs["0"], lease.unseal_pcrs["2"]) == (pinned[0].hex(), pinned[2].hex())
    assert now[1].unseal_pcrs["4"] == before[1].unseal_pcrs["4"]


def test_an_older_release_that_is_withdrawn_is_leased_no_more(box: Enrolled) -> None:
    """Nor is a kept reply with a lease for it given again; the box asks anew."""
    old, new = update(box)
    nonce = box.nonce()
    box.ask(nonce)
    withdraw_release(box.world.store, old)
    denied(RejectionCode.NONCE_INVALID, lambda: box.ask(nonce))
    assert [lease.release_id for lease in leases(box, box.ask(box.nonce()))] == [new]


def test_an_older_release_withdrawn_while_the_grant_is_made_is_leased_no_more(box: Enrolled) -> None:
    old, new = update(box)
    box.ask(box.nonce())
    box.world.interrupt(lambda: withdraw_release(box.world.store, old))
    assert [lease.release_id for lease in leases(box, box.ask(box.nonce()))] == [new]


def test_a_repeated_request_gets_the_same_bytes_until_the_next_number_is_proved(box: Enrolled) -> None:
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


def test_a_stateless_nonce_is_repeated_past_its_time_too(box: Enrolled) -> None:
    nonce = box.nonce()
    first = box.ask(nonce)
    box.pass_time(LIFETIME_S + 1)
    assert box.ask(nonce) == first


def test_a_renewal_after_the_lease_has_ended_works_while_the_licence_lasts(box: Enrolled) -> None:
    box.pass_time(60 * DAY)
    assert box.renew().expires_at == box.world.now + box.license_.lease_s


# --- nonces -----------------------------------------------------------------------------------------------------------


def test_nonces_for_unknown_devices_are_denied(world: LicenseWorld) -> None:
    denied(RejectionCode.DEVICE_UNKNOWN, lambda: world.renewal.nonce(NonceRequest(device_id="a" * 52), now=world.now))


def test_asking_for_nonces_stores_nothing(box: Enrolled) -> None:
    """Nobody fills the database by asking."""
    for _ in range(20):
        box.nonce()
    assert count(box.world, SpentNonce) == 0


def test_an_old_nonce_is_denied(box: Enrolled) -> None:
    nonce = box.nonce()
    box.pass_time(LIFETIME_S + 1)
    denied(RejectionCode.NONCE_INVALID, lambda: box.ask(nonce))


def test_a_made_up_nonce_is_denied(box: Enrolled) -> None:
    denied(RejectionCode.NONCE_INVALID, lambda: box.ask(bytes(32)))


def test_a_nonce_of_another_device_is_denied(box: Enrolled) -> None:
    _, (code,) = box.world.issue()
    other = box.world.device(1)
    box.world.enroll(other, code)
    nonce = bytes(box.world.renewal.nonce(NonceRequest(device_id=other.device_id), now=box.world.now).nonce)
    denied(RejectionCode.NONCE_INVALID, lambda: box.ask(nonce))


def test_a_leases_nonce_proves_that_leases_number_only(box: Enrolled) -> None:
    """The box incremented without a new lease: its old lease's nonce is for a number that is gone."""
    box.device.increment()
    denied(RejectionCode.NONCE_INVALID, lambda: box.ask(box.lease.next_nonce))
    assert box.ask(box.nonce())


def test_a_replayed_message_is_denied_and_holds_nobody(box: Enrolled) -> None:
    """A recorded request, sent again after the box went on: spent nonce, no verdict about the TPM."""
    nonce = box.nonce()
    recorded = box.device.renewal(box.license_.license_id, nonce)
    box.lease = verify_lease(grant(box.world.renewal.renew(recorded, now=box.world.now)).leases[0], box.world.service)
    box.device.increment()
    box.pass_time(10)
    box.renew()
    denied(RejectionCode.NONCE_INVALID, lambda: box.world.renewal.renew(recorded, now=box.world.now))
    assert box.stored().status is DeviceStatus.LIVE


def test_evidence_for_another_nonce_is_denied(box: Enrolled) -> None:
    """Replayed proof under a fresh nonce."""
    old = box.device.renewal(box.license_.license_id, box.nonce())
    replayed = old.model_copy(update={"nonce": box.nonce()})
    denied(RejectionCode.QUALIFYING_DATA_MISMATCH, lambda: box.world.renewal.renew(replayed, now=box.world.now))


def test_enrolment_evidence_does_not_renew(box: Enrolled) -> None:
    """The purpose is part of what the TPM signs."""
    nonce = box.nonce()
    bound = box.device.bound(nonce=nonce, license_id=box.license_.license_id, purpose=Purpose.ENROLL)
    denied(RejectionCode.QUALIFYING_DATA_MISMATCH, lambda: box.ask(nonce, extra=bound))


def test_stored_replies_are_bounded(box: Enrolled) -> None:
    for _ in range(MOST_OPEN_REPLIES + 3):
        box.ask(box.nonce())
    assert count(box.world, RenewalReply) <= MOST_OPEN_REPLIES
    assert count(box.world, NextNonce) <= MOST_OPEN_REPLIES + 1


def test_a_box_that_never_stops_renewing_fills_no_disk(box: Enrolled) -> None:
    """Its oldest leases and certificates go, the newest stay."""
    (lease,), (certificate,) = records(box, LeaseRecord), records(box, DeviceCertificateRecord)
    with box.world.store.write() as transaction:
        for number in range(MOST_RECORDS - 1):
            made = box.world.now - number
            transaction.add(dataclasses.replace(lease, lease_id=f"older-{number}", issued_at=made))
            transaction.add(dataclasses.replace(certificate, serial=f"older-{number}", issued_at=made))
    box.pass_time(1)
    box.ask()
    for kept in (records(box, LeaseRecord), records(box, DeviceCertificateRecord)):
        assert len(kept) <= KEPT_RECORDS + 1
        assert max(one.issued_at for one in kept) == box.world.now


def records(box: Enrolled, kind: type[R]) -> list[R]:
    with box.world.store.read() as transaction:
        return transaction.find(kind, device_id=box.device.device_id)


# --- what the TPM shows -----------------------------------------------------------------------------------------------


def test_a_quote_over_other_pcrs_is_denied(box: Enrolled) -> None:
    """PCR 16 and 23 can be reset by anybody; a quote over them, relabelled, passed elsewhere."""
    nonce = box.nonce()
    bound = box.device.bound(nonce=nonce, license_id=box.license_.license_id, purpose=Purpose.RENEW)
    values = {int(pcr): bytes.fromhex(value) for pcr, value in box.device.evidence(bound).pcrs.items()}
    chosen = [*range(8), 9, 11, 12, 13, 16, 23]
    quote = box.device.ak.quote(values, extra=bound, clock=box.device.clock, selection=chosen)
    denied(RejectionCode.PCR_SELECTION_MISMATCH, lambda: box.ask(nonce, quote=quote))


def test_another_ak_is_denied(box: Enrolled) -> None:
    box.device.box.ak = dataclasses.replace(box.world.device(1).ak)
    denied(RejectionCode.SIGNATURE_INVALID, box.ask)


def test_other_counters_than_the_enrolled_are_denied(box: Enrolled) -> None:
    """A second set of counters, counted from one again."""
    nonce = box.nonce()
    bound = box.device.bound(nonce=nonce, license_id=box.license_.license_id, purpose=Purpose.RENEW)
    other = box.device.ak.nv_certify(1, index=0x01C10203, extra=bound, clock=box.device.clock)
    denied(RejectionCode.COUNTER_INVALID, lambda: box.ask(nonce, lease_counter=other))


def test_a_clock_that_went_back_is_denied_but_holds_nobody(box: Enrolled) -> None:
    box.pass_time(DAY)
    box.renew()
    back = dataclasses.replace(box.device.clock, clock_ms=box.device.clock.clock_ms - 1)
    denied(RejectionCode.CLOCK_WENT_BACK, lambda: box.ask(clock=back))
    assert box.stored().status is DeviceStatus.LIVE


def test_a_reset_may_lose_a_little_clock_which_is_charged(box: Enrolled) -> None:
    box.pass_time(DAY)
    box.renew()
    clock = box.device.clock
    box.device.clock = dataclasses.replace(
        clock, clock_ms=clock.clock_ms - 61 * 60_000, reset_count=clock.reset_count + 1
    )
    box.renew()
    assert box.stored().charged_ticks == 2
    clock = box.device.clock
    box.device.clock = dataclasses.replace(
        clock, clock_ms=clock.clock_ms - 3 * 3_600_000, reset_count=clock.reset_count + 1
    )
    denied(RejectionCode.CLOCK_WENT_BACK, box.ask)


@pytest.mark.parametrize("what", ["reset_count", "ticks", "lease_number"])
def test_a_tpm_state_put_back_is_denied_and_held_until_an_operator_acts(box: Enrolled, what: str) -> None:
    box.pass_time(DAY, resets=2)
    box.renew()
    box.pass_time(DAY)
    good = dataclasses.replace(box.device, clock=box.device.clock)
    if what == "reset_count":
        box.device.clock = dataclasses.replace(box.device.clock, reset_count=12)
    elif what == "ticks":
        box.device.ticks = 6
    else:
        box.renew()
        good.lease_number = box.device.lease_number
        box.device.lease_number = 1
    nonce = box.nonce()
    denied(RejectionCode.ROLLED_BACK, lambda: box.ask(nonce))
    assert box.stored().status is DeviceStatus.HELD
    box.device = good
    denied(RejectionCode.ROLLED_BACK, lambda: box.ask(box.nonce()))
    resume_device(box.world.store, box.device.device_id)
    assert box.ask(box.nonce())


def put_back(box: Enrolled, good: SoftwareDevice) -> None:
    """The TPM shows an older state again: everything but the lease counter, which had not moved since."""
    box.device.clock, box.device.ticks = good.clock, good.ticks


def test_nothing_is_gained_by_a_state_put_back(box: Enrolled) -> None:
    """The TPM can run its whole lease again, so all of it is charged; the budget ends as much sooner."""
    budget = box.license_.tick_budget
    box.pass_time(DAY, resets=1)
    box.renew()
    old = dataclasses.replace(box.device)
    box.pass_time(10 * DAY, resets=1)
    box.ask()
    granted, first = box.stored().granted_ticks, box.stored().first_ticks
    put_back(box, old)
    denied(RejectionCode.ROLLED_BACK, lambda: box.ask(box.nonce()))
    resume_device(box.world.store, box.device.device_id)
    box.pass_time(DAY)
    box.ask(box.nonce())
    stored = box.stored()
    assert stored.charged_ticks + old.ticks - first == granted - first
    box.device.ticks = old.ticks + budget - (granted - first)
    denied(RejectionCode.BUDGET_EXHAUSTED, lambda: box.ask(box.nonce()))


def test_ticks_behind_the_end_of_the_lease_are_not_forgiven_either(box: Enrolled) -> None:
    """The lease had ended and the box ticked on, renewed, and went back."""
    old = dataclasses.replace(box.device)
    box.pass_time(80 * DAY, resets=1)
    box.ask(box.nonce())
    with box.world.store.write() as transaction:
        transaction.put(dataclasses.replace(box.stored(), granted_ticks=900))
    proved = box.stored().ticks
    put_back(box, old)
    denied(RejectionCode.ROLLED_BACK, lambda: box.ask(box.nonce()))
    assert box.stored().charged_ticks == proved - old.ticks
    retire_device(box.world.store, box.device.device_id)
    with box.world.store.read() as transaction:
        (ledger,) = transaction.find(TickLedger)
    assert ledger.charged_ticks == proved - old.ticks + 900 - old.ticks


def test_what_is_put_back_again_is_seen_again(box: Enrolled) -> None:
    """The state shown when it was held is the baseline; charges come once for each time that it is put back."""
    oldest = dataclasses.replace(box.device)
    box.pass_time(DAY, resets=1)
    old = dataclasses.replace(box.device)
    box.pass_time(DAY, resets=1)
    box.ask()
    put_back(box, old)
    for _ in range(3):
        denied(RejectionCode.ROLLED_BACK, lambda: box.ask(box.nonce()))
    granted = box.stored().granted_ticks
    assert box.stored().charged_ticks == granted - old.ticks
    resume_device(box.world.store, box.device.device_id)
    put_back(box, oldest)
    denied(RejectionCode.ROLLED_BACK, lambda: box.ask(box.nonce()))
    assert box.stored().status is DeviceStatus.HELD
    assert box.stored().charged_ticks == 2 * granted - old.ticks - oldest.ticks


def test_a_lease_counter_put_back_is_not_resumed(box: Enrolled) -> None:
    """Leases for the numbers above are in the box's hands: counting up to them would revive them."""
    for _ in range(3):
        box.pass_time(DAY)
        box.renew()
    box.device.lease_number = 2
    for _ in range(2):
        denied(RejectionCode.ROLLED_BACK, lambda: box.ask(box.nonce()))
        resume_device(box.world.store, box.device.device_id)
    assert box.stored().lease_number == 3


def test_a_forged_roll_back_holds_nobody(box: Enrolled) -> None:
    """Only what the enrolled AK signed may take a device out of service."""
    forger = box.world.device(1)
    box.pass_time(DAY)
    nonce = box.nonce()
    bound = box.device.bound(nonce=nonce, license_id=box.license_.license_id, purpose=Purpose.RENEW)
    evidence = forger.evidence(bound, ticks=0, lease_number=0)
    request = box.device.renewal(box.license_.license_id, nonce).model_copy(update={"evidence": evidence})
    denied(RejectionCode.SIGNATURE_INVALID, lambda: box.world.renewal.renew(request, now=box.world.now))
    assert box.stored().status is DeviceStatus.LIVE


def test_strangers_write_nothing_into_a_devices_journal(box: Enrolled) -> None:
    """Its id and a nonce are to be had by everybody; its last decisions are kept in a bounded number."""
    with box.world.store.read() as transaction:
        before = transaction.count(Decision, device_id=box.device.device_id)
    stranger = box.world.device()
    stranger.device_id = box.device.device_id
    request = stranger.renewal(box.license_.license_id, box.nonce())
    with pytest.raises(VerificationError):
        box.world.renewal.renew(request, now=box.world.now)
    with pytest.raises(VerificationError):
        box.ask(bytes(32))
    with box.world.store.read() as transaction:
        assert transaction.count(Decision, device_id=box.device.device_id) == before


def test_changed_firmware_is_denied(box: Enrolled) -> None:
    """PCR 0, 2 and 3 are pinned from the first accepted quote."""
    events = boot_events(box.device.box.uki, box.device.box.keys, option_roms=3)
    denied(RejectionCode.FIRMWARE_CHANGED, lambda: box.ask(events=events))


# --- rights -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code"),
    [(LicenseStatus.REVOKED, RejectionCode.REVOKED), (LicenseStatus.SUSPENDED, RejectionCode.SUSPENDED)],
)
def test_a_licence_taken_away_is_denied(box: Enrolled, status: LicenseStatus, code: RejectionCode) -> None:
    """At the next contact, and for a stored reply as well."""
    nonce = box.nonce()
    box.ask(nonce)
    set_license_status(box.world.store, box.license_.license_id, status)
    denied(code, lambda: box.ask(nonce))
    denied(code, lambda: box.ask(box.nonce()))


def test_a_suspension_can_end(box: Enrolled) -> None:
    set_license_status(box.world.store, box.license_.license_id, LicenseStatus.SUSPENDED)
    set_license_status(box.world.store, box.license_.license_id, LicenseStatus.ACTIVE)
    assert box.renew().number == 2


def test_an_ended_licence_is_denied(box: Enrolled) -> None:
    box.pass_time(366 * DAY)
    denied(RejectionCode.EXPIRED, lambda: box.ask(box.nonce()))


def test_another_licence_than_the_devices_is_denied(box: Enrolled) -> None:
    other, _ = box.world.issue()
    request = box.device.renewal(other.license_id, box.nonce())
    denied(RejectionCode.LICENSE_UNKNOWN, lambda: box.world.renewal.renew(request, now=box.world.now))


def test_an_unknown_release_is_denied(box: Enrolled) -> None:
    request = box.device.renewal(box.license_.license_id, box.nonce()).model_copy(update={"release_id": "0" * 64})
    denied(RejectionCode.RELEASE_UNKNOWN, lambda: box.world.renewal.renew(request, now=box.world.now))


def test_a_retired_device_is_unknown(box: Enrolled) -> None:
    retire_device(box.world.store, box.device.device_id)
    denied(RejectionCode.DEVICE_UNKNOWN, box.ask)


def test_a_tier_taken_from_the_licence_is_enforced(box: Enrolled) -> None:
    with box.world.store.write() as transaction:
        transaction.put(dataclasses.replace(box.license_, tiers="discrete"))
    denied(RejectionCode.TIER_NOT_ALLOWED, box.ask)


def test_running_time_is_a_budget(box: Enrolled) -> None:
    box.device.ticks += box.license_.tick_budget - 1
    lease = box.renew()
    assert lease.max_ticks == 5 + box.license_.tick_budget
    assert [warning.code for warning in lease.warnings] == ["BUDGET_LOW"]
    box.device.ticks += 1
    denied(RejectionCode.BUDGET_EXHAUSTED, box.ask)


def test_resets_beyond_plan_are_reported(box: Enrolled) -> None:
    box.pass_time(DAY, resets=51)
    assert [warning.code for warning in box.renew().warnings] == ["RESETS_BEYOND_PLAN"]


def test_eight_renewals_at_once_are_decided_one_after_the_other(box: Enrolled) -> None:
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
