"""What the owner of disk and firmware hands to the boot, beside what is signed: it is not read, or nothing opens.

That each of them arrives is shown by the refusal: only what the stub has taken up is measured. An addon is a program to
the firmware, which measures it into PCR 4 before the stub adds its words to PCR 12; the first is what is told.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from sealwright_testing.console import PROMPT, ConsoleError
from sealwright_testing.redteam.controls import control
from sealwright_testing.redteam.esp import addon, lay_on_esp, system_extension
from sealwright_testing.scene import Scene
from sealwright_testing.world import TEST_MACHINE

pytestmark = [pytest.mark.vm, pytest.mark.redteam, pytest.mark.long]

WORDS = "planted.word"
OPENED = "sealwright: state (serving|unlocked|waiting)"
MEASURED: dict[str, tuple[Callable[[Scene, Path], dict[str, bytes]], str]] = {
    "addon-under-our-key": (
        lambda scene, folder: {"a.addon.efi": addon(WORDS, folder, scene.world.vendor.directory / "keys")},
        "PCR 4",
    ),
    "credential": (lambda *_: {"tmpfiles.extra.cred": b"w /dev/ttyS0 - - - - planted\n"}, "PCR 12"),
    "system-extension": (lambda _, folder: {"planted.sysext.raw": system_extension(folder)}, "PCR 13"),
}


def test_an_addon_that_nobody_signed_is_not_read(scene: Scene, tmp_path: Path) -> None:
    """The same under our own key is read, and measured: the control is the first case below."""
    box = scene.activated_box()
    lay_on_esp(box, scene.world.partition("esp"), {"a.addon.efi": addon(WORDS, tmp_path)})
    box.start().expect("sealwright: state serving: ", failures="sealwright: state locked")


@pytest.mark.parametrize("name", MEASURED)
def test_what_is_laid_on_the_esp_opens_nothing(scene: Scene, tmp_path: Path, name: str) -> None:
    make, measured = MEASURED[name]
    box = scene.activated_box()
    lay_on_esp(box, scene.world.partition("esp"), make(scene, tmp_path))
    reason = box.start().expect("sealwright: state locked: (.*)", failures=OPENED)
    control(measured in reason, f"it was taken up, and so measured: {reason}")


@pytest.mark.parametrize(
    ("word", "ending"),
    [
        ("systemd.unit=emergency.target", "sealwright/v1/failure"),
        ("rd.systemd.unit=emergency.target", "reboot: Power down"),
    ],
)
def test_another_target_gives_no_shell(scene: Scene, word: str, ending: str) -> None:
    """It is obeyed, which is the control: what it leads to powers off; the system poisons the measurement first."""
    machine = dataclasses.replace(TEST_MACHINE, smbios=(f"io.systemd.stub.kernel-cmdline-extra={word}",))
    box = scene.activated_box(machine=machine).start()
    control(box.expect(ending, failures=f"{PROMPT}|{OPENED}"), "the target is obeyed")
    with pytest.raises(ConsoleError, match="the box switched off"):
        box.expect(PROMPT, failures="sealwright: ")
