"""What the owner can set in firmware, and what the appraisal says of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sealwright_testing import customer
from sealwright_testing.firmware_variables import variable
from sealwright_testing.scene import Scene
from sealwright_testing.vendor import command
from sealwright_testing.virtual_box import VirtualBox
from sealwright_testing.world import TEST_MACHINE

pytestmark = [pytest.mark.vm, pytest.mark.redteam]
OVERWRITE = "MemoryOverwriteRequestControl"
"""TCG PC Client Platform Reset Attack Mitigation, 4: bit 0 asks for all memory to be overwritten at the next start."""


def denial(scene: Scene, box: VirtualBox) -> tuple[str, set[str]]:
    """Try to activate a box that must be refused; the refusal's code and those of all mismatches."""
    issued = scene.vendor.issue_license()
    box.start()
    placard = customer.read_placard(box)
    customer.wait_for_https(box)
    reply = customer.post_activation(box, placard.claim_code, issued.activation_code)
    assert reply.status_code == 403, reply.text
    problem = reply.json()
    return problem["code"], {str(mismatch["code"]) for mismatch in problem["mismatches"]}


@pytest.mark.long
def test_secure_boot_off_is_refused(scene: Scene) -> None:
    code, all_codes = denial(scene, scene.fresh_box(secure_boot=False))
    assert "SECURE_BOOT_DISABLED" in all_codes | {code}


@pytest.mark.long
def test_keys_of_somebody_else_and_a_kernel_command_line_from_smbios_are_refused(scene: Scene, tmp_path: Path) -> None:
    """The owner enrols a platform key and KEK of their own and keeps our db, so that the image still boots. Each alone
    is refused in vectors/appraisal: secure-boot-other-keys, smbios-command-line."""
    command("sealwright-image", "keygen", tmp_path / "keys")
    ours = scene.world.secure_boot_keys
    theirs = dataclasses.replace(ours, pk=tmp_path / "keys/PK.pem", kek=tmp_path / "keys/KEK.pem")
    machine = dataclasses.replace(TEST_MACHINE, smbios=("io.systemd.stub.kernel-cmdline-extra=quiet",))
    _, all_codes = denial(scene, scene.fresh_box(keys=theirs, machine=machine))
    assert {"SECURE_BOOT_KEYS", "KERNEL_COMMAND_LINE"} <= all_codes


def test_an_activated_box_stays_closed_behind_an_smbios_command_line(scene: Scene) -> None:
    machine = dataclasses.replace(TEST_MACHINE, smbios=("io.systemd.stub.kernel-cmdline-extra=quiet",))
    box = scene.activated_box(machine=machine).start()
    reason = box.expect("sealwright: state locked: (.*)", failures="sealwright: state (serving|unlocked|waiting)")
    assert "PCR 12" in reason


def test_the_firmware_is_asked_to_overwrite_memory(scene: Scene) -> None:
    """By the kernel, at each start. OVMF keeps the request; that it is heeded only a machine shows."""
    assert variable(scene.fresh_box().variables, OVERWRITE) is None
    assert variable(scene.world.activated.directory / "box/vars.fd", OVERWRITE) == b"\x01"
