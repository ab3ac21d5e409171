"""What tests of a licence service ask of it: steps by themselves, numbers of records."""

from __future__ import annotations

from sqlalchemy import select

from sealwright_licensing.records import Device, PendingEnrollment
from sealwright_licensing.tables import TABLES
from sealwright_policies.wire.messages import EnrollmentChallenge
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.software_device import SoftwareDevice


def challenge(world: LicenseWorld, device: SoftwareDevice, code: str, **changes: object) -> EnrollmentChallenge:
    """The first step of an enrolment by itself."""
    return world.enrollment.challenge(device.request(code, **changes), now=world.now)


def count(world: LicenseWorld, kind: type[object]) -> int:
    """Number of the service's records of a kind."""
    with world.store.read() as transaction:
        return transaction.count(kind)


def seats_taken(world: LicenseWorld) -> int:
    """Devices that have been enrolled."""
    return count(world, Device)


def pending(world: LicenseWorld) -> int:
    """Enrolments that are open."""
    return count(world, PendingEnrollment)


def stored_text(world: LicenseWorld) -> str:
    """All that the database holds, on whichever it is."""
    with world.store._engine.connect() as connection:
        rows = [row for table in TABLES.values() for row in connection.execute(select(table))]
    return "\n".join(map(repr, rows))
