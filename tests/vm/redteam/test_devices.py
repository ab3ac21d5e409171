"""A stick and a keyboard that the box does not use are good ones: firmware starts from the one, and hears the other.

That the box's kernel sees no disk in such a stick, and that keys do nothing, is in test_inside.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwright_testing.firmware_variables import SecureBootKeys
from sealwright_testing.machine import Machine
from sealwright_testing.virtual_box import VirtualBox

pytestmark = [pytest.mark.vm, pytest.mark.redteam]

MENU = "Reboot Into Firmware"
STATUS = "systemd-boot version"


def test_firmware_starts_from_a_stick_and_hears_a_keyboard(tmp_path: Path, payload: Path, keys: SecureBootKeys) -> None:
    """The control of every write-usb."""
    blank = tmp_path / "blank.raw"
    blank.write_bytes(bytes(1 << 20))
    stick = ("-drive", f"if=none,id=stick,format=raw,readonly=on,file={payload / 'disk.raw'}")
    devices = ("-device", "qemu-xhci", "-device", "usb-kbd", "-device", "usb-storage,drive=stick,bootindex=0")
    machine = Machine(memory_mib=512, extra=(*stick, *devices))
    with VirtualBox.create(tmp_path / "box", blank, keys, tmp_path / "tpm", machine=machine) as box:
        box.start().expect(MENU)
        box.execute("send-key", keys=[{"type": "qcode", "data": key} for key in ("shift", "p")])
        box.expect(STATUS)
