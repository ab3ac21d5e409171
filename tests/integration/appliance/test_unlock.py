"""Whole boots of the unlock unit: real TPM, real LUKS header, real licence service.

This machine has no device-mapper and mounts nothing, so those commands are only noted; the VM tests run them. Closing
PCR 15 is done in the TPM, as systemd does.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import ESYS_TR

from sealwright_appliance import payloads as payloads_module
from sealwright_appliance import unlock as unlock_module
from sealwright_appliance.boot import BoxCode, BoxState
from sealwright_appliance.claim import Claim
from sealwright_appliance.console import Console
from sealwright_appliance.license_client import DeniedError
from sealwright_appliance.run import ToolError
from sealwright_appliance.run import run as really_run
from sealwright_appliance.state_volume import BLANK_SIZE, FORMATTING_FILE, SEALED_FILE, StateBinding, approve_release
from sealwright_appliance.status import BootResult, PayloadState
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_appliance.unlock import PCR_EXTEND, SECRETS_WAIT, unlock
from sealwright_appliance.volumes import HEADER_SIZE
from sealwright_image.cli import main as image_command
from sealwright_policies.errors import OperationError, RejectionCode
from sealwright_policies.tcg.eventlog import EventType
from sealwright_testing.event_logs import LoggedEvent
from sealwright_testing.evidence_factory import secure_boot_events
from sealwright_testing.simulated_box import SimulatedBox, SimulatedVendor

ZERO = bytes(32)


@dataclass
class Disk:
    """A box with a disk, and what was run on it."""

    box: SimulatedBox
    seen: list[list[str]] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    """Given to plain dm-crypt, in order."""
    passphrases: list[bytes] = field(default_factory=list)
    """Given to LUKS, in order."""
    missing: set[str] = field(default_factory=set)
    """Words of commands that fail."""
    measures: bool = True
    """Whether systemd-pcrextend does what it is asked."""

    @property
    def state_device(self) -> Path:
        """The state partition."""
        return self.box.paths.partition("state")

    def run(self, argv: Sequence[str], *, secrets: Sequence[bytes] = (), timeout_s: float = 0.0) -> str:
        """In place of :func:`sealwright_appliance.run.run`."""
        self.seen.append(list(argv))
        if self.missing & set(argv):
            raise ToolError(argv[0], 1, "it is not there")
        if argv[0] == PCR_EXTEND and self.measures:
            self.box.measure(15, argv[2])
        if "plain" in argv:
            self.keys.extend(secrets)
        elif "luks2" in argv:
            self.passphrases.extend(secrets)
            opens = ["cryptsetup", "open", "--test-passphrase", "--type", "luks2", "--key-file", "{secret0}"]
            really_run([*opens, str(self.state_device)], secrets=secrets)
        return ""

    def install_anew(self) -> None:
        """The vendor's present image is written over everything; the TPM stays."""
        paths = self.box.paths
        for folder in (paths.binding, paths.state):
            shutil.rmtree(folder)
        self.state_device.write_bytes(bytes(2 * BLANK_SIZE))
        shutil.copy(self.box.vendor.image / "variants.json", paths.variants)

    def programs(self) -> list[str]:
        """First words of what was run."""
        return [argv[0].rsplit("/", 1)[-1] for argv in self.seen]

    def boot(self, monkeypatch: pytest.MonkeyPatch, *, events: list[LoggedEvent] | None = None) -> BootResult:
        """Switch on and unlock."""
        self.seen.clear()
        self.keys.clear()
        self.passphrases.clear()
        monkeypatch.setattr(unlock_module, "run", self.run)
        monkeypatch.setattr(payloads_module, "run", self.run)
        self.box.boot(events=events)
        self.console.write_text("")
        return unlock(self.box.paths, Console([self.console]))

    @property
    def console(self) -> Path:
        """What it says."""
        return self.box.directory / "console"

    def pcr15(self) -> bytes:
        """Whether the door is closed."""
        with open_provisioned_tpm(self.box.paths.tcti) as tpm:
            return tpm.device.read_pcrs([15])[15]


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedVendor]:
    """A licence service that runs."""
    made = SimulatedVendor(tmp_path_factory.mktemp("vendor"))
    with made.serving():
        yield made


@pytest.fixture
def disk(vendor: SimulatedVendor, tmp_path: Path) -> Iterator[Disk]:
    """A new box with an empty disk."""
    box = SimulatedBox.manufacture(vendor, tmp_path / "box")
    made = Disk(box)
    made.state_device.parent.mkdir(parents=True)
    with made.state_device.open("wb") as file:
        file.truncate(2 * BLANK_SIZE)
    yield made
    box.tpm.kill()


def test_from_the_first_boot_to_open_payloads(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """First boot: keys, claim code. Activation. Second boot: the build's own volume keys reach dm-crypt."""
    first = disk.boot(monkeypatch)
    assert first.state is BoxState.WAITING_FOR_ACTIVATION, first
    assert disk.pcr15() != ZERO
    said = disk.console.read_text()
    assert f"claim code {Claim(disk.box.paths.claim).code()}" in said
    assert said.splitlines()[-1] == "sealwright: state waiting-for-activation"
    assert SECRETS_WAIT not in said
    assert not (disk.box.paths.binding / FORMATTING_FILE).exists()
    disk.box.measure(11, "ready")
    disk.box.enroll(disk.box.vendor.issue().activation_code)
    passphrase = disk.passphrases[0]

    second = disk.boot(monkeypatch)
    assert second.state is BoxState.UNLOCKED, second
    assert [payload.state for payload in second.payloads] == [PayloadState.OPEN] * 2
    assert disk.keys == list(disk.box.vendor.volume_keys.values())
    assert disk.passphrases == [passphrase]
    assert "mkfs.ext4" not in disk.programs()
    assert disk.programs()[-1] == "systemd-pcrextend"
    assert disk.pcr15() != ZERO
    assert first.tls_fingerprint == second.tls_fingerprint
    said = disk.console.read_text().removeprefix(said)
    assert "sealwright: state unlocked: medical finance" in said
    assert f"claim code {Claim(disk.box.paths.claim).code()}\nsealwright: {SECRETS_WAIT}" in said
    words = {word for argv in disk.seen for word in argv}
    assert not words & {secret.hex() for secret in (*disk.keys, passphrase)}


@pytest.mark.parametrize("missing", ["vfat", "esp", "ext4"])
def test_pcr_15_is_closed_whatever_fails(disk: Disk, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """A disk that does not mount leaves nothing open for later, and the reason is told."""
    disk.missing = {missing, str(disk.box.paths.partition(missing))}
    result = disk.boot(monkeypatch)
    assert result.state is BoxState.LOCKED
    assert result.code in (BoxCode.UNLOCK_FAILED, BoxCode.STATE_VOLUME)
    assert disk.pcr15() != ZERO
    assert result.tls_fingerprint
    assert f"state locked: {result.code}: " in disk.console.read_text()


def test_a_boot_that_cannot_close_pcr_15_does_not_go_on(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unit fails, and with it the boot; nothing says that the box is open."""
    disk.missing = {PCR_EXTEND}
    with pytest.raises(OperationError):
        disk.boot(monkeypatch)
    assert not disk.box.paths.boot_result.exists()


def test_a_pcr_15_that_is_only_said_to_be_closed_does_not_count(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd-pcrextend skips the measurement, with success, where the stub's variable is not to be seen."""
    disk.measures = False
    with pytest.raises(OperationError, match="PCR 15"):
        disk.boot(monkeypatch)
    assert not disk.box.paths.boot_result.exists()


def test_secure_boot_off_is_named_and_opens_nothing_later(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first boot in the wrong state says so and can only be refused by the service; the next one stays closed."""
    vendor = disk.box.vendor.synthetic
    on, off = (secure_boot_events(vendor.keys, enabled=enabled)[0] for enabled in (True, False))
    events = [off if event == on else event for event in vendor.boot_events()]
    first = disk.boot(monkeypatch, events=events)
    assert first.state is BoxState.WAITING_FOR_ACTIVATION
    assert f"sealwright: boot {RejectionCode.SECURE_BOOT_DISABLED}: " in disk.console.read_text()
    assert disk.pcr15() != ZERO
    disk.box.measure(11, "ready")
    with pytest.raises(DeniedError) as caught:
        disk.box.enroll(disk.box.vendor.issue().activation_code)
    assert RejectionCode.SECURE_BOOT_DISABLED in {mismatch["code"] for mismatch in caught.value.problem.mismatches}

    second = disk.boot(monkeypatch, events=events)
    assert (second.state, second.code) == (BoxState.LOCKED, RejectionCode.SECURE_BOOT_DISABLED)
    assert "Secure Boot is off" in second.sentence
    assert disk.passphrases == []
    assert disk.boot(monkeypatch).state is BoxState.WAITING_FOR_ACTIVATION


def test_an_appended_command_line_is_named(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """PCR 12 is not zero; the state volume stays closed, and nothing is served from it."""
    disk.boot(monkeypatch)
    extra = LoggedEvent(12, 0x0000000D, b"init=/bin/sh")
    result = disk.boot(monkeypatch, events=[*disk.box.vendor.synthetic.boot_events(), extra])
    assert result.code == RejectionCode.KERNEL_COMMAND_LINE
    assert "PCR 12" in result.sentence
    assert disk.passphrases == []
    assert not result.state_volume_open


def test_a_power_cut_in_the_first_boot_is_no_loss(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut while the file system is made: the next boot begins anew; after that nothing is formatted any more."""
    disk.missing = {"mkfs.ext4"}
    assert disk.boot(monkeypatch).code == BoxCode.STATE_VOLUME
    header = disk.state_device.read_bytes()[:HEADER_SIZE]
    disk.missing = set()
    assert disk.boot(monkeypatch).state is BoxState.WAITING_FOR_ACTIVATION
    assert disk.state_device.read_bytes()[:HEADER_SIZE] != header
    assert disk.boot(monkeypatch).state is BoxState.WAITING_FOR_ACTIVATION
    assert "mkfs.ext4" not in disk.programs()


def test_a_changed_header_keeps_the_state_closed(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its key is unsealed, and not used."""
    disk.boot(monkeypatch)
    with disk.state_device.open("r+b") as file:
        file.seek(4096 + 8)
        file.write(b"\0")
    result = disk.boot(monkeypatch)
    assert result.code == BoxCode.STATE_VOLUME
    assert "not the one that this box wrote" in result.sentence
    assert disk.passphrases == []


def test_a_cleared_tpm_keeps_the_state_closed(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """And formats nothing."""
    disk.boot(monkeypatch)
    with ESAPI(disk.box.tpm.tcti) as esapi:
        esapi.clear(ESYS_TR.LOCKOUT)
    header = disk.state_device.read_bytes()[:HEADER_SIZE]
    result = disk.boot(monkeypatch)
    assert result.code == BoxCode.STATE_VOLUME
    assert disk.state_device.read_bytes()[:HEADER_SIZE] == header


def test_a_release_without_approval_opens_no_state(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The approvals on the binding partition are of another release: two parties, not one."""
    disk.boot(monkeypatch)
    sealed = disk.box.paths.binding / SEALED_FILE
    release_id = disk.box.vendor.release.release_id.encode()
    sealed.write_bytes(sealed.read_bytes().replace(release_id, b"00" * 32))
    result = disk.boot(monkeypatch)
    assert result.code == BoxCode.STATE_VOLUME
    assert "has not approved" in result.sentence


def test_a_binding_that_is_no_tpm_structure_is_told(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a crash, after which the machine powers off without a word."""
    disk.boot(monkeypatch)
    sealed = disk.box.paths.binding / SEALED_FILE
    own = StateBinding.model_validate_json(sealed.read_text())
    sealed.write_text(own.model_copy(update={"private": b"\xff\xff"}).model_dump_json())
    result = disk.boot(monkeypatch)
    assert result.state is BoxState.LOCKED
    assert "cannot be read" in result.sentence


def test_a_binding_of_somebody_else_opens_nothing(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An approval signed by another customer key does not unseal: the sealed object names the key."""
    disk.boot(monkeypatch)
    sealed = disk.box.paths.binding / SEALED_FILE
    own = sealed.read_text()
    sealed.write_text(_approved_by_a_stranger(own, disk))
    result = disk.boot(monkeypatch)
    assert result.code == BoxCode.STATE_VOLUME
    assert disk.passphrases == []


def test_one_bad_payload_does_not_close_the_other(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verity refuses one partition: it is named, the other serves."""
    disk.boot(monkeypatch)
    disk.box.measure(11, "ready")
    disk.box.enroll(disk.box.vendor.issue().activation_code)
    disk.missing = {"sealwright-medical"}
    result = disk.boot(monkeypatch)
    assert result.state is BoxState.UNLOCKED
    assert [(payload.state, payload.code) for payload in result.payloads] == [
        (PayloadState.FAILED, BoxCode.PAYLOAD_CORRUPTED),
        (PayloadState.OPEN, None),
    ]
    assert "payload medical: PAYLOAD_CORRUPTED: " in disk.console.read_text()


def test_firmware_that_nobody_foresaw_is_approved_later(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more event in PCR 4: denied and named. After approve-boot and import, without a rebuild, it opens."""
    vendor, box = disk.box.vendor, disk.box
    more = LoggedEvent(4, EventType.EV_OMIT_BOOT_DEVICE_EVENTS, b"BOOT ATTEMPTS OMITTED")
    events = [more, *vendor.synthetic.boot_events()]
    disk.boot(monkeypatch, events=events)
    assert "boot BOOT_APPLICATION: " in disk.console.read_text()
    box.measure(11, "ready")
    with pytest.raises(DeniedError) as denied:
        box.enroll(vendor.issue().activation_code)
    assert denied.value.code == RejectionCode.BOOT_APPLICATION
    assert "EV_OMIT_BOOT_DEVICE_EVENTS" in str(denied.value.problem.mismatches[0]["sentence"])

    command = ["approve-boot", vendor.image, "--event-log", box.paths.firmware_log, "--keys", vendor.keys, "--yes"]
    assert image_command([str(word) for word in command]) == 0
    vendor.import_release()
    disk.install_anew()

    assert disk.boot(monkeypatch, events=events).state is BoxState.WAITING_FOR_ACTIVATION
    assert "boot BOOT_APPLICATION" not in disk.console.read_text()
    box.measure(11, "ready")
    box.enroll(vendor.issue().activation_code)
    assert disk.boot(monkeypatch, events=events).state is BoxState.UNLOCKED
    assert disk.keys == list(vendor.volume_keys.values())
    assert disk.boot(monkeypatch, events=[more, *events]).code == RejectionCode.BOOT_APPLICATION


def _approved_by_a_stranger(text: str, disk: Disk) -> str:
    stranger = ec.generate_private_key(ec.SECP256R1())
    pem = stranger.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    binding = StateBinding.model_validate_json(text)
    changes = {"customer_key": pem, "approvals": approve_release(disk.box.vendor.release, stranger)}
    return binding.model_copy(update=changes).model_dump_json()
