"""Real software TPMs for the box's TPM modules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwright_appliance.tpm_provision import ProvisionedTpm, open_provisioned_tpm
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
