"""A simulated box with a disk: whole boots of the unlock unit, and what they ran.

There is no device-mapper and nothing is mounted, so those commands are only noted; passphrases are tried by the real
cryptsetup. Closing PCR 15 is done in the TPM, as systemd does.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sealwright_appliance import payloads as payloads_module
from sealwright_appliance import unlock as unlock_module
from sealwright_appliance.binding import SLOT_SIZE, StateBinding, load_binding, store_binding
from sealwright_appliance.console import Console
from sealwright_appliance.kernel_keys import offered_key
from sealwright_appliance.paths import Paths
from sealwright_appliance.run import ToolError
from sealwright_appliance.run import run as really_run
from sealwright_appliance.sealed_folders import open_sealed_folders
from sealwright_appliance.status import BootResult
from sealwright_appliance.tpm_counters import read_counter
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_appliance.unlock import PCR_EXTEND, unlock
from sealwright_appliance.volumes import HEADER_SIZE, LUKS_NAME
from sealwright_policies.errors import OperationError
from sealwright_testing.event_logs import LoggedEvent
from sealwright_testing.simulated_box import SimulatedBox, SimulatedVendor

ZERO = bytes(32)
"""A PCR that nothing was measured into."""


class PowerCutError(BaseException):
    """The box is off: nothing handles it."""


@dataclass
class Disk:
    """A box with a disk, and what was run on it."""

    box: SimulatedBox
    seen: list[list[str]] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    """Laid into the keyring for plain dm-crypt, in order."""
    domain_keys: list[bytes] = field(default_factory=list)
    """By which the folders of domains were to be opened, in order."""
    is_mounted: bool = False
    """Whether the state volume really is an ext4, whose folders the kernel encrypts."""
    passphrases: list[bytes] = field(default_factory=list)
    """Given to LUKS, in order."""
    missing: set[str] = field(default_factory=set)
    """Words of commands that fail."""
    failure: OperationError | OSError | None = None
    """How they fail; None: with an exit status."""
    measures: bool = True
    """Whether systemd-pcrextend does what it is asked."""
    cut_before: str = ""
    """A word of a command before which the power fails."""

    @classmethod
    def blank(cls, vendor: SimulatedVendor, directory: Path) -> Disk:
        """A new box with an empty disk."""
        made = cls(SimulatedBox.manufacture(vendor, directory))
        made.install_anew()
        return made

    def install_anew(self) -> None:
        """The vendor's present image is written over everything; the TPM stays."""
        self.box.install()
        shutil.rmtree(self.box.paths.state, ignore_errors=True)
        for device in (self.state_device, self.binding_device):
            with device.open("wb") as file:
                file.truncate(2 * SLOT_SIZE)
        node = self.box.paths.agents_binding  # a device node in the box
        node.unlink(missing_ok=True)
        node.symlink_to(self.binding_device)

    @property
    def state_device(self) -> Path:
        """The state partition."""
        return self.box.paths.partition("state")

    @property
    def binding_device(self) -> Path:
        """The binding partition."""
        return self.box.paths.partition("binding")

    @property
    def header(self) -> bytes:
        """What the state partition has before its data."""
        with self.state_device.open("rb") as file:
            return file.read(HEADER_SIZE)

    @property
    def binding(self) -> StateBinding:
        """The record."""
        found = load_binding(self.binding_device)
        assert found is not None
        return found

    def bind(self, **changes: object) -> None:
        """Change the record, as whoever has the disk can."""
        store_binding(self.binding_device, self.binding.model_copy(update=changes))

    def run(self, argv: Sequence[str], *, secrets: Sequence[bytes] = (), timeout_s: float = 0.0) -> str:
        """In place of :func:`sealwright_appliance.run.run`."""
        self.seen.append(list(argv))
        if self.cut_before in argv:
            raise PowerCutError
        if self.missing & set(argv):
            raise self.failure or ToolError(argv[0], 1, "it is not there")
        if argv[0] == PCR_EXTEND and self.measures:
            self.box.measure(15, argv[2])
        if argv[0].endswith("mkfs.ext4"):
            if not argv[-1].endswith(LUKS_NAME):  # a volume of results, a file
                return really_run(argv)
            shutil.rmtree(self.box.paths.state, ignore_errors=True)  # what is on the volume
        if argv[1] in ("open", "create"):
            self._map(argv)
        if "luks2" in argv:
            self.passphrases.extend(secrets)
            really_run([*argv[:2], "--test-passphrase", *argv[2 : argv.index(LUKS_NAME)]], secrets=secrets)
        return ""

    @contextmanager
    def offer(self, name: str, key: bytes) -> Iterator[None]:
        """In place of :func:`sealwright_appliance.kernel_keys.offered_key`: the same, but noted."""
        self.keys.append(key)
        with offered_key(name, key):
            yield

    def open_folders(
        self, paths: Paths, domain_key: bytes, domains: Collection[str], say: Callable[[str], None]
    ) -> dict[str, str]:
        """In place of :func:`sealwright_appliance.sealed_folders.open_sealed_folders`: the key is noted."""
        self.domain_keys.append(domain_key)
        if self.is_mounted:
            return open_sealed_folders(paths, domain_key, domains, say)
        own = [paths.domain_files / domain for domain in domains]
        for folder in (paths.domain_files, *own, paths.results, paths.adapters, paths.flows, paths.retention):
            folder.mkdir(mode=0o700, exist_ok=True)
        return {}

    def _map(self, argv: Sequence[str]) -> None:
        """An empty file for a device that would be made."""
        for name in argv:
            if name.startswith("sealwright-"):
                device = self.box.paths.mapped(name)
                device.parent.mkdir(exist_ok=True)
                device.touch()

    def programs(self) -> list[str]:
        """First words of what was run."""
        return [argv[0].rsplit("/", 1)[-1] for argv in self.seen]

    def boot(self, monkeypatch: pytest.MonkeyPatch, *, events: list[LoggedEvent] | None = None) -> BootResult:
        """Switch on and unlock."""
        self.seen.clear()
        self.keys.clear()
        self.passphrases.clear()
        self.domain_keys.clear()
        monkeypatch.setattr(unlock_module, "open_sealed_folders", self.open_folders)
        monkeypatch.setattr(unlock_module, "run", self.run)
        monkeypatch.setattr(payloads_module, "run", self.run)
        monkeypatch.setattr(payloads_module, "offered_key", self.offer)
        self.box.boot(events=events)
        self.console.write_text("")
        return unlock(self.box.paths, Console([self.console]))

    @property
    def console(self) -> Path:
        """What it says."""
        return self.box.directory / "console"

    def claim_counter(self) -> int:
        """Where it stands."""
        with open_provisioned_tpm(self.box.paths.tcti) as tpm:
            return read_counter(tpm.device, tpm.counters.claim)

    def pcr15(self) -> bytes:
        """Whether the door is closed."""
        with open_provisioned_tpm(self.box.paths.tcti) as tpm:
            return tpm.device.read_pcrs([15])[15]
