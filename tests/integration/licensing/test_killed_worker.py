"""A worker is killed at every boundary of every transaction: nothing is half issued, and the request asked again is
answered. On both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from sealwright_licensing.config import DEFAULT_DATABASE
from sealwright_licensing.operations.devices import retire_device
from sealwright_licensing.records import (
    ActivationCodeRecord,
    Decision,
    Device,
    DeviceCertificateRecord,
    DeviceRelease,
    EnrollmentReply,
    LeaseRecord,
    NextNonce,
    PendingEnrollment,
    RenewalReply,
    SpentNonce,
)
from sealwright_policies.wire.lease import verify_lease
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.license_world import OPERATOR, LicenseWorld, grant
from sealwright_testing.mortal_worker import Services, run_mortal

MOST_BOUNDARIES = 40
Records = dict[type[Any], set[Any]]


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LicenseWorld]:
    """A service on either database."""
    database = request.getfixturevalue("postgres_url") if request.param == "postgresql" else DEFAULT_DATABASE
    made = LicenseWorld.create(tmp_path / "service", database=database)
    yield made
    made.store.close()


def records(world: LicenseWorld) -> Records:
    """All that a decision writes."""
    kinds = (
        ActivationCodeRecord, Decision, Device, DeviceCertificateRecord, DeviceRelease, EnrollmentReply, LeaseRecord,
        NextNonce, PendingEnrollment, RenewalReply, SpentNonce,
    )  # fmt: skip
    with world.store.read() as transaction:
        return {kind: set(transaction.find(kind)) for kind in kinds}


def require_whole(world: LicenseWorld, before: Records, after: Records, reply: bytes) -> None:
    """What was issued is recorded, all of it, once, and nothing else is."""
    granted = grant(reply)
    leases = {verify_lease(token, world.service).lease_id: token for token in granted.leases}
    assert {one.lease_id for one in after[LeaseRecord] - before[LeaseRecord]} == set(leases)
    (certificate,) = after[DeviceCertificateRecord] - before[DeviceCertificateRecord]
    assert certificate.pem == granted.device_certificate
    assert int(certificate.serial, 16) == x509.load_pem_x509_certificate(certificate.pem.encode()).serial_number
    (decision,) = after[Decision] - before[Decision]
    assert (decision.code, decision.device_id) == ("ok", granted.device_id)
    (next_nonce,) = after[NextNonce] - before[NextNonce]
    assert {verify_lease(token, world.service).next_nonce for token in granted.leases} == {next_nonce.nonce}
    (device,) = after[Device] - before[Device]
    assert device.granted_ticks == max(verify_lease(token, world.service).max_ticks for token in granted.leases)


def killed_everywhere(
    world: LicenseWorld,
    work: Callable[[Services], object],
    stored_reply: Callable[[Records, Records], bytes | None],
    again: Callable[[], bytes],
    renew_request: Callable[[], None],
) -> list[bool]:
    """Kill at each boundary, look, ask again, look again; whether each kill found the decision committed."""
    outcomes = []
    for boundaries in range(MOST_BOUNDARIES):
        renew_request()
        before = records(world)
        lived = run_mortal(world, boundaries, work)
        after = records(world)
        stored = stored_reply(before, after)
        if stored is None:
            assert after == before
        else:
            require_whole(world, before, after, stored)
        reply = again()
        assert stored in (None, reply)
        require_whole(world, before, records(world), reply)
        outcomes.append(stored is not None)
        if lived:
            return outcomes
    raise AssertionError("more boundaries than expected")


def test_a_renewal_is_whole_wherever_its_worker_dies(world: LicenseWorld) -> None:
    box = EnrolledDevice.enroll(world)
    asked: dict[str, Any] = {}

    def renew_request() -> None:
        box.device.increment()
        box.pass_time(100)
        asked["request"] = box.device.renewal(box.license_.license_id, box.nonce())

    def again() -> bytes:
        return world.renewal.renew(asked["request"], now=world.now)

    def stored_reply(before: Records, after: Records) -> bytes | None:
        new = {one.reply for one in after[RenewalReply] - before[RenewalReply]}
        spent = {one.nonce for one in after[SpentNonce] - before[SpentNonce]}
        assert len(new) == len(spent) == len(after[Device] - before[Device])
        return new.pop() if new else None

    outcomes = killed_everywhere(
        world, lambda services: services.renewal.renew(asked["request"], now=world.now), stored_reply, again,
        renew_request,
    )  # fmt: skip
    # Two boundaries of the look-up; before, in and after the commit; and three of the transaction that prunes.
    assert outcomes == [False] * 4 + [True] * 5


def test_an_enrolment_is_whole_wherever_its_worker_dies(world: LicenseWorld) -> None:
    """Each time with another box: the seat is taken with the reply stored, or free."""
    asked: dict[str, Any] = {}
    license_, codes = world.issue(seats=MOST_BOUNDARIES)
    numbers = iter(range(MOST_BOUNDARIES))
    shared = world.device()  # one EK key serves, retired each time: drawing another takes long

    def renew_request() -> None:
        number = next(numbers)
        if number:
            retire_device(world.store, OPERATOR, shared.device_id, now=world.now)
        challenge = world.enrollment.challenge(shared.request(codes[number]), now=world.now)
        asked["proof"] = shared.proof(challenge)

    def stored_reply(before: Records, after: Records) -> bytes | None:
        replies = after[EnrollmentReply] - before[EnrollmentReply]
        spent = {one for one in after[ActivationCodeRecord] - before[ActivationCodeRecord] if one.spent_at is not None}
        closed = before[PendingEnrollment] - after[PendingEnrollment]
        assert len(replies) == len(spent) == len(closed) == len(after[Device] - before[Device])
        return replies.pop().reply if replies else None

    outcomes = killed_everywhere(
        world, lambda services: services.enrollment.prove(asked["proof"], now=world.now), stored_reply,
        lambda: world.enrollment.prove(asked["proof"], now=world.now), renew_request,
    )  # fmt: skip
    assert outcomes == [False] * 6 + [True] * 2
    with world.store.read() as transaction:
        assert len(transaction.find(Device, license_id=license_.license_id)) == 1
