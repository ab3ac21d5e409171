"""What the VM tests start from: one vendor with one image, and one box that was activated and has served.

``python -m sealwright_testing.world`` makes it and prints its folder. It is cached by a hash over everything that goes
into the image, so a second run boots no more than the cases need. Tests never change it: they work on copies, and the
licence service of a run works on a copy of the folder made here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from sealwright_testing import customer
from sealwright_testing.firmware_variables import SecureBootKeys
from sealwright_testing.flow_texts import CHAINED, PEERS, UNCHAINED
from sealwright_testing.machine import Machine
from sealwright_testing.models import ModelStore
from sealwright_testing.partition_table import SECTOR
from sealwright_testing.redteam.marked_models import marked
from sealwright_testing.sealed_job import write_job
from sealwright_testing.swtpm import SoftwareTpm
from sealwright_testing.tools_root import ToolsRoot, cache_directory
from sealwright_testing.vendor import IssuedLicense, Model, Vendor, bundled_models
from sealwright_testing.virtual_box import VirtualBox

REPOSITORY = Path(__file__).resolve().parents[2]
PLANTED = "tests/sealwright_testing/planted"
"""What the test image has beside the product's own: units and programs, laid out as in the root."""
TAKES_CREDENTIALS = "systemd.import_credentials=yes"
"""The test image believes SMBIOS: the control of the case in which the product's image does not."""
INPUTS = (
    "image",
    "appliance",
    "policies",
    "licensing",
    "requirements.lock",
    "tests/sealwright_testing/world.py",
    "tests/sealwright_testing/sealed_job.py",
    "tests/sealwright_testing/owner_desk.py",
    "tests/sealwright_testing/redteam/marked_models.py",
    "tests/sealwright_testing/flow_texts.py",
    PLANTED,
)
TEST_MACHINE = Machine(cpus=1, memory_mib=1536)
"""Two of them run side by side on two cores faster than two cores each run one after the other."""
MAX_AGE_S = 7 * 86400
"""A world is made anew before the lease in it ends by the calendar."""
OTHERS_AGE_S = 86400


@dataclass(frozen=True, slots=True)
class World:
    """The folder of one world."""

    directory: Path

    @property
    def vendor(self) -> Vendor:
        """The vendor, whose licence service knows the activated box."""
        return Vendor(self.directory / "vendor")

    @property
    def planted(self) -> Vendor:
        """The same vendor with a test image of the same product, in which something is planted."""
        return Vendor(self.directory / "planted")

    @property
    def models(self) -> list[Model]:
        """What is in the images: the bundled models, each with a mark of its own in its metadata."""
        bundled = bundled_models(ModelStore.load())
        return [dataclasses.replace(one, path=self.directory / "models" / one.path.name) for one in bundled]

    @property
    def secure_boot_keys(self) -> SecureBootKeys:
        """The keys that belong to the image."""
        return SecureBootKeys.of_image(self.vendor.image)

    @property
    def activated(self) -> ActivatedBox:
        """The box that was activated."""
        return ActivatedBox.load(self.directory / "activated")

    def partition(self, label: str, image: Path | None = None) -> tuple[int, int]:
        """Offset and size in bytes of a partition of the image (or of another), by its GPT label."""
        entry = self._partition_entry(label, image)
        return int(entry["start"]) * SECTOR, int(entry["size"]) * SECTOR

    def partition_uuid(self, label: str) -> UUID:
        """Unique id of a partition of the image, by its GPT label."""
        return UUID(self._partition_entry(label)["uuid"])

    def _partition_entry(self, label: str, image: Path | None = None) -> dict[str, Any]:
        disk = (image or self.vendor.image) / "disk.raw"
        printed = ToolsRoot.find().run_inside("sfdisk", "--json", disk, binds=[self.directory])
        entries: list[dict[str, Any]] = json.loads(printed)["partitiontable"]["partitions"]
        return next(entry for entry in entries if entry["name"] == label)

    def fresh_box(
        self,
        directory: Path,
        *,
        keys: SecureBootKeys | None = None,
        secure_boot: bool = True,
        machine: Machine = TEST_MACHINE,
        image: Path | None = None,
    ) -> tuple[VirtualBox, SoftwareTpm]:
        """A new machine with a TPM of its own, the image (or another of its vendor) installed, never switched on."""
        tpm = SoftwareTpm.manufacture(directory / "tpm")
        box = VirtualBox.create(
            directory / "box",
            (image or self.vendor.image) / "disk.raw",
            keys or self.secure_boot_keys,
            tpm.state_directory,
            secure_boot=secure_boot,
            machine=machine,
        )
        return box, tpm


@dataclass(frozen=True, slots=True)
class ActivatedBox:
    """A box that was activated, served once and was switched off; its disk, firmware variables and TPM."""

    directory: Path
    placard: customer.Placard
    license: IssuedLicense
    api_key: str

    @classmethod
    def load(cls, directory: Path) -> ActivatedBox:
        """Read what :meth:`save` wrote."""
        document = json.loads((directory / "activated.json").read_text())
        return cls(
            directory,
            customer.Placard(**document["placard"]),
            IssuedLicense(**document["license"]),
            document["api_key"],
        )

    def save(self) -> None:
        """Write ids and the API key beside the disk."""
        document = {
            "placard": dataclasses.asdict(self.placard),
            "license": dataclasses.asdict(self.license),
            "api_key": self.api_key,
        }
        (self.directory / "activated.json").write_text(json.dumps(document))

    def copy(self, directory: Path, *, machine: Machine = TEST_MACHINE) -> VirtualBox:
        """The same box, off, in another folder: disk, variables and TPM."""
        shutil.copytree(self.directory, directory)
        return VirtualBox(directory / "box", directory / "tpm/state", machine)


def activate_box(world: World, directory: Path) -> ActivatedBox:
    """Take a new box through activation until it has served, and switch it off. The licence service must run."""
    box, tpm = world.fresh_box(directory)
    world.vendor.trust_tpm_maker(tpm)
    issued = world.vendor.issue_license()
    with box:
        box.start()
        placard = customer.read_placard(box)
        secrets = customer.activate(box, placard, issued.activation_code)
        box.expect("sealwright: state serving: ")
        box.power_off()
    activated = ActivatedBox(directory, placard, issued, secrets["api_key"])
    activated.save()
    return activated


def prepare() -> World:
    """Make the world of the present sources, unless it is in the cache."""
    target = cache_directory() / "worlds" / _fingerprint()
    mark = target / "complete"
    if not mark.exists() or time.time() - mark.stat().st_mtime > MAX_AGE_S:
        shutil.rmtree(target, ignore_errors=True)
        _build(World(target))
    _remove_others(target)
    return World(target)


def _build(world: World) -> None:
    start = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - start:7.1f} s  {what}", file=sys.stderr, flush=True)

    say("vendor: licence service, keys, product")
    vendor = world.vendor
    vendor.initialise()
    vendor.write_product(_marked_models(world), more_domains=CHAINED, peers=[PEERS])
    say("image")
    vendor.build(show=True)
    vendor.start_service()
    try:
        vendor.import_release()
        say("box: first boot, activation, restart, serving; meanwhile the test image")
        with ThreadPoolExecutor(1) as beside:
            built = beside.submit(_build_planted, world)
            activate_box(world, world.directory / "activated")
            built.result()
        world.planted.import_release()
    finally:
        vendor.stop_service()
    (world.directory / "complete").touch()
    say("world complete")


def _marked_models(world: World) -> list[Model]:
    """Write the models of all images; they answer as the bundled ones."""
    world.directory.joinpath("models").mkdir()
    return [marked(model, world.directory / "models") for model in bundled_models(ModelStore.load())]


def _build_planted(world: World) -> None:
    """The test image: keys, licence service and models of the first, so that what the first has cached serves both."""
    planted = _same_vendor(world, world.vendor, world.planted.directory)
    tree = REPOSITORY / PLANTED / "tree"
    planted.write_product(
        world.models,
        flavour="test",
        extra_tree=tree,
        extra_command_line=[TAKES_CREDENTIALS],
        planted_engines=["intruder", "by-path", "by-profile", "by-rules"],
        job=write_job,
    )
    planted.build(show=True)


def build_unchained(world: World, vendor: Vendor, directory: Path) -> Vendor:
    """Make a later release, of one model, whose domains have the same names and do not chain data sets, and let the
    licence service of ``vendor`` know it."""
    later = _same_vendor(world, vendor, directory)
    later.write_product(world.models[:1], version="1.2", more_domains=UNCHAINED, peers=[PEERS])
    later.build()
    later.import_release()
    return later


def _same_vendor(world: World, serving: Vendor, directory: Path) -> Vendor:
    """A folder for another image under the world's keys, known to the service that ``serving`` runs."""
    other = Vendor(directory)
    other.directory.mkdir()
    (other.directory / "license").symlink_to(serving.license_directory)
    (other.directory / "keys").symlink_to(world.vendor.directory / "keys")
    return other


def _remove_others(kept: Path) -> None:
    """Worlds of older sources; not yesterday's, which another checkout may be using."""
    for other in kept.parent.iterdir():
        if other != kept and time.time() - other.stat().st_mtime > OTHERS_AGE_S:
            shutil.rmtree(other, ignore_errors=True)


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for name in INPUTS:
        path = REPOSITORY / name
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if _is_source(file))
        for file in files:
            digest.update(str(file.relative_to(REPOSITORY)).encode() + b"\0")
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    for model in bundled_models(ModelStore.load()):
        digest.update(hashlib.sha256(model.path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _is_source(file: Path) -> bool:
    made = any(part == "__pycache__" or part.endswith(".egg-info") for part in file.parts)
    return file.is_file() and not made


def facts(world: World) -> dict[str, Any]:
    """What a person may want to know of a world."""
    return {"directory": str(world.directory), "device": world.activated.placard.device_id}


def main() -> None:
    """Prepare the world and print where it is."""
    print(json.dumps(facts(prepare()), indent=2))


if __name__ == "__main__":
    main()
