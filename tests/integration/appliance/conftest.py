"""Real software TPMs for the box's TPM modules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from sealwright_appliance.tpm_provision import ProvisionedTpm, open_provisioned_tpm
from sealwright_testing.browser import chromium
from sealwright_testing.running_box import RunningBox, running_box
from sealwright_testing.simulated_box import SimulatedVendor
from sealwright_testing.simulated_disk import Disk
from sealwright_testing.swtpm import SoftwareTpm


@pytest.fixture(scope="session")
def manufactured(tmp_path_factory: pytest.TempPathFactory) -> SoftwareTpm:
    """A TPM as it leaves the factory, off. Not to be changed: tests copy it."""
    return SoftwareTpm.manufacture(tmp_path_factory.mktemp("factory") / "tpm")


@pytest.fixture
def software_tpm(manufactured: SoftwareTpm, tmp_path: Path) -> Iterator[SoftwareTpm]:
    """A new TPM, on."""
    tpm = SoftwareTpm(tmp_path / "tpm")
    tpm.directory.mkdir()
    manufactured.copy_state(tpm.state_directory)
    with tpm:
        yield tpm


@pytest.fixture
def tpm(software_tpm: SoftwareTpm) -> Iterator[ProvisionedTpm]:
    """The box's connection to it."""
    with open_provisioned_tpm(software_tpm.tcti) as provisioned:
        yield provisioned


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedVendor]:
    """A licence service that runs, and one release."""
    made = SimulatedVendor(tmp_path_factory.mktemp("vendor"))
    with made.serving():
        yield made


@pytest.fixture
def running(vendor: SimulatedVendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBox]:
    """A box that waits for its activation, with agent and gateway."""
    with running_box(vendor, tmp_path_factory.mktemp("box")) as box:
        yield box


@pytest.fixture
def disk(vendor: SimulatedVendor, tmp_path: Path) -> Iterator[Disk]:
    """A new box with an empty disk."""
    made = Disk.blank(vendor, tmp_path / "box")
    yield made
    made.box.tpm.kill()
