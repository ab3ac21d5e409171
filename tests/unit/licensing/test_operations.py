"""Operations on licences: what they change, what they refuse, and that each leaves an entry in the journal."""

from __future__ import annotations

import json

import pytest

from sealwright_licensing.leases import DAY_S, tick_budget
from sealwright_licensing.maker_roots import parse_pem_certificates
from sealwright_licensing.operations import licenses, terms
from sealwright_licensing.operations.devices import retire_device
from sealwright_licensing.operations.releases import withdraw_release
from sealwright_licensing.operations.terms import TermChanges
from sealwright_licensing.records import License, LicenseStatus, Operation, Overage, RenewalBasis
from sealwright_licensing.seats import overage_seats, seat_limit
from sealwright_policies.errors import RejectionCode, UsageError
from sealwright_testing.denials import denied
from sealwright_testing.evidence_factory import NOW
from sealwright_testing.license_world import OPERATOR, LicenseWorld
from sealwright_testing.maker_ca import pem


def operations(world: LicenseWorld) -> list[Operation]:
    """The journal."""
    with world.store.read() as transaction:
        return transaction.find(Operation)


def stored(world: LicenseWorld, license_id: str) -> License:
    """A licence as it is now."""
    with world.store.read() as transaction:
        return licenses.known_license(transaction, license_id)


def test_every_operation_is_in_the_journal_with_its_actor(world: LicenseWorld) -> None:
    license_, (code,) = world.issue()
    identity, store = license_.license_id, world.store
    device = world.device()
    world.enroll(device, code)
    licenses.add_activation_code(store, OPERATOR, identity, now=NOW + 1)
    licenses.renew_license(store, OPERATOR, identity, days=1, now=NOW + 2)
    licenses.change_terms(store, OPERATOR, identity, TermChanges(seats=3), now=NOW + 3)
    licenses.set_version_floor(store, OPERATOR, identity, "1.0", now=NOW + 4)
    licenses.suspend_license(store, OPERATOR, identity, now=NOW + 5)
    licenses.reinstate_license(store, OPERATOR, identity, now=NOW + 6)
    retire_device(store, OPERATOR, device.device_id, now=NOW + 7)
    withdraw_release(store, OPERATOR, world.box.release.release_id, now=NOW + 8)
    licenses.revoke_license(store, OPERATOR, identity, now=NOW + 9)
    found = sorted(operations(world), key=lambda one: one.performed_at)
    names = [one.operation for one in found if not one.operation.startswith(("release.import", "root."))]
    assert names == [
        "license.issue", "license.add-code", "license.renew", "license.change-terms", "license.set-floor",
        "license.suspend", "license.reinstate", "device.retire", "release.withdraw", "license.revoke",
    ]  # fmt: skip
    assert {(one.actor_kind, one.actor) for one in found} == {("cli", "operator")}
    subjects = [one.subject for one in found if not one.operation.startswith(("release.import", "root."))]
    assert subjects == [identity] * 7 + [device.device_id, world.box.release.release_id, identity]
    assert code not in "".join(one.detail for one in found)


def test_trusting_a_root_and_a_release_are_operations(world: LicenseWorld) -> None:
    made = {(one.operation, one.actor, one.subject) for one in operations(world)}
    (root,) = parse_pem_certificates(pem(world.maker.root))
    assert made == {
        ("root.trust", "operator", root.fingerprint),
        ("release.import", "operator", world.box.release.release_id),
    }


def test_an_operation_that_is_refused_leaves_nothing(world: LicenseWorld) -> None:
    license_, _ = world.issue()
    licenses.revoke_license(world.store, OPERATOR, license_.license_id, now=NOW)
    before = operations(world)
    with pytest.raises(UsageError, match="was revoked"):
        licenses.suspend_license(world.store, OPERATOR, license_.license_id, now=NOW)
    denied(RejectionCode.LICENSE_UNKNOWN, lambda: licenses.revoke_license(world.store, OPERATOR, "lic-none", now=NOW))
    assert operations(world) == before
    assert stored(world, license_.license_id).status is LicenseStatus.REVOKED


@pytest.mark.parametrize(
    ("basis", "now", "expected"),
    [
        (RenewalBasis.EXPIRY, NOW + 5 * DAY_S, NOW + 40 * DAY_S),
        (RenewalBasis.NOW, NOW + 5 * DAY_S, NOW + 35 * DAY_S),
        (RenewalBasis.EXPIRY, NOW + 20 * DAY_S, NOW + 40 * DAY_S),
        (RenewalBasis.NOW, NOW + 20 * DAY_S, NOW + 50 * DAY_S),
    ],
)
def test_a_renewal_counts_from_its_basis(world: LicenseWorld, basis: RenewalBasis, now: int, expected: int) -> None:
    """Before the end and after it; the running time of the days is added."""
    license_, _ = world.issue(days=10, renewal_basis=basis)
    renewed = licenses.renew_license(world.store, OPERATOR, license_.license_id, days=30, now=now)
    assert renewed.expires_at == expected
    assert renewed.tick_budget == license_.tick_budget + tick_budget(30 * DAY_S)


def test_a_renewal_never_shortens_and_never_ends_in_the_past(world: LicenseWorld) -> None:
    from_now, _ = world.issue(days=100, renewal_basis=RenewalBasis.NOW)
    from_expiry, _ = world.issue(days=10)
    for license_, days, now in ((from_now, 30, NOW), (from_expiry, 30, NOW + 40 * DAY_S)):
        with pytest.raises(UsageError, match="do not end later"):
            licenses.renew_license(world.store, OPERATOR, license_.license_id, days=days, now=now)
        assert stored(world, license_.license_id) == license_


def test_a_budget_can_be_less_than_all_the_time() -> None:
    """Hours of running, the boots that its time has room for, and some to spare."""
    assert terms.budget(365, 1000) == 1000 + 1460 + 24
    assert terms.budget(365, None) == tick_budget(365 * DAY_S)


@pytest.mark.parametrize(
    ("overage", "limit"),
    [(Overage.NONE, 5), (Overage.QUARTER, 6), (Overage.HALF, 7), (Overage.DOUBLE, 10), (Overage.UNLIMITED, None)],
)
def test_overage_is_seats_times_its_factor_rounded_down(world: LicenseWorld, overage: Overage, limit: int) -> None:
    license_, _ = world.issue(seats=5, overage=overage)
    assert seat_limit(license_) == limit
    assert [overage_seats(license_, taken) for taken in (0, 5, 6)] == [0, 0, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"seats": 0}, {"seats": 100_001}, {"days": 0}, {"lease_days": 0}, {"lease_days": 367}, {"max_request_s": 0},
        {"max_request_s": 86_401}, {"renew_after_s": 31 * DAY_S}, {"grace_days": -1}, {"boots_without_contact": -1},
        {"tiers": []}, {"partitions": ["Medical"]}, {"domains": ["a b"]}, {"features": [f"f{n}" for n in range(33)]},
    ],
)  # fmt: skip
def test_terms_that_cannot_be_meant_are_refused(world: LicenseWorld, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        world.issue(**wrong)
    with world.store.read() as transaction:
        assert transaction.count(License) == 0


def test_changed_terms_are_checked_like_new_ones(world: LicenseWorld) -> None:
    license_, _ = world.issue()
    for changes in (TermChanges(), TermChanges(tiers="hardware"), TermChanges(lease_s=0)):
        with pytest.raises(UsageError):
            licenses.change_terms(world.store, OPERATOR, license_.license_id, changes, now=NOW)
    changed = licenses.change_terms(world.store, OPERATOR, license_.license_id, TermChanges(domains=""), now=NOW)
    assert changed == stored(world, license_.license_id) == license_
    (entry,) = [one for one in operations(world) if one.operation == "license.change-terms"]
    assert json.loads(entry.detail) == {"domains": ""}


def test_narrower_rights_take_the_stored_result_of_an_enrolment_with_them(world: LicenseWorld) -> None:
    """What it grants is taken away; a change that takes nothing away leaves it for whoever lost the reply."""
    license_, (code,) = world.issue()
    device = world.device()
    proof = device.proof(world.enrollment.challenge(device.request(code), now=NOW))
    reply = world.enrollment.prove(proof, now=NOW)
    licenses.change_terms(world.store, OPERATOR, license_.license_id, TermChanges(seats=2, tiers="software,discrete"),
                          now=NOW)  # fmt: skip
    assert world.enrollment.prove(proof, now=NOW) == reply
    changes = TermChanges(partitions="medical")
    licenses.change_terms(world.store, OPERATOR, license_.license_id, changes, now=NOW)
    denied(RejectionCode.ENROLLMENT_EXPIRED, lambda: world.enrollment.prove(proof, now=NOW))


def test_a_licence_that_begins_later_lasts_from_then_on(world: LicenseWorld) -> None:
    license_, (code,) = world.issue(days=10, starts_at=NOW + DAY_S)
    assert license_.expires_at == NOW + 11 * DAY_S
    device = world.device()
    denied(RejectionCode.NOT_YET_VALID, lambda: world.enroll(device, code))
    world.now += DAY_S
    assert world.enroll(device, code).leases


def test_a_start_that_no_calendar_knows_is_refused(world: LicenseWorld) -> None:
    with pytest.raises(UsageError, match="starts_at"):
        world.issue(starts_at=2**53)
