"""Denials before anybody has proven anything: entries of the log like all, and so many a day."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from sealwright_licensing.decision_limit import DecisionLimit
from sealwright_licensing.enrollment_opening import PENDING_S
from sealwright_licensing.journal import KEPT_PER_DEVICE, MOST_PER_DEVICE, last_decision
from sealwright_licensing.leases import DAY_S
from sealwright_licensing.metering import MeteringService
from sealwright_licensing.nonces import StatelessNonces
from sealwright_licensing.operations.licenses import suspend_license
from sealwright_licensing.records import Decision, LogQueueItem
from sealwright_policies.errors import FormatError, RejectionCode
from sealwright_policies.tcg.eventlog import EventType
from sealwright_policies.transparency.entries import DecisionEntry, parse_entry
from sealwright_policies.wire.air_gap import qr_text, request_file
from sealwright_policies.wire.messages import Purpose, RenewalRequest
from sealwright_testing.console_desk import ConsoleVisitor
from sealwright_testing.denials import denied
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.event_logs import LoggedEvent
from sealwright_testing.license_world import OPERATOR, LicenseWorld
from sealwright_testing.maker_ca import MakerCa
from sealwright_testing.metering import ChainWriter, make_report
from sealwright_testing.software_device import SoftwareDevice

WRONG = "00000-00000-00000-00000"


def entries(world: LicenseWorld) -> list[DecisionEntry]:
    """Decisions that wait for their numbers."""
    with world.store.read() as transaction:
        found = transaction.find_from(LogQueueItem, "position", 0, limit=10_000)
    parsed = [parse_entry(one.leaf) for one in found]
    return [one for one in parsed if isinstance(one, DecisionEntry)]


def recorded(world: LicenseWorld) -> list[Decision]:
    """Of nobody, newest first."""
    with world.store.read() as transaction:
        return transaction.find(Decision, newest_first="decided_at", device_id="")


def ask(world: LicenseWorld, code: RejectionCode, used: str = WRONG, device: SoftwareDevice | None = None) -> None:
    denied(code, lambda: world.enrollment.challenge((device or world.device()).request(used), now=world.now))


def limited(world: LicenseWorld, per_day: int) -> None:
    world.enrollment._decisions = DecisionLimit(per_day)


def test_each_denied_challenge_is_an_entry(world: LicenseWorld) -> None:
    """Whatever is wrong: code, chain, keys, licence; of the licence whose code it was."""
    license_, (code,) = world.issue()
    device = world.device()
    ask(world, RejectionCode.ACTIVATION_CODE_INVALID)
    ask(world, RejectionCode.EK_CHAIN_INVALID, code, SoftwareDevice(world.box, MakerCa("nobody's"), 7))
    request = device.request(code)
    keys = request.model_copy(update={"ak_public": request.srk_public})
    denied(RejectionCode.AK_ATTRIBUTES, lambda: world.enrollment.challenge(keys, now=world.now))
    suspend_license(world.store, OPERATOR, license_.license_id, now=world.now)
    ask(world, RejectionCode.SUSPENDED, code)

    assert [(one.code, one.license_id) for one in entries(world)] == [
        ("ACTIVATION_CODE_INVALID", ""),
        ("EK_CHAIN_INVALID", license_.license_id),
        ("AK_ATTRIBUTES", license_.license_id),
        ("SUSPENDED", license_.license_id),
    ]
    assert {(one.purpose, one.device_id) for one in entries(world)} == {("enroll", "")}
    assert any(device.device_id in one.words for one in recorded(world))


def test_so_is_a_proof_of_somebody_who_does_not_know_the_secret(world: LicenseWorld) -> None:
    license_, (code,) = world.issue()
    device = world.device()
    challenge = world.enrollment.challenge(device.request(code), now=world.now)
    proof = device.proof(challenge)
    wrong = proof.model_copy(update={"secret": bytes(32)})
    denied(RejectionCode.CREDENTIAL_SECRET_MISMATCH, lambda: world.enrollment.prove(wrong, now=world.now))
    late = world.now + PENDING_S + 1
    denied(RejectionCode.ENROLLMENT_EXPIRED, lambda: world.enrollment.prove(proof, now=late))

    assert [(one.code, one.license_id, one.device_id) for one in entries(world)] == [
        ("CREDENTIAL_SECRET_MISMATCH", license_.license_id, ""),
        ("ENROLLMENT_EXPIRED", license_.license_id, ""),
    ]


def test_a_flood_is_recorded_up_to_the_bound_and_then_by_number(world: LicenseWorld) -> None:
    limited(world, 3)
    for _ in range(10):
        ask(world, RejectionCode.ACTIVATION_CODE_INVALID)
    assert len(entries(world)) == len(recorded(world)) == 3
    assert not any("before this one" in one.words for one in recorded(world))
    world.now += DAY_S // 3
    for _ in range(5):
        ask(world, RejectionCode.ACTIVATION_CODE_INVALID)

    assert len(entries(world)) == 4
    assert "\n7 denials before this one were not recorded." in recorded(world)[0].words


def test_a_flood_takes_nothing_from_a_device(world: LicenseWorld) -> None:
    """Neither its decisions of the day nor its place in the journal, though strangers name it."""
    box = EnrolledDevice.enroll(world)
    with world.store.read() as transaction:
        before = last_decision(transaction, box.device.device_id)
    limited(world, 1000)
    world.renewal._decisions = world.enrollment._decisions
    for _ in range(MOST_PER_DEVICE + 20):
        world.now += 1
        ask(world, RejectionCode.ACTIVATION_CODE_INVALID, device=box.device)

    with world.store.read() as transaction:
        assert last_decision(transaction, box.device.device_id) == before
    assert KEPT_PER_DEVICE <= len(recorded(world)) <= MOST_PER_DEVICE
    limited(world, 2)
    world.renewal._decisions = world.enrollment._decisions
    for _ in range(5):
        ask(world, RejectionCode.ACTIVATION_CODE_INVALID, device=box.device)
    box.ask(box.nonce())


def test_what_cannot_be_read_is_no_decision(world: LicenseWorld) -> None:
    request = world.device().request(WRONG).model_copy(update={"ek_public": b"nothing"})
    with pytest.raises(FormatError):
        world.enrollment.challenge(request, now=world.now)
    assert entries(world) == []


def test_a_challenge_by_file_that_is_denied_is_an_entry(world: LicenseWorld) -> None:
    denied(
        RejectionCode.ACTIVATION_CODE_INVALID,
        lambda: world.enrollment.challenge(world.device().request(WRONG), now=world.now, by_file=True),
    )
    assert [one.code for one in entries(world)] == ["ACTIVATION_CODE_INVALID"]


def test_the_console_shows_it_without_a_box(world: LicenseWorld) -> None:
    ask(world, RejectionCode.ACTIVATION_CODE_INVALID)
    visitor = ConsoleVisitor.open(world)
    page = visitor.page("/decisions")
    assert 'href="/devices/"' not in page
    assert 'href="/licenses/"' not in page
    (decision,) = recorded(world)
    assert "claims to be of device" in visitor.page(f"/decisions/{decision.decision_id}")


# --- renewals and reports ---------------------------------------------------------------------------------------------


def codes(world: LicenseWorld, purpose: str) -> list[str]:
    """Of denials under no device; all others are granted or of a device."""
    return [one.code for one in entries(world) if (one.purpose, one.device_id, one.license_id) == (purpose, "", "")]


def changed(world: LicenseWorld, request: RenewalRequest) -> dict[RejectionCode, RenewalRequest]:
    """A request in somebody's name, wrong in each way that is seen before a quote verifies."""
    foreign = SoftwareDevice(world.box, MakerCa("nobody's"), 7)
    return {
        RejectionCode.DEVICE_UNKNOWN: request.model_copy(update={"device_id": "b" * 52}),
        RejectionCode.LICENSE_UNKNOWN: request.model_copy(update={"license_id": "another"}),
        RejectionCode.RELEASE_UNKNOWN: request.model_copy(update={"release_id": "00" * 32}),
        RejectionCode.NONCE_INVALID: request.model_copy(update={"nonce": bytes(32)}),
        RejectionCode.SIGNATURE_INVALID: foreign.renewal(request.license_id, request.nonce).model_copy(
            update={"device_id": request.device_id}
        ),
    }


def test_each_renewal_denied_before_a_quote_verifies_is_an_entry(world: LicenseWorld) -> None:
    """Under no device, and no licence: whoever sends it only names them."""
    box = EnrolledDevice.enroll(world)
    wrong = changed(world, box.device.renewal(box.license_.license_id, box.nonce()))
    for code, request in wrong.items():
        denied(code, partial(world.renewal.renew, request, now=world.now))

    assert codes(world, "renew") == [code.value for code in wrong]
    assert any(box.device.device_id in one.words for one in recorded(world))


def test_so_is_each_report(world: LicenseWorld) -> None:
    box = EnrolledDevice.enroll(world)
    nonces = StatelessNonces(world.keys.nonce)
    service = MeteringService(world.store, world.keys, nonces)
    license_id = box.license_.license_id
    receipts = [ChainWriter(device_id=box.device.device_id, license_id=license_id).next()]
    nonce = nonces.issue(box.device.device_id, Purpose.METERING, now=world.now)
    report = make_report(box.device, license_id, nonce, receipts)
    foreign = make_report(SoftwareDevice(world.box, MakerCa("nobody's"), 7), license_id, nonce, receipts)
    wrong: dict[RejectionCode, dict[str, Any]] = {
        RejectionCode.LICENSE_UNKNOWN: {"license_id": "another"},
        RejectionCode.RELEASE_UNKNOWN: {"release_id": "00" * 32},
        RejectionCode.NONCE_INVALID: {"nonce": bytes(32)},
        RejectionCode.SIGNATURE_INVALID: {"evidence": foreign.evidence},
        RejectionCode.METERING_CHAIN: {"receipts": report.receipts * 2},
    }
    for code, changes in wrong.items():
        denied(code, partial(service.report, report.model_copy(update=changes), now=world.now))

    assert codes(world, "metering") == [code.value for code in wrong]


def test_what_a_device_is_denied_for_asking_too_often_is_an_entry(world: LicenseWorld) -> None:
    box = EnrolledDevice.enroll(world)
    world.renewal._decisions = DecisionLimit(2)
    for _ in range(2):
        box.ask(box.nonce())
    for _ in range(5):
        denied(RejectionCode.RATE_LIMITED, lambda: box.ask(box.nonce()))

    assert codes(world, "renew") == ["RATE_LIMITED"] * 2, "within the bound of all strangers"


def test_what_an_operator_brings_is_recorded_beyond_the_bound(world: LicenseWorld) -> None:
    """Every file and code, of each kind, when strangers have used up the day."""
    limited(world, 1)
    world.renewal._decisions = world.enrollment._decisions
    box = EnrolledDevice.enroll(world)
    _, (code,) = world.issue()
    ask(world, RejectionCode.ACTIVATION_CODE_INVALID)
    request = box.device.renewal_by_file(box.license_.license_id, box.lease.next_nonce)
    for name, one in changed(world, request).items():
        denied(name, partial(world.air_gap.answer, request_file(one), now=world.now))
    events = [*world.box.boot_events(), LoggedEvent(1, EventType.EV_EFI_VARIABLE_BOOT, b"order")]
    unlike = box.device.renewal_by_file(box.license_.license_id, box.lease.next_nonce, events=events)
    denied(RejectionCode.LOGS_REQUIRED, partial(world.air_gap.answer, qr_text(unlike).encode(), now=world.now))
    asked = request_file(world.device(1).request(WRONG))
    denied(RejectionCode.ACTIVATION_CODE_INVALID, partial(world.air_gap.answer, asked, now=world.now))
    other = world.device(1)
    proof = other.proof(world.enrollment.challenge(other.request(code), now=world.now))
    proven = request_file(proof.model_copy(update={"secret": bytes(32)}))
    denied(RejectionCode.CREDENTIAL_SECRET_MISMATCH, partial(world.air_gap.answer, proven, now=world.now))

    assert codes(world, "renew") == [*(one.value for one in changed(world, request)), "LOGS_REQUIRED"]
    assert [one.code for one in entries(world) if one.purpose == "enroll" and one.code != "ok"] == [
        "ACTIVATION_CODE_INVALID", "ACTIVATION_CODE_INVALID", "CREDENTIAL_SECRET_MISMATCH",
    ]  # fmt: skip
