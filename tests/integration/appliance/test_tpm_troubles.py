"""A TPM that cannot do its part, at boot and at activation: what is said on the console, and what cures it."""

from __future__ import annotations

import pytest
from tpm2_pytss import ESAPI

from sealwright_appliance import unlock as unlock_module
from sealwright_appliance.boot import BoxCode, BoxState
from sealwright_appliance.console import Console
from sealwright_appliance.enrollment import enroll
from sealwright_appliance.license_client import LicenseClient
from sealwright_appliance.paths import Paths
from sealwright_policies.errors import OperationError
from sealwright_testing.simulated_box import SimulatedBox
from sealwright_testing.simulated_disk import Disk
from sealwright_testing.swtpm import SoftwareTpm
from sealwright_testing.tpm_troubles import fill_nv, lock_out

NO_TPM = "device:/dev/no-such-tpm"


@pytest.fixture(scope="module")
def old_tpm(tmp_path_factory: pytest.TempPathFactory) -> SoftwareTpm:
    """One with a SHA-1 bank alone, off."""
    return SoftwareTpm.manufacture(tmp_path_factory.mktemp("old") / "tpm", pcr_banks="sha1")


def activation_of(box: SimulatedBox, tcti: str | None = None) -> OperationError:
    """How it fails."""
    paths = Paths(root=box.paths.root, tcti=tcti or box.tpm.tcti, gateway_group=None, agent_user=None)
    client = LicenseClient(box.vendor.service)
    try:
        with pytest.raises(OperationError) as caught:
            enroll(paths, client, box.store, box.vendor.release.release_id, box.vendor.issue().activation_code)
    finally:
        client.close()
    return caught.value


def test_nv_that_is_full(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The box stays locked and says what to remove."""
    with disk.box.tpm, ESAPI(disk.box.tpm.tcti) as esapi:
        fill_nv(esapi)
    result = disk.boot(monkeypatch)
    assert (result.state, result.code) == (BoxState.LOCKED, BoxCode.TPM)
    assert "NV storage is full" in result.sentence
    assert "tpm2_nvundefine" in disk.console.read_text()
    assert "tpm2_nvundefine" in activation_of(disk.box).cure


def test_a_bank_that_is_missing(disk: Disk, old_tpm: SoftwareTpm, monkeypatch: pytest.MonkeyPatch) -> None:
    """PCR 15 cannot be closed, so the boot does not go on; the console says how to switch the bank on."""
    disk.box.tpm.restore_state(old_tpm.state_directory)
    disk.box.vendor.trust_tpm_maker(old_tpm)
    with pytest.raises(OperationError, match="SHA-256 bank"):
        disk.boot(monkeypatch)
    said = disk.console.read_text()
    assert "Switch it on in the firmware setup" in said
    assert "The boot ends here" in said
    assert "Switch it on in the firmware setup" in activation_of(disk.box).cure


def test_a_tpm_that_is_absent(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, and the cure is to enable it."""
    disk.measures = False
    monkeypatch.setattr(unlock_module, "run", disk.run)
    paths = Paths(root=disk.box.paths.root, tcti=NO_TPM, gateway_group=None, agent_user=None)
    disk.console.touch()
    with pytest.raises(OperationError, match="No TPM"):
        unlock_module.unlock(paths, Console([disk.console]))
    said = disk.console.read_text()
    assert "Enable the TPM in the firmware setup" in said
    assert "The boot ends here" in said
    assert "Enable the TPM in the firmware setup" in activation_of(disk.box, NO_TPM).cure


def test_a_tpm_in_lockout(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody guessed passwords of other objects: nothing of ours has one, so the box works on."""
    with disk.box.tpm, ESAPI(disk.box.tpm.tcti) as esapi:
        lock_out(esapi)
    assert disk.boot(monkeypatch).state is BoxState.WAITING_FOR_ACTIVATION
    disk.box.measure(11, "ready")
    disk.box.enroll(disk.box.vendor.issue().activation_code)
    assert disk.boot(monkeypatch).state is BoxState.UNLOCKED
