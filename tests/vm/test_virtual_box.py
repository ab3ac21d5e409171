"""The virtual box itself, with systemd-boot as the smallest payload that a firmware can be asked to verify."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwright_testing.console import ConsoleError
from sealwright_testing.firmware_variables import SecureBootKeys
from sealwright_testing.machine import Machine
from sealwright_testing.swtpm import SoftwareTpm
from sealwright_testing.tpm_clock import advance_tpm_clock
from sealwright_testing.virtual_box import VirtualBox

pytestmark = pytest.mark.vm

MACHINE = Machine(memory_mib=512)
BOOTED = "Reboot Into Firmware"
ESP_OFFSET = 1 << 20


def test_box_survives_a_power_cut_and_a_snapshot(tmp_path: Path, payload: Path, keys: SecureBootKeys) -> None:
    """Signed code boots; after kill -9 the same box boots again, and so does a copy of what it would leave; a snapshot
    goes on where it stopped, TPM included."""
    tpm = SoftwareTpm.manufacture(tmp_path / "tpm")
    with VirtualBox.create(tmp_path / "box", payload / "disk.raw", keys, tpm.state_directory, machine=MACHINE) as box:
        box.start().expect(BOOTED)
        assert box.port > 0
        first_pid = box.pid
        box.kill()
        assert not box.is_on
        clock = advance_tpm_clock(tpm.state_directory, 86_400_000)
        assert clock >= 86_400_000

        box.start().expect(BOOTED)
        assert box.pid != first_pid
        with box.as_cut_off(tmp_path / "cut-off") as cut_off:
            cut_off.start().expect(BOOTED)
            assert box.execute("query-status")["status"] == "running"
        box.snapshot(tmp_path / "snapshot")
        assert not box.is_on

    with VirtualBox.restore(tmp_path / "snapshot", tmp_path / "restored", MACHINE) as restored:
        assert restored.execute("query-status")["status"] == "running"
        restored.kill()
        # The TPM came with the snapshot: its clock still has what was added to it.
        assert advance_tpm_clock(restored.tpm_state, 1000) > 86_400_000


def test_firmware_refuses_a_changed_payload(tmp_path: Path, payload: Path, keys: SecureBootKeys) -> None:
    """One byte of the signed code changed on the disk: Access Denied. With Secure Boot switched off it boots."""
    with VirtualBox.create(tmp_path / "box", payload / "disk.raw", keys, tmp_path / "tpm", machine=MACHINE) as box:
        image = (payload / "disk.raw").read_bytes()
        marker = BOOTED.encode("utf-16-le")
        offset = image.index(marker, ESP_OFFSET)
        assert box.read_disk(offset, len(marker)) == marker
        box.write_disk(offset, b"r")
        assert box.read_disk(offset, len(marker)) == b"r" + marker[1:]
        with pytest.raises(ConsoleError, match="Access Denied"):
            box.start().expect(BOOTED)
    assert (payload / "disk.raw").read_bytes() == image

    lax_tpm = tmp_path / "lax-tpm"
    with VirtualBox.create(
        tmp_path / "lax", payload / "disk.raw", keys, lax_tpm, secure_boot=False, machine=MACHINE
    ) as lax:
        lax.adopt_disk(box)
        lax.start().expect("reboot Into Firmware")


def test_firmware_refuses_a_payload_under_other_keys(tmp_path: Path, payload: Path, keys: SecureBootKeys) -> None:
    """With another db certificate enrolled, our signature is worth nothing."""
    other = SecureBootKeys(keys.pk, keys.kek, keys.kek, keys.owner)
    with VirtualBox.create(tmp_path / "box", payload / "disk.raw", other, tmp_path / "tpm", machine=MACHINE) as box:
        box.start().expect("BdsDxe: failed to load .*: Access Denied")
