"""Files and QR codes at the service: what they are answered with, when a QR code is not enough, and in which order."""

from __future__ import annotations

import dataclasses
import zlib
from functools import partial
from typing import Any

import pytest

from sealwright_licensing import appraised_logs
from sealwright_licensing.enrollment_opening import PENDING_BY_FILE_S, PENDING_S
from sealwright_licensing.operations.devices import resume_device, retire_device
from sealwright_licensing.operations.licenses import revoke_license
from sealwright_licensing.records import AppraisedLogs, DeviceStatus, RenewalReply
from sealwright_policies.errors import OperationError, RejectionCode
from sealwright_policies.tcg.eventlog import EventType
from sealwright_policies.wire import air_gap
from sealwright_policies.wire.air_gap import ChallengeReply, qr_text, request_file, verify_reply
from sealwright_policies.wire.lease import Lease, verify_lease
from sealwright_policies.wire.messages import EnrollmentChallenge, RenewalRequest
from sealwright_testing.denials import denied
from sealwright_testing.enrolled_device import DAY, EnrolledDevice
from sealwright_testing.event_logs import LoggedEvent
from sealwright_testing.license_checks import count, pending, seats_taken
from sealwright_testing.license_world import OPERATOR, LicenseWorld
from sealwright_testing.software_device import SoftwareDevice


def made(box: EnrolledDevice, **changes: Any) -> RenewalRequest:
    """What the box asks with, by its last lease."""
    return box.device.renewal_by_file(box.license_.license_id, box.lease.next_nonce, **changes)


def by_file(world: LicenseWorld, request: RenewalRequest) -> str:
    return world.air_gap.answer(request_file(request), now=world.now).reply


def by_code(world: LicenseWorld, request: RenewalRequest) -> str:
    return world.air_gap.answer(qr_text(request).encode(), now=world.now).reply


def taken_up(box: EnrolledDevice, reply: str) -> Lease:
    """The box verifies, stores and increments."""
    read = verify_reply(reply, box.world.service)
    assert isinstance(read, air_gap.RenewalReply)
    assert (read.device_id, read.nonce) == (box.device.device_id, box.lease.next_nonce)
    box.lease = verify_lease(read.grant.leases[0], box.world.service)
    box.device.increment()
    return box.lease


# --- renewal ----------------------------------------------------------------------------------------------------------


def test_file_and_code_of_one_request_get_one_reply(box: EnrolledDevice) -> None:
    """Whichever comes first; the code right after the activation, whose logs the service has kept."""
    box.pass_time(DAY, resets=1)
    request = made(box)
    reply = by_code(box.world, request)
    assert by_file(box.world, request) == reply
    assert taken_up(box, reply).number == 2
    box.pass_time(DAY, resets=1)
    request = made(box)
    assert by_file(box.world, request) == by_code(box.world, request)


def test_an_answer_says_what_it_is_about(box: EnrolledDevice) -> None:
    answer = box.world.air_gap.answer(request_file(made(box)), now=box.world.now)
    assert (answer.kind, answer.device_id, answer.license_id) == (
        "renewal",
        box.device.device_id,
        box.license_.license_id,
    )


def test_a_changed_log_needs_the_file_once(box: EnrolledDevice) -> None:
    """The boot order is another: allowed, but the service has to see the log."""
    events = [*box.device.box.boot_events(), LoggedEvent(1, EventType.EV_EFI_VARIABLE_BOOT, b"order")]
    request = made(box, events=events)
    denied(RejectionCode.LOGS_REQUIRED, lambda: by_code(box.world, request))
    taken_up(box, by_file(box.world, request))
    assert taken_up(box, by_code(box.world, made(box, events=events))).number == 3
    denied(RejectionCode.LOGS_REQUIRED, lambda: by_code(box.world, made(box)))


def test_an_online_renewal_keeps_the_log_too(box: EnrolledDevice) -> None:
    events = [*box.device.box.boot_events(), LoggedEvent(1, EventType.EV_EFI_VARIABLE_BOOT, b"order")]
    box.lease = verify_lease(
        verify_reply(by_file(box.world, made(box)), box.world.service).grant.leases[0],  # type: ignore[union-attr]
        box.world.service,
    )
    box.device.increment()
    box.ask(box.nonce(), events=events)
    assert by_code(box.world, made(box, events=events))


def test_what_was_denied_is_not_kept(box: EnrolledDevice) -> None:
    events = [*box.device.box.boot_events(), LoggedEvent(12, EventType.EV_IPL, b"init=/bin/sh")]
    denied(RejectionCode.KERNEL_COMMAND_LINE, lambda: by_file(box.world, made(box, events=events)))
    denied(RejectionCode.LOGS_REQUIRED, lambda: by_code(box.world, made(box, events=events)))
    assert by_code(box.world, made(box))


def test_a_code_with_the_digest_of_the_good_log_and_another_quote_is_denied(box: EnrolledDevice) -> None:
    """The digest vouches for nothing: the quote has to be over what the kept logs lead to."""
    good = made(box)
    events = [*box.device.box.boot_events(), LoggedEvent(12, EventType.EV_IPL, b"init=/bin/sh")]
    lying = box.device.renewal(
        box.license_.license_id, box.lease.next_nonce, payload=good.evidence.payload, events=events
    )
    denied(RejectionCode.PCR_DIGEST_MISMATCH, lambda: by_code(box.world, lying))


def test_the_kept_log_is_judged_by_the_release_of_today(box: EnrolledDevice) -> None:
    """A log that was accepted is no ticket: a floor that moved since applies to a code as to a file."""
    with box.world.store.write() as transaction:
        transaction.put(dataclasses.replace(box.license_, version_floor="99"))
    denied(RejectionCode.VERSION_BELOW_FLOOR, lambda: by_code(box.world, made(box)))


def test_a_digest_changed_on_the_way_is_denied(box: EnrolledDevice) -> None:
    request = made(box)
    other = request.evidence.model_copy(update={"payload": bytes(32)})
    denied(RejectionCode.LOGS_REQUIRED, lambda: by_code(box.world, request.model_copy(update={"evidence": other})))
    denied(
        RejectionCode.QUALIFYING_DATA_MISMATCH,
        lambda: by_file(box.world, request.model_copy(update={"evidence": other})),
    )


def test_logs_that_are_too_long_are_not_kept(box: EnrolledDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the older ones go, which no quote is over any more."""
    monkeypatch.setattr(appraised_logs, "MOST_KEPT", 100)
    events = [*box.device.box.boot_events(), LoggedEvent(1, EventType.EV_EFI_VARIABLE_BOOT, b"order")]
    taken_up(box, by_file(box.world, made(box, events=events)))
    assert count(box.world, AppraisedLogs) == 0
    denied(RejectionCode.LOGS_REQUIRED, lambda: by_code(box.world, made(box, events=events)))


@pytest.mark.parametrize("stored", [b"damaged", zlib.compress(bytes((1 << 20) + 1))])
def test_a_damaged_stored_log_is_the_services_fault(box: EnrolledDevice, stored: bytes) -> None:
    """And does not swell without end."""
    with box.world.store.write() as transaction:
        kept = transaction.get(AppraisedLogs, box.device.device_id)
        assert kept is not None
        transaction.put(dataclasses.replace(kept, boot_log=stored))
    with pytest.raises(OperationError):
        by_code(box.world, made(box))


def test_a_device_that_is_gone_is_unknown(box: EnrolledDevice) -> None:
    request = made(box)
    stranger = request.model_copy(update={"device_id": "b" * 52})
    denied(RejectionCode.DEVICE_UNKNOWN, lambda: by_code(box.world, stranger))
    retire_device(box.world.store, OPERATOR, box.device.device_id, now=box.world.now)
    for answer in (by_code, by_file):
        denied(RejectionCode.DEVICE_UNKNOWN, partial(answer, box.world, request))


def test_a_request_is_answered_alike_until_the_next_number_is_proved(box: EnrolledDevice) -> None:
    request = made(box)
    reply = by_file(box.world, request)
    box.pass_time(20 * DAY)
    assert by_file(box.world, request) == reply
    taken_up(box, reply)
    assert by_file(box.world, request) == reply
    by_file(box.world, made(box))
    told = denied(RejectionCode.NONCE_INVALID, lambda: by_file(box.world, request))
    assert "make a new one" in str(told)
    assert box.stored().status is DeviceStatus.LIVE


# --- order ------------------------------------------------------------------------------------------------------------


def test_an_older_request_that_is_answered_later_holds_nobody(box: EnrolledDevice) -> None:
    """Two requests of one box, before and behind a restart, answered the wrong way round: one reply for both."""
    older = made(box)
    box.pass_time(DAY, resets=1)
    box.device.ticks += 20
    younger = made(box)
    reply = by_file(box.world, younger)
    assert by_file(box.world, older) == reply
    assert by_code(box.world, older) == reply
    assert box.stored().status is DeviceStatus.LIVE
    assert box.stored().clock_ms == box.device.clock.clock_ms
    assert taken_up(box, reply).number == 2


def test_online_the_same_evidence_is_asked_for_anew(box: EnrolledDevice) -> None:
    """It may have been overtaken; under a nonce from behind the younger one it comes from a TPM that was put back."""
    older, state = made(box), dataclasses.replace(box.device)
    box.pass_time(DAY, resets=1)
    by_file(box.world, made(box))
    denied(RejectionCode.NONCE_INVALID, lambda: box.world.renewal.renew(older, now=box.world.now))
    assert box.stored().status is DeviceStatus.LIVE
    box.device = state
    denied(RejectionCode.ROLLED_BACK, lambda: box.ask(box.nonce()))
    assert box.stored().status is DeviceStatus.HELD


def test_a_tpm_that_was_put_back_is_held_by_file_too(box: EnrolledDevice) -> None:
    """Under a nonce that nobody has answered, younger than what is held."""
    fresh = dataclasses.replace(box.device, clock=box.device.clock)
    box.pass_time(DAY, resets=2)
    taken_up(box, by_file(box.world, made(box)))
    box.device.clock = dataclasses.replace(box.device.clock, reset_count=fresh.clock.reset_count)
    denied(RejectionCode.ROLLED_BACK, lambda: by_file(box.world, made(box)))
    assert box.stored().status is DeviceStatus.HELD


def test_an_older_request_with_another_flaw_is_denied_for_it(box: EnrolledDevice) -> None:
    events = [*box.device.box.boot_events(), LoggedEvent(12, EventType.EV_IPL, b"init=/bin/sh")]
    older = made(box, events=events)
    box.pass_time(DAY, resets=1)
    by_file(box.world, made(box))
    denial = denied(RejectionCode.ROLLED_BACK, lambda: by_file(box.world, older))
    assert RejectionCode.KERNEL_COMMAND_LINE in {one["code"] for one in denial.details["mismatches"]}


@pytest.mark.parametrize("taken", ["revoked", "held"])
def test_an_older_request_gets_no_reply_when_the_right_is_gone(box: EnrolledDevice, taken: str) -> None:
    older = made(box)
    box.pass_time(DAY, resets=1)
    by_file(box.world, made(box))
    if taken == "revoked":
        revoke_license(box.world.store, OPERATOR, box.license_.license_id, now=box.world.now)
        denied(RejectionCode.REVOKED, lambda: by_file(box.world, older))
    else:
        with box.world.store.write() as transaction:
            transaction.put(dataclasses.replace(box.stored(), status=DeviceStatus.HELD, held_because="x"))
        denied(RejectionCode.ROLLED_BACK, lambda: by_file(box.world, older))
        resume_device(box.world.store, OPERATOR, box.device.device_id, now=box.world.now)
        assert by_file(box.world, older)


def test_requests_of_several_boxes_are_answered_in_any_order(world: LicenseWorld) -> None:
    boxes = []
    for number in range(3):
        license_, (code,) = world.issue()
        device = world.device(number)
        lease = verify_lease(world.enroll(device, code).leases[0], world.service)
        boxes.append(EnrolledDevice(world, license_, device, lease))
    requests = [made(box) for box in boxes]
    replies = {index: by_file(world, requests[index]) for index in (2, 0, 1)}
    for index, box in enumerate(boxes):
        assert taken_up(box, replies[index]).number == 2
    assert count(world, RenewalReply) == 3


# --- enrolment --------------------------------------------------------------------------------------------------------


def challenged(world: LicenseWorld, device: SoftwareDevice, code: str) -> tuple[str, EnrollmentChallenge]:
    """First round trip."""
    reply = world.air_gap.answer(request_file(device.request(code)), now=world.now).reply
    read = verify_reply(reply, world.service)
    assert isinstance(read, ChallengeReply)
    assert read.answers == air_gap.request_digest(device.request(code))
    return reply, read.challenge


def test_an_activation_by_file_takes_two_round_trips_and_may_take_two_weeks(world: LicenseWorld) -> None:
    _, (code,) = world.issue()
    device = world.device()
    reply, challenge = challenged(world, device, code)
    world.now += PENDING_BY_FILE_S
    proof = request_file(device.proof(challenge))
    granted = world.air_gap.answer(proof, now=world.now)
    assert granted.kind == "enrollment"
    read = verify_reply(granted.reply, world.service)
    assert isinstance(read, air_gap.EnrollmentReply)
    assert read.enrollment_id == challenge.enrollment_id
    assert world.air_gap.answer(proof, now=world.now).reply == granted.reply
    assert seats_taken(world) == 1
    assert pending(world) == 0
    # The nonce is used: another proof under it gets the same grant, and no second device.
    device.pass_time(60)
    assert world.air_gap.answer(request_file(device.proof(challenge)), now=world.now).reply == granted.reply
    assert reply != granted.reply


def test_a_challenge_by_file_ends_after_two_weeks(world: LicenseWorld) -> None:
    _, (code,) = world.issue()
    device = world.device()
    _, challenge = challenged(world, device, code)
    world.now += PENDING_BY_FILE_S + 1
    denied(
        RejectionCode.ENROLLMENT_EXPIRED,
        lambda: world.air_gap.answer(request_file(device.proof(challenge)), now=world.now),
    )
    assert challenged(world, device, code)[1] != challenge


def test_the_same_request_gets_the_same_challenge(world: LicenseWorld) -> None:
    """As often as it is brought: eight open ones are all that a code may have."""
    _, (code,) = world.issue()
    device = world.device()
    first, _ = challenged(world, device, code)
    for _ in range(10):
        world.now += DAY
        assert challenged(world, device, code)[0] == first
    assert pending(world) == 1


def test_a_challenge_online_is_another_and_ends_sooner(world: LicenseWorld) -> None:
    _, (code,) = world.issue()
    device = world.device()
    _, filed = challenged(world, device, code)
    online = world.enrollment.challenge(device.request(code), now=world.now)
    assert online.enrollment_id != filed.enrollment_id
    assert online.expires_at == world.now + PENDING_S
    world.enrollment.prove(device.proof(online), now=world.now)
    denied(
        RejectionCode.ENROLLMENT_EXPIRED,
        lambda: world.air_gap.answer(request_file(device.proof(filed)), now=world.now),
    )


def test_a_challenge_is_no_other_boxs(world: LicenseWorld) -> None:
    """Same code, other TPM: a challenge of its own, and the first that proves takes the code."""
    _, (code,) = world.issue()
    device, other = world.device(), world.device(1)
    _, mine = challenged(world, device, code)
    _, its = challenged(world, other, code)
    assert mine.nonce != its.nonce
    with pytest.raises(ValueError, match=r"TPM_RC_INTEGRITY|[Ee]ncrypt|[Dd]ecrypt"):
        other.open_credential(mine)
    world.air_gap.answer(request_file(device.proof(mine)), now=world.now)
    denied(
        RejectionCode.ENROLLMENT_EXPIRED,
        lambda: world.air_gap.answer(request_file(other.proof(its)), now=world.now),
    )
