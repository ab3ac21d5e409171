"""What a VM case works with: the world, the running licence service, and boxes that are killed at the case's end."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sealwright_testing.firmware_variables import SecureBootKeys
from sealwright_testing.machine import Machine
from sealwright_testing.vendor import Vendor
from sealwright_testing.virtual_box import VirtualBox
from sealwright_testing.world import TEST_MACHINE, ActivatedBox, World


@dataclass
class Scene:
    """What a case works with; boxes that it starts are killed at its end."""

    world: World
    vendor: Vendor
    directory: Path
    boxes: ExitStack

    @property
    def activated(self) -> ActivatedBox:
        """Ids, licence and API key of the activated box."""
        return self.world.activated

    def activated_box(self, *, machine: Machine = TEST_MACHINE) -> VirtualBox:
        """A copy of the activated box, off."""
        return self.boxes.enter_context(self.activated.copy(self.directory / "activated", machine=machine))

    def fresh_box(
        self,
        *,
        keys: SecureBootKeys | None = None,
        secure_boot: bool = True,
        machine: Machine = TEST_MACHINE,
        image: Path | None = None,
        name: str = "fresh",
    ) -> VirtualBox:
        """A new machine with the image installed and a TPM that the service trusts; off. A case's boxes have names."""
        directory = self.directory / name
        box, tpm = self.world.fresh_box(directory, keys=keys, secure_boot=secure_boot, machine=machine, image=image)
        self.vendor.trust_tpm_maker(tpm)
        return self.boxes.enter_context(box)
