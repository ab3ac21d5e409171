"""A device that firmware has left at work, and that no driver of the box takes, reaches no memory past an IOMMU.

Whoever has the machine puts it in; here it is a USB controller with a keyboard, for which the box's kernel has no
driver.
"""

from __future__ import annotations

import dataclasses

import pytest

from sealwright_testing.redteam.inside import type_keys
from sealwright_testing.redteam.usb_controller import DEVICES, UsbController
from sealwright_testing.scene import Scene
from sealwright_testing.virtual_box import VirtualBox
from sealwright_testing.world import TEST_MACHINE

pytestmark = [pytest.mark.vm, pytest.mark.redteam, pytest.mark.long]


def started(scene: Scene, *devices: str) -> tuple[VirtualBox, UsbController]:
    """A new box, which has nothing to do, and its controller, which has not written yet."""
    box = scene.fresh_box(machine=dataclasses.replace(TEST_MACHINE, extra=(*devices, *DEVICES))).start()
    box.expect("sealwright: state waiting-for-activation")
    controller = UsbController.find(box)
    assert not controller.has_written()
    return box, controller


def test_an_iommu_keeps_it_from_memory(scene: Scene) -> None:
    """The kernel switches the IOMMU on for devices without a driver as well, and says what it has kept away."""
    box, controller = started(scene, "-device", "intel-iommu")
    type_keys(box)
    box.expect(r"DMAR: \[DMA Write .*fault addr")
    assert not controller.has_written()


def test_without_an_iommu_it_writes_to_memory(scene: Scene) -> None:
    """The control; and why no box with an owner who may put things in is safe without one."""
    box, controller = started(scene)
    type_keys(box)
    box.wait_until(controller.has_written, "the controller's event")
