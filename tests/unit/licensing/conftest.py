"""A fresh licence service for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.license_world import LicenseWorld


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
