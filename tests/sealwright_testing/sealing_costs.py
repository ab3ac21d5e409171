"""What sealing costs, in instructions of the virtual machine, where time under emulation proves nothing.

A test image with a measuring program in it (``measured/``) is activated once; then copies of that box boot on a
machine that counts instructions. In the first, one engine runs sealed and plain in turns (see ``meter.py``); all give a
sample of the boot. The model is the tiny one of the tests: what a model's size does not change weighs most there.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sealwright_image.erofs import make_erofs, stage_file
from sealwright_image.payload_partition import MODEL_FILE
from sealwright_image.run import Tools
from sealwright_testing import customer
from sealwright_testing.bench import Figure, figure
from sealwright_testing.console import FAILURES
from sealwright_testing.firmware_variables import SecureBootKeys
from sealwright_testing.machine import Machine
from sealwright_testing.models import ModelStore
from sealwright_testing.swtpm import SoftwareTpm
from sealwright_testing.vendor import Vendor, bundled_models
from sealwright_testing.virtual_box import VirtualBox
from sealwright_testing.world import TAKES_CREDENTIALS, TEST_MACHINE

BOOTS = ROUNDS = 5
MODEL = "medical"
"""As in meter.py."""
TREE = Path(__file__).resolve().parent / "measured/tree"
COUNTED = dataclasses.replace(TEST_MACHINE, isolated=True, counted=True)
PLAIN = "the same engine on an unsealed disk, without sandbox; guest instructions"
BOOT = "the boot without its sealing units, until all models serve; guest instructions"
MEASURES = (
    ("decode", "M/token", 1e6),
    ("prompt", "M/token", 1e6),
    ("load", "M", 1e6),
    ("memory", "MiB", 2**20),
)
"""What is measured of each side, its unit (M: million instructions) and what it is divided by."""
STALL_S = 1800.0
"""Nothing is printed while it measures."""


def measure_costs() -> Iterable[Figure]:
    """Ratios plain to sealed: 1 is a sealing that costs nothing, below it is what is left."""
    with tempfile.TemporaryDirectory(prefix="sealwright-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        _activate_box(folder)
        disk = _plain_disk(folder)
        reports = [_report(folder, disk, number, rounds=0 if number else ROUNDS) for number in range(BOOTS)]
    yield from figures(reports)


def figures(reports: list[dict[str, Any]]) -> Iterator[Figure]:
    """Sum up what meter.py printed in each boot."""
    sides = {side: [one for report in reports for one in report[side]] for side in ("plain", "sealed")}
    for side in sides.values():
        for one in side:
            one["memory"] = sum(one["memory"].values())

    def ratio(name: str, measure: str) -> Figure:
        pairs = zip(sides["plain"], sides["sealed"], strict=True)
        return figure(name, [plain[measure] / sealed[measure] for plain, sealed in pairs], "ratio", against=PLAIN)

    yield ratio("decode_ratio", "decode")
    yield ratio("prompt_ratio", "prompt")
    yield ratio("load_ratio", "load")
    yield ratio("memory_ratio", "memory")
    boots = [report["boot"] for report in reports]
    yield figure("boot_ratio", [1 - one["sealing"] / one["all"] for one in boots], "ratio", against=BOOT)
    least = [1 - (one["sealing"] + one["kernel_threads"]) / one["all"] for one in boots]
    yield figure("boot_ratio: at worst", least, "ratio", against="the same, all kernel threads taken for sealing")
    for name, samples in sides.items():
        for measure, unit, scale in MEASURES:
            yield figure(f"{name} {measure}", [one[measure] / scale for one in samples], unit)
    for part in ("all", "sealing", "kernel_threads"):
        yield figure(f"boot: {part}", [one[part] / 1e6 for one in boots], "M")


def _activate_box(folder: Path) -> None:
    """Build the test image, and activate a box with it in ``folder/activated``."""
    vendor = Vendor(folder / "vendor")
    vendor.initialise()
    models = bundled_models(ModelStore.load())
    vendor.write_product(models, flavour="test", extra_tree=TREE, extra_command_line=[TAKES_CREDENTIALS])
    vendor.build(show=True)
    tpm = SoftwareTpm.manufacture(folder / "activated/tpm")
    keys, disk = SecureBootKeys.of_image(vendor.image), vendor.image / "disk.raw"
    box = VirtualBox.create(folder / "activated/box", disk, keys, tpm.state_directory, machine=TEST_MACHINE)
    vendor.start_service()
    try:
        vendor.import_release()
        vendor.trust_tpm_maker(tpm)
        issued = vendor.issue_license("--allow-test-images")
        with box:
            box.start()
            placard = customer.read_placard(box)
            customer.activate(box, placard, issued.activation_code)
            box.expect("sealwright: state serving: ")
            box.power_off()
    finally:
        vendor.stop_service()


def _plain_disk(folder: Path) -> Path:
    """The payload's file system as the build makes it, neither encrypted nor verified."""
    stage, disk = folder / "stage", folder / "plain.erofs"
    stage.mkdir()
    stage_file(ModelStore.load().path(MODEL), stage / MODEL_FILE)
    make_erofs(Tools(), stage, disk, uuid.uuid4(), 0)
    with disk.open("r+b") as stream:
        stream.truncate(-(-disk.stat().st_size // 2**20) * 2**20)
    return disk


def counted_machine(disk: Path, rounds: int) -> Machine:
    """A machine that counts, with the plain disk in it, and what the measuring program is told in its SMBIOS tables."""
    drive = f"if=none,id=measured,format=raw,readonly=on,file={disk}"
    told = base64.b64encode(str(rounds).encode()).decode()
    return dataclasses.replace(
        COUNTED,
        smbios=(f"io.systemd.credential.binary:measured.rounds={told}",),
        extra=("-drive", drive, "-device", "virtio-blk-pci,drive=measured,serial=measured"),
    )


def _report(folder: Path, disk: Path, number: int, rounds: int) -> dict[str, Any]:
    """What the measuring program prints in one boot."""
    directory = folder / f"boot-{number}"
    shutil.copytree(folder / "activated", directory)
    with VirtualBox(directory / "box", directory / "tpm/state", counted_machine(disk, rounds)) as box:
        box.start()
        box.expect("sealwright: state serving: ", failures=f"{FAILURES}|sealwright: state locked", stall_s=STALL_S)
        report: dict[str, Any] = json.loads(box.expect("measured ({.*}) in all", stall_s=STALL_S))
    shutil.rmtree(directory)
    return report
