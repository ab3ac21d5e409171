"""A virtual box's USB controller as its firmware leaves it (xHCI 1.2), seen from outside by QEMU.

Firmware has it listen to a keyboard, and halts it when the system starts. A halted controller writes nothing (5.4.1.1);
QEMU's ends the transfer that it has begun, and so writes the first key that is typed, and an event, to where firmware
had its buffers: memory that by then is the system's.
"""

from __future__ import annotations

from dataclasses import dataclass

from sealwright_testing.virtual_box import VirtualBox

DEVICES = ("-device", "qemu-xhci", "-device", "usb-kbd")
USB_CLASS = 0x0C03
"""PCI's class and subclass."""
RUNTIME_OFFSET = 0x18
"""Register RTSOFF (5.3.8)."""
DEQUEUE_POINTER = 0x38
"""Register ERDP of interrupter 0, among the runtime registers (5.5.2.3.3); its low four bits are no address."""
TRANSFER_EVENT = 32
"""Type of an event (6.4.2.1, table 6-91), bits 10 to 15 of its fourth word."""
SUCCESS = 1
"""Its completion code (table 6-90), bits 24 to 31 of its third word."""


@dataclass(frozen=True, slots=True)
class UsbController:
    """The one controller of a box that is on.

    Attributes:
        next_event: Address of what it writes next, once the firmware has handled all events.
    """

    box: VirtualBox
    next_event: int

    @classmethod
    def find(cls, box: VirtualBox) -> UsbController:
        """By its class, and by what firmware has written to its registers."""
        (found,) = [
            device
            for bus in box.execute("query-pci")
            for device in bus["devices"]
            if device["class_info"]["class"] == USB_CLASS
        ]
        registers = int(found["regions"][0]["address"])
        runtime = registers + _words(box, registers + RUNTIME_OFFSET, 1)[0]
        low, high = (_words(box, runtime + DEQUEUE_POINTER + offset, 1)[0] for offset in (0, 4))
        return cls(box, (high << 32 | low) & ~0xF)

    def has_written(self) -> bool:
        """Whether the event of a key that was typed is in memory."""
        _, _, third, fourth = _words(self.box, self.next_event, 4)
        return (third >> 24, fourth >> 10 & 0x3F) == (SUCCESS, TRANSFER_EVENT)


def _words(box: VirtualBox, address: int, count: int) -> list[int]:
    """Of 32 bits, as a processor would read them: memory, or a device's registers. ``xp`` prints ADDRESS: WORDS."""
    printed = box.execute("human-monitor-command", **{"command-line": f"xp /{count}wx {address:#x}"})
    return [int(word, 16) for word in printed.split(":", 1)[1].split()]
