"""Denials before anybody has proven anything: entries of the log like all, and so many a day."""

from __future__ import annotations

import pytest

from sealwright_licensing.decision_limit import DecisionLimit
from sealwright_licensing.enrollment import PENDING_S
from sealwright_licensing.journal import KEPT_PER_DEVICE, MOST_PER_DEVICE, last_decision
from sealwright_licensing.leases import DAY_S
from sealwright_licensing.operations.licenses import suspend_license
from sealwright_licensing.records import Decision, LogQueueItem
from sealwright_policies.errors import FormatError, RejectionCode
from sealwright_policies.transparency.entries import DecisionEntry, parse_entry
from sealwright_testing.console_desk import ConsoleVisitor
from sealwright_testing.denials import denied
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.license_world import OPERATOR, LicenseWorld
from sealwright_testing.maker_ca import MakerCa
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
