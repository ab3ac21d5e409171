"""The virtual box itself, with systemd-boot as the smallest payload that a firmware can be asked to verify."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwright_testing.console import ConsoleError
from sealwright_testing.firmware_variables import SecureBootKeys
from sealwright_testing.machine import Machine
from sealwright_testing.swtpm import SoftwareTpm
from sealwright_testing.tools_root import ToolsRoot
from sealwright_testing.tpm_clock import advance_tpm_clock
from sealwright_testing.virtual_box import VirtualBox

pytestmark = pytest.mark.vm

MACHINE = Machine(memory_mib=512)
BOOTED = "Reboot Into Firmware"
OWNER = "8a6a2ba3-6d5c-4c7d-9b0e-2f0f5ac5d0a1"
ESP_OFFSET = 1 << 20

MAKE_PAYLOAD = """
set -eu
cd "$1"
for name in PK KEK db; do
    openssl req -x509 -newkey rsa:2048 -nodes -keyout "$name.key" -out "$name.pem" -subj "/CN=$name" -days 30
done
sbsign --key db.key --cert db.pem --output boot.efi /usr/lib/systemd/boot/efi/systemd-bootx64.efi
truncate -s 64M disk.raw
printf 'label: gpt\\nstart=2048, size=120000, type=U\\n' | sfdisk -q disk.raw
mkfs.vfat -F 32 --offset 2048 disk.raw 60000
mmd -i disk.raw@@1M ::EFI ::EFI/BOOT
mcopy -i disk.raw@@1M boot.efi ::EFI/BOOT/BOOTX64.EFI
"""


@pytest.fixture(scope="session")
def payload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with disk.raw, which boots systemd-boot, and the keys that it is signed under."""
    folder = tmp_path_factory.mktemp("payload")
    ToolsRoot.find().run_inside("bash", "-c", MAKE_PAYLOAD, "bash", folder)
    return folder


@pytest.fixture(scope="session")
def keys(payload: Path) -> SecureBootKeys:
    """The keys that the payload is signed under."""
    return SecureBootKeys(payload / "PK.pem", payload / "KEK.pem", payload / "db.pem", OWNER)


def test_box_survives_a_power_cut_and_a_snapshot(tmp_path: Path, payload: Path, keys: SecureBootKeys) -> None:
    """Signed code boots; after kill -9 the same box boots again; a snapshot goes on where it stopped, TPM included."""
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
    other = SecureBootKeys(keys.pk, keys.kek, keys.kek, OWNER)
    with VirtualBox.create(tmp_path / "box", payload / "disk.raw", other, tmp_path / "tpm", machine=MACHINE) as box:
        box.start().expect("BdsDxe: failed to load .*: Access Denied")
