"""Renewal: what the TPM shows, and what follows where its state was put back."""

from __future__ import annotations

import dataclasses

import pytest

from sealwright_licensing.operations.devices import resume_device, retire_device
from sealwright_licensing.records import Decision, DeviceStatus, TickLedger
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.wire.messages import Purpose
from sealwright_testing.denials import denied
from sealwright_testing.enrolled_device import DAY, EnrolledDevice
from sealwright_testing.evidence_factory import NOW
from sealwright_testing.license_world import OPERATOR
from sealwright_testing.software_device import SoftwareDevice


def test_a_quote_over_other_pcrs_is_denied(box: EnrolledDevice) -> None:
    """PCR 16 and 23 can be reset by anybody; a quote over them, relabelled, passed elsewhere."""
    nonce = box.nonce()
    bound = box.device.bound(nonce=nonce, license_id=box.license_.license_id, purpose=Purpose.RENEW)
    values = {int(pcr): bytes.fromhex(value) for pcr, value in box.device.evidence(bound).pcrs.items()}
    chosen = [*range(8), 9, 11, 12, 13, 16, 23]
    quote = box.device.ak.quote(values, extra=bound, clock=box.device.clock, selection=chosen)
    denied(RejectionCode.PCR_SELECTION_MISMATCH, lambda: box.ask(nonce, quote=quote))


def test_another_ak_is_denied(box: EnrolledDevice) -> None:
    box.device.box.ak = dataclasses.replace(box.world.device(1).ak)
    denied(RejectionCode.SIGNATURE_INVALID, box.ask)


def test_other_counters_than_the_enrolled_are_denied(box: EnrolledDevice) -> None:
    """A second set of counters, counted from one again."""
    nonce = box.nonce()
    bound = box.device.bound(nonce=nonce, license_id=box.license_.license_id, purpose=Purpose.RENEW)
    other = box.device.ak.nv_certify(1, index=0x01C10203, extra=bound, clock=box.device.clock)
    denied(RejectionCode.COUNTER_INVALID, lambda: box.ask(nonce, lease_counter=other))


def test_a_reset_may_lose_a_little_clock_which_is_charged(box: EnrolledDevice) -> None:
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
def test_a_tpm_state_put_back_is_denied_and_held_until_an_operator_acts(box: EnrolledDevice, what: str) -> None:
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
    code = RejectionCode.DEVICE_CLONED if what == "ticks" else RejectionCode.ROLLED_BACK
    denied(code, lambda: box.ask(box.nonce()))
    resume_device(box.world.store, OPERATOR, box.device.device_id, history=1, now=NOW)
    assert box.ask(box.nonce())


def put_back(box: EnrolledDevice, good: SoftwareDevice) -> None:
    """The TPM shows an older state again: everything but the lease counter, which had not moved since."""
    box.device.clock, box.device.ticks = good.clock, good.ticks


def test_nothing_is_gained_by_a_state_put_back(box: EnrolledDevice) -> None:
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
    resume_device(box.world.store, OPERATOR, box.device.device_id, now=NOW)
    box.pass_time(DAY)
    box.ask(box.nonce())
    stored = box.stored()
    assert stored.charged_ticks + old.ticks - first == granted - first
    box.device.ticks = old.ticks + budget - (granted - first)
    denied(RejectionCode.BUDGET_EXHAUSTED, lambda: box.ask(box.nonce()))


def test_ticks_behind_the_end_of_the_lease_are_not_forgiven_either(box: EnrolledDevice) -> None:
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
    retire_device(box.world.store, OPERATOR, box.device.device_id, now=NOW)
    with box.world.store.read() as transaction:
        (ledger,) = transaction.find(TickLedger)
    assert ledger.charged_ticks == proved - old.ticks + 900 - old.ticks


def test_what_is_put_back_again_is_seen_again(box: EnrolledDevice) -> None:
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
    resume_device(box.world.store, OPERATOR, box.device.device_id, now=NOW)
    put_back(box, oldest)
    denied(RejectionCode.ROLLED_BACK, lambda: box.ask(box.nonce()))
    assert box.stored().status is DeviceStatus.HELD
    assert box.stored().charged_ticks == 2 * granted - old.ticks - oldest.ticks


def test_a_lease_counter_put_back_is_not_resumed(box: EnrolledDevice) -> None:
    """Leases for the numbers above are in the box's hands: counting up to them would revive them."""
    for _ in range(3):
        box.pass_time(DAY)
        box.renew()
    box.device.lease_number = 2
    for _ in range(2):
        denied(RejectionCode.ROLLED_BACK, lambda: box.ask(box.nonce()))
        resume_device(box.world.store, OPERATOR, box.device.device_id, now=NOW)
    assert box.stored().lease_number == 3


def test_a_forged_roll_back_holds_nobody(box: EnrolledDevice) -> None:
    """Only what the enrolled AK signed may take a device out of service."""
    forger = box.world.device(1)
    box.pass_time(DAY)
    nonce = box.nonce()
    bound = box.device.bound(nonce=nonce, license_id=box.license_.license_id, purpose=Purpose.RENEW)
    evidence = forger.evidence(bound, ticks=0, lease_number=0)
    request = box.device.renewal(box.license_.license_id, nonce).model_copy(update={"evidence": evidence})
    denied(RejectionCode.SIGNATURE_INVALID, lambda: box.world.renewal.renew(request, now=box.world.now))
    assert box.stored().status is DeviceStatus.LIVE


def test_strangers_write_nothing_into_a_devices_journal(box: EnrolledDevice) -> None:
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
