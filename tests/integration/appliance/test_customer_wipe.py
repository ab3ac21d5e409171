"""The end of the customer's data: by their own key alone, whole after any power cut, and for every copy of the disk."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tpm2_pytss.constants import ESYS_TR

from sealwright_appliance import customer_wipe
from sealwright_appliance.boot import BoxCode, BoxState
from sealwright_appliance.claim import Claim
from sealwright_appliance.files import overwrite
from sealwright_appliance.tpm_device import TpmDevice, open_tpm
from sealwright_appliance.tpm_keys import make_storage_key, storage_key
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_policies.errors import RejectionCode
from sealwright_policies.tcg.srk import SrkTemplate
from sealwright_policies.wire.envelope import load_p256_private_key
from sealwright_policies.wire.wipe_order import sign_wipe_order, volume_id
from sealwright_testing.running_box import RunningBox, unlocked_box, wait_until
from sealwright_testing.simulated_disk import Disk, PowerCutError


def secrets_file(disk: Disk, directory: Path) -> Path:
    """As the customer got it at the claim."""
    claim = Claim(disk.box.paths.claim)
    file = directory / "secrets.json"
    file.write_text(json.dumps({"customer_key_pem": claim.opened_with(claim.code() or "").customer_key_pem}))
    return file


def customer_key(file: Path) -> ec.EllipticCurvePrivateKey:
    return load_p256_private_key(json.loads(file.read_text())["customer_key_pem"].encode())


def wipe(running: RunningBox, key: Path, *more: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    known = ("--fingerprint", running.fingerprint, "--customer-key", str(key))
    return running.command("wipe", running.url, *known, *more, typed=typed)


def own_volume(disk: Disk) -> str:
    return volume_id(disk.binding.public, disk.binding.private)


def order(disk: Disk, key: Path) -> None:
    """Keep an order in the record, as the agent does."""
    disk.bind(wipe_order=sign_wipe_order(own_volume(disk), customer_key(key)))


def test_a_wiped_box_is_new_and_no_copy_of_its_disk_opens(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = disk.boot(monkeypatch)
    key = secrets_file(disk, tmp_path)
    disk.box.measure(11, "ready")
    disk.box.enroll(disk.box.vendor.issue().activation_code)
    assert disk.boot(monkeypatch).state is BoxState.UNLOCKED
    old_code = Claim(disk.box.paths.claim).code()
    state, binding = disk.state_device.read_bytes(), disk.binding_device.read_bytes()
    assert first.tls_fingerprint is not None
    with unlocked_box(disk.box, first.tls_fingerprint, disk.console) as running:
        kept = wipe(running, key, typed="no\n")
        assert (kept.returncode, running.restarts) == (2, [])
        assert disk.binding_device.read_bytes() == binding
        done = wipe(running, key, "--json", typed="destroy\n")
        assert done.returncode == 0, done.stderr
        wait_until(lambda: len(running.restarts) == 1)

    wiped = disk.boot(monkeypatch)
    assert wiped.state is BoxState.WAITING_FOR_ACTIVATION, wiped
    assert "wipe: done" in disk.console.read_text()
    assert wiped.tls_fingerprint != first.tls_fingerprint
    assert Claim(disk.box.paths.claim).code() not in (None, old_code)
    assert disk.box.store.load_identity() is None

    disk.state_device.write_bytes(state)  # somebody had copied the whole disk
    disk.binding_device.write_bytes(binding)
    moved = disk.boot(monkeypatch)
    assert (moved.state, moved.code) == (BoxState.LOCKED, RejectionCode.SRK_NAME_MISMATCH)
    with open_provisioned_tpm(disk.box.paths.tcti) as tpm:
        disk.bind(srk_name=tpm.srk.public.name.hex())
    lied = disk.boot(monkeypatch)
    assert (lied.state, lied.code) == (BoxState.LOCKED, BoxCode.STATE_VOLUME)
    assert disk.passphrases == []


@pytest.mark.parametrize("way", ["name", "storage key", "sealed key"])
def test_whoever_has_disk_and_tpm_does_not_keep_the_key_from_its_end(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """He copies the disk, then lies about the TPM before the wipe, and puts both back behind it."""
    disk.boot(monkeypatch)
    order(disk, secrets_file(disk, tmp_path))
    state, binding = disk.state_device.read_bytes(), disk.binding_device.read_bytes()
    if way == "name":
        disk.bind(srk_name="000b" + "11" * 32)
    elif way == "sealed key":
        disk.bind(private=b"\0\x10" + bytes(16))
    else:
        with open_tpm(disk.box.paths.tcti) as tpm:
            persistent = evicted(tpm)
            make_storage_key(tpm, persistent, SrkTemplate.RSA_2048)
    done = disk.boot(monkeypatch)
    assert (done.state is BoxState.LOCKED) == (way == "sealed key"), done
    assert ("wipe: done" in disk.console.read_text()) == (way != "sealed key")
    if way == "sealed key":
        return  # nothing was wiped and nothing says so: the record's owner sees a locked box
    with open_tpm(disk.box.paths.tcti) as tpm:
        evicted(tpm)
    disk.state_device.write_bytes(state)
    disk.binding_device.write_bytes(binding)
    disk.bind(wipe_order=None)
    with open_provisioned_tpm(disk.box.paths.tcti) as tpm_again:
        disk.bind(srk_name=tpm_again.srk.public.name.hex())
    again = disk.boot(monkeypatch)
    assert (again.state, again.code) == (BoxState.LOCKED, BoxCode.STATE_VOLUME)
    assert disk.passphrases == []


def evicted(tpm: TpmDevice) -> int:
    """Take the storage key away, as any system on the machine can; where it was."""
    srk = storage_key(tpm)
    tpm.esapi.evict_control(auth=ESYS_TR.OWNER, object_handle=srk.handle, persistent_handle=srk.persistent_handle)
    return srk.persistent_handle


@pytest.mark.parametrize("cleared", [False, True], ids=["refused", "in the firmware"])
def test_a_tpm_that_cannot_be_cleared_by_the_box(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, cleared: bool
) -> None:
    """Said, and nothing is destroyed by half; once it was cleared otherwise, the wipe is completed."""
    first = disk.boot(monkeypatch)
    key = secrets_file(disk, tmp_path)
    header = disk.header
    with open_provisioned_tpm(disk.box.paths.tcti) as tpm:
        if cleared:
            tpm.device.esapi.clear(ESYS_TR.LOCKOUT)
        tpm.device.esapi.clear_control(ESYS_TR.LOCKOUT, disable=True)
    assert first.tls_fingerprint is not None
    with unlocked_box(disk.box, first.tls_fingerprint, disk.console) as running:
        refused = wipe(running, key, "--yes")
        assert (refused.returncode == 0) == cleared, refused.stderr
        assert ("TPM_NOT_CLEARED" in refused.stderr) != cleared
    result = disk.boot(monkeypatch)
    if cleared:
        assert result.state is BoxState.WAITING_FOR_ACTIVATION, result
        assert "wipe: done" in disk.console.read_text()
    else:
        assert (result.state, result.code) == (BoxState.LOCKED, BoxCode.STATE_VOLUME)
        assert "does not let itself be cleared" in result.sentence
        assert disk.header == header


@pytest.mark.parametrize("cut_at", range(4))
def test_a_power_cut_does_not_stop_a_wipe(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_at: int
) -> None:
    """Before the TPM is cleared, before the header is gone, and between the two slots: the next boot completes it."""
    disk.boot(monkeypatch)
    before = disk.binding
    order(disk, secrets_file(disk, tmp_path))
    with monkeypatch.context() as patched:
        cut_power(patched, cut_at)
        with pytest.raises(PowerCutError):
            disk.boot(monkeypatch)
    result = disk.boot(monkeypatch)
    assert result.state is BoxState.WAITING_FOR_ACTIVATION, result
    assert "wipe: done" in disk.console.read_text()
    assert disk.binding.public != before.public
    assert disk.binding.wipe_order is None
    assert disk.boot(monkeypatch).state is BoxState.WAITING_FOR_ACTIVATION
    assert "wipe: done" not in disk.console.read_text()


def cut_power(patched: pytest.MonkeyPatch, at: int) -> None:
    """Let the power fail before step ``at`` of a wipe: the clear, the header, the older slot, the newer one."""
    steps = iter(range(5))
    really_carry_out = customer_wipe.carry_out

    def cut_or(write: object) -> object:
        def step(device: Path, offset: int, content: bytes) -> None:
            if next(steps) == at - 1:
                raise PowerCutError
            overwrite(device, offset, content)

        return step

    def carry_out(*arguments: object, **named: object) -> None:
        if at == 0:
            raise PowerCutError
        really_carry_out(*arguments, **named)  # type: ignore[arg-type]

    patched.setattr("sealwright_appliance.unlock.carry_out", carry_out)
    patched.setattr("sealwright_appliance.customer_wipe.overwrite", cut_or(overwrite))
    patched.setattr("sealwright_appliance.binding.overwrite", cut_or(overwrite))


def test_nobody_else_wipes(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another key, over the network or written on the disk; and an order that has been carried out once."""
    result = disk.boot(monkeypatch)
    key = secrets_file(disk, tmp_path)
    mine, volume = customer_key(key), own_volume(disk)
    stranger = ec.generate_private_key(ec.SECP256R1())
    assert result.tls_fingerprint is not None
    with unlocked_box(disk.box, result.tls_fingerprint, disk.console) as running, running.http() as client:
        for forged in (sign_wipe_order(volume, stranger), sign_wipe_order("0" * 64, mine)):
            reply = client.post("/wipe", json=forged.model_dump(mode="json"))
            assert (reply.status_code, reply.json()["code"]) == (403, "DOCUMENT_SIGNATURE")
        assert client.post("/wipe", json={"volume_id": volume}).status_code == 400
        assert running.restarts == []
    disk.bind(wipe_order=sign_wipe_order(volume, stranger))
    assert disk.boot(monkeypatch).state is BoxState.WAITING_FOR_ACTIVATION
    assert own_volume(disk) == volume

    spent = sign_wipe_order(volume, mine)
    disk.bind(wipe_order=spent)
    disk.boot(monkeypatch)
    disk.bind(wipe_order=spent)
    new = own_volume(disk)
    assert new != volume
    disk.boot(monkeypatch)
    assert own_volume(disk) == new


def test_a_box_whose_tpm_was_cleared_can_be_wiped(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is locked for good otherwise, and nobody need come with an image."""
    disk.boot(monkeypatch)
    key = secrets_file(disk, tmp_path)
    with open_provisioned_tpm(disk.box.paths.tcti) as tpm:
        tpm.device.esapi.clear(ESYS_TR.LOCKOUT)
    locked = disk.boot(monkeypatch)
    assert locked.code == RejectionCode.SRK_NAME_MISMATCH
    assert locked.tls_fingerprint is not None
    with unlocked_box(disk.box, locked.tls_fingerprint, disk.console) as running:
        assert wipe(running, key, "--yes").returncode == 0
        wait_until(lambda: len(running.restarts) == 1)
    assert disk.boot(monkeypatch).state is BoxState.WAITING_FOR_ACTIVATION
