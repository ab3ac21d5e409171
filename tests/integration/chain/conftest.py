"""One vendor with a running licence service, and boxes that are enrolled with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwright_testing.simulated_box import SimulatedBox, SimulatedVendor, license_command, new_enrolled_box


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedVendor]:
    """A licence service over real HTTPS. Boxes bring makers of one name, and it tries only so many."""
    made = SimulatedVendor(tmp_path_factory.mktemp("vendor"))
    with made.serving():
        yield made


@pytest.fixture(scope="module")
def enrolled(vendor: SimulatedVendor, tmp_path_factory: pytest.TempPathFactory) -> SimulatedBox:
    """A box after its activation, off. Not to be changed: tests copy it."""
    box = new_enrolled_box(vendor, tmp_path_factory.mktemp("enrolled") / "box", "--lease-days", "1")
    box.off()
    return box


@pytest.fixture
def box(enrolled: SimulatedBox, tmp_path: Path) -> Iterator[SimulatedBox]:
    """A copy of the enrolled box at its unseal point. It has no contact: the service would see a copied TPM."""
    copy = enrolled.copy(tmp_path / "box")
    copy.boot()
    yield copy
    copy.tpm.kill()


@pytest.fixture
def connected_box(vendor: SimulatedVendor, tmp_path: Path) -> Iterator[SimulatedBox]:
    """A box of its own, enrolled and up, for tests that talk to the service."""
    made = new_enrolled_box(vendor, tmp_path / "box")
    yield made
    made.tpm.kill()


@pytest.fixture
def revoked_box(vendor: SimulatedVendor, tmp_path: Path) -> Iterator[SimulatedBox]:
    """A box that is enrolled and up, and does not know yet that its licence is revoked."""
    made = SimulatedBox.manufacture(vendor, tmp_path / "box")
    made.boot()
    made.go_up()
    issued = vendor.issue()
    made.enroll(issued.activation_code)
    license_command("license", "revoke", vendor.license_directory, issued.license_id, "--yes")
    yield made
    made.tpm.kill()
