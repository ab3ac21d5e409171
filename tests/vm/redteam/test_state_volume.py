"""Somebody has the disk in hand and lays another state volume, or another system, on it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sealwright_testing.redteam.controls import control
from sealwright_testing.redteam.state_headers import KNOWN_KEY, opens, volume_of_ones_own, without_encryption
from sealwright_testing.scene import Scene
from sealwright_testing.virtual_box import VirtualBox
from sealwright_testing.world import TEST_MACHINE

pytestmark = [pytest.mark.vm, pytest.mark.redteam, pytest.mark.long]

OPENED = "sealwright: state (serving|unlocked|waiting)"
HEAD = 8 << 20
"""Bytes before the data of the state volume."""


def test_a_state_volume_under_a_known_key_is_not_opened(scene: Scene, tmp_path: Path) -> None:
    """Its maker could read what the box writes to it. The header is not the sealed one, whose key opens the first."""
    box = scene.activated_box()
    other = volume_of_ones_own(tmp_path)
    control(opens(other, KNOWN_KEY, tmp_path), "it is a good volume")
    box.write_disk(scene.world.partition("state")[0], other)
    reason = box.start().expect("sealwright: state locked: (.*)", failures=OPENED)
    assert "not the one that this box wrote" in reason


def test_a_header_without_encryption_is_not_used(scene: Scene, tmp_path: Path) -> None:
    """The box's own key slots, a good checksum, and a cipher that encrypts nothing."""
    box = scene.activated_box()
    place = scene.world.partition("state")[0]
    altered = without_encryption(box.read_disk(place, HEAD))
    listed = box.tools.run_inside("cryptsetup", "luksDump", written(tmp_path / "head", altered), binds=[tmp_path])
    control("cipher_null" in listed, "cryptsetup takes it")
    box.write_disk(place, altered)
    reason = box.start().expect("sealwright: state locked: (.*)", failures=OPENED)
    assert "not the one that this box wrote" in reason


def test_another_signed_system_that_the_customer_has_not_approved_opens_nothing(scene: Scene, tmp_path: Path) -> None:
    """The test image is signed by the same keys and boots with Secure Boot, on the box's own TPM and data.

    That an approval opens it is shown by integration/appliance/test_customer_approvals.
    """
    original, other = scene.activated_box(), scene.world.planted.image
    shutil.copytree(original.tpm_state, tmp_path / "tpm")
    box = scene.boxes.enter_context(
        VirtualBox.create(
            tmp_path / "other", other / "disk.raw", scene.world.secure_boot_keys, tmp_path / "tpm", machine=TEST_MACHINE
        )
    )
    for label in ("binding", "state"):
        (there, size), (here, same) = scene.world.partition(label), scene.world.partition(label, other)
        assert size == same
        box.write_disk(here, original.read_disk(there, size))
    reason = box.start().expect("sealwright: state locked: (.*)", failures=OPENED)
    assert "has not approved" in reason


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content + bytes(HEAD))
    return path
