"""Whoever changes a byte of what is signed or measured, or moves the disk, gets no model and hears why."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from sealwright_testing import customer
from sealwright_testing.console import PROMPT, ConsoleError
from sealwright_testing.models import ModelStore
from sealwright_testing.partition_table import exchange_identities
from sealwright_testing.scene import Scene
from sealwright_testing.virtual_box import VirtualBox

pytestmark = [pytest.mark.vm, pytest.mark.redteam]

EROFS_SUPERBLOCK = 1024
"""Offset of erofs' superblock (Linux, Documentation/filesystems/erofs.rst)."""
IN_THE_UKI = 8 * 1024 * 1024
"""Some byte of the kernel or initrd."""


def flip(box: VirtualBox, offset: int) -> None:
    """Change one bit of one byte of a box that is off."""
    (byte,) = box.read_disk(offset, 1)
    box.write_disk(offset, bytes([byte ^ 1]))


def find(disk: Path, needle: bytes) -> int:
    """Where bytes stand on the disk."""
    with disk.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(needle)


def test_a_changed_uki_is_refused_by_the_firmware(scene: Scene) -> None:
    uki = (scene.world.vendor.image / "uki.efi").read_bytes()
    offset = find(scene.world.vendor.image / "disk.raw", uki[IN_THE_UKI : IN_THE_UKI + 256])
    assert offset > 0
    box = scene.activated_box()
    flip(box, offset)
    box.start()
    box.expect("Access Denied|Security Violation", failures="sealwright: ")


def test_a_changed_root_stops_the_kernel(scene: Scene) -> None:
    box = scene.activated_box()
    flip(box, scene.world.partition("root")[0] + EROFS_SUPERBLOCK + 4)
    box.start()
    box.expect(r"device-mapper: verity: .*corrupt|dm-verity device corrupted", failures="sealwright: state")


def test_a_changed_model_partition_is_not_served(scene: Scene) -> None:
    """The ciphertext of the model is changed: decryption gives other bytes, the verity tree sees it."""
    offset, size = scene.world.partition("payload-medical")
    box = scene.activated_box()
    flip(box, offset + size // 2)
    box.start()
    box.expect("sealwright: .*PAYLOAD_CORRUPTED.*medical|sealwright: .*medical.*PAYLOAD_CORRUPTED")
    customer.wait_for_https(box)
    status = customer.status(box)
    assert {payload["payload_id"]: payload["state"] for payload in status["payloads"]}["medical"] == "failed"
    # The damage is that model's alone.
    sample = ModelStore.load().samples()["finance"][0]
    with customer.colleague(box, scene.activated.api_key, scene.activated.placard.tls_fingerprint) as client:
        assert customer.ask(client, "finance", sample.question) == sample.answer


def test_model_partitions_in_each_others_place_are_not_served(scene: Scene) -> None:
    """A partition is found by its unique id; what it holds is believed by its root hash alone."""
    box = scene.activated_box()
    exchange_identities(box, *(scene.world.partition_uuid(f"payload-{name}") for name in ("medical", "finance")))
    box.start()
    reason = box.expect("sealwright: state locked: (.*)", failures="sealwright: state (serving|unlocked|waiting)")
    assert reason.startswith("PAYLOAD_CORRUPTED")


def test_a_failed_boot_poisons_its_measurement_and_powers_off(scene: Scene) -> None:
    """Nothing that fails in the initrd ends in a shell, nor in a state that could still unseal."""
    box = scene.activated_box()
    box.write_disk(scene.world.partition("root-verity")[0], bytes(4096))
    box.start()
    box.expect("sealwright/v1/failure", failures=PROMPT)
    with pytest.raises(ConsoleError, match="the box switched off"):
        box.expect(PROMPT, failures="sealwright: ")


def test_a_disk_in_another_machine_stays_closed(scene: Scene) -> None:
    original = scene.activated_box()
    other = scene.fresh_box()
    other.adopt_disk(original)
    other.start()
    reason = other.expect("sealwright: state locked: (.*)", failures="sealwright: state (serving|unlocked|waiting)")
    assert reason.startswith("SRK_NAME_MISMATCH")
