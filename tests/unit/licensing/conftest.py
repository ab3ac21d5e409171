"""A fresh licence service for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.evidence_factory import NOW
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.metered import Metered


@pytest.fixture
def world(tmp_path: Path, database: str) -> Iterator[LicenseWorld]:
    """A service with a trusted maker and one release."""
    made = LicenseWorld.create(tmp_path / "service", database=database)
    yield made
    made.store.close()


@pytest.fixture
def box(world: LicenseWorld) -> EnrolledDevice:
    """A device under a licence of that service."""
    return EnrolledDevice.enroll(world)


@pytest.fixture(scope="module")
def service_world(tmp_path_factory: pytest.TempPathFactory, module_database: str) -> Iterator[LicenseWorld]:
    """One service for all tests of this file, each of which has a box and a licence of its own."""
    made = LicenseWorld.create(tmp_path_factory.mktemp("service") / "service", database=module_database)
    yield made
    made.store.close()


@pytest.fixture
def metered(service_world: LicenseWorld) -> Metered:
    """A new box."""
    service_world.now = NOW
    return Metered.enroll(service_world)
