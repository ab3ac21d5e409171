"""Boots of the test image in which an intruder makes all its attempts, and what is seen of them from outside."""

from __future__ import annotations

import dataclasses
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sealwright_testing import customer
from sealwright_testing.machine import Machine, forwarded_port
from sealwright_testing.models import ModelStore
from sealwright_testing.redteam.disarmed import disarmed
from sealwright_testing.redteam.recovery import deciphered
from sealwright_testing.redteam.report import Report
from sealwright_testing.scene import Scene
from sealwright_testing.sealed_job import OTHER_HOST, OWN_HOST
from sealwright_testing.smbios import injecting
from sealwright_testing.virtual_box import VirtualBox
from sealwright_testing.world import TEST_MACHINE

KNOCKED = 9998
"""The port that the observer listens on, and no service of the box."""
SIZE = 1 << 20
"""Of a further disk and of a stick, bytes."""
PAGE = 4096
SWAP_SIGNATURE = b"SWAPSPACE2"
KEYS = ("alt-f2", "ctrl-c", "esc", "ret", "alt-sysrq-c", "alt-sysrq-b")
"""Another terminal, an end, a prompt; a crash and a restart by the kernel's own keys. Debian's kernel obeys the last
where nobody forbids it."""
RESTARTED = "RESET"
"""QEMU's event."""


@dataclass(frozen=True, slots=True)
class Inside:
    """A box in which an intruder was loose.

    Attributes:
        report: What it printed, and what the observer did.
        before_license: The box's answer to an activation code of a licence that allows no test images.
        answer: To a question at the end, of an engine that had been killed.
        expected: What the model answers.
        further_disk: What was on a second disk afterwards.
        state: The file system of the state volume, opened by the recovery key.
        device_id: The box's, which lies there in the clear.
    """

    report: Report
    before_license: tuple[int, dict[str, Any]]
    answer: str
    expected: str
    further_disk: bytes
    state: bytes
    device_id: str


def boot_planted(scene: Scene) -> Inside:
    """Activate a test image in a machine with evil devices, and wait until every attempt is made."""
    further = scene.directory / "further.raw"
    machine = dataclasses.replace(injecting(TEST_MACHINE), echoes=(OWN_HOST, OTHER_HOST))
    machine = with_devices(machine, further, scene.directory / "stick.raw")
    box = scene.fresh_box(image=scene.world.planted.image, machine=machine).start()
    placard = customer.read_placard(box)
    customer.wait_for_https(box)
    refusal = customer.post_activation(box, placard.claim_code, scene.vendor.issue_license().activation_code)
    issued = scene.vendor.issue_license("--allow-test-images")
    secrets = customer.activate(box, placard, issued.activation_code)
    box.expect("sealwright: state serving: ")
    box.expect("knock listening")
    port = forwarded(box, KNOCKED)
    with knocking(port):
        box.expect("knock (dropped|ACCEPTED)")
    box.expect("knock again")
    with knocking(port):
        box.expect("planted end")
    type_keys(box)
    customer.wait_for_https(box)
    sample = ModelStore.load().samples()["medical"][0]
    with customer.colleague(box, secrets["api_key"], placard.tls_fingerprint) as client:
        answer = customer.ask(client, "medical", sample.question)
    report = Report(box.console.text)
    device_id = str(customer.status(box)["device_id"])
    box.kill()
    volume = box.read_disk(*scene.world.partition("state", scene.world.planted.image))
    return Inside(
        report=report,
        before_license=(refusal.status_code, refusal.json()),
        answer=answer,
        expected=sample.answer,
        further_disk=further.read_bytes(),
        state=deciphered(volume, str(secrets["recovery_key"]), scene.directory),
        device_id=device_id,
    )


def boot_disarmed(scene: Scene) -> Report:
    """Start the test image's kernel without its defences, Secure Boot off, and wait until every attempt is made.

    Its kernel then obeys what is typed, and restarts.
    """
    folder = scene.directory / "disarmed"
    folder.mkdir()
    image = scene.world.planted.image
    machine = disarmed(with_disk(TEST_MACHINE, folder / "further.raw"), image, folder)
    with scene.world.fresh_box(folder / "machine", secure_boot=False, machine=machine, image=image)[0] as box:
        box.start()
        box.expect("planted end")
        report = Report(box.console.text)
        type_keys(box)
        box.wait_until(lambda: box.has_event(RESTARTED), "a restart by keys")
        return report


def with_devices(machine: Machine, further: Path, stick: Path) -> Machine:
    """The machine with a second disk and a stick, which its owner has put in.

    Keys go to the board's own keyboard. The box has no driver for one by USB, which would take them, and write the
    first to memory, as tests/vm/redteam/test_dma.py shows.
    """
    stick.write_bytes(bytes(SIZE))
    devices = ("-device", "qemu-xhci", "-device", "usb-storage,drive=stick")
    machine = with_disk(machine, further)
    return dataclasses.replace(
        machine, extra=(*machine.extra, "-drive", f"if=none,id=stick,format=raw,file={stick}", *devices)
    )


def with_disk(machine: Machine, further: Path) -> Machine:
    """The machine with a second disk, made ready to swap to."""
    further.write_bytes(swap_area(SIZE))
    drive = ("-drive", f"if=none,id=further,format=raw,file={further}", "-device", "virtio-blk-pci,drive=further")
    return dataclasses.replace(machine, extra=(*machine.extra, *drive))


def swap_area(size: int) -> bytes:
    """As mkswap(8) makes one (linux/swap.h, union swap_header): version and number of the last page behind 1024 bytes
    that are anybody's, and a signature at the end of the first page."""
    head = bytes(1024) + struct.pack("<II", 1, size // PAGE - 1)
    return (head.ljust(PAGE - len(SWAP_SIGNATURE), b"\0") + SWAP_SIGNATURE).ljust(size, b"\0")


def type_keys(box: VirtualBox) -> None:
    """What a keyboard can be used for. Ctrl-Alt-Del restarts the box, as its power button does."""
    for keys in KEYS:
        box.execute("send-key", keys=[{"type": "qcode", "data": key} for key in keys.split("-")])


def forwarded(box: VirtualBox, port: int) -> int:
    """A port of this machine that leads to one of the box's."""
    box.execute("human-monitor-command", **{"command-line": f"hostfwd_add net0 tcp:127.0.0.1:0-:{port}"})
    return forwarded_port(box.execute("human-monitor-command", **{"command-line": "info usernet"}), port)


@contextmanager
def knocking(port: int) -> Iterator[None]:
    """Try to connect to a port that is forwarded. QEMU takes the connection itself, and then tries the box."""
    with socket.create_connection(("127.0.0.1", port)):
        yield
