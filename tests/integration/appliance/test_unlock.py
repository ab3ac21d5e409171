"""Whole boots of the unlock unit: real TPM, real LUKS header, real licence service.

What needs device-mapper or mounts something is only noted; the VM tests run it.
"""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import ESYS_TR

from sealwright_appliance.boot import BoxCode, BoxState
from sealwright_appliance.claim import Claim
from sealwright_appliance.license_client import DeniedError
from sealwright_appliance.status import PayloadState
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_appliance.unlock import PCR_EXTEND, SECRETS_WAIT
from sealwright_appliance.volumes import LUKS_NAME
from sealwright_image.cli import main as image_command
from sealwright_policies.appraisal.boot_variants import VARIANTS_ON_ESP
from sealwright_policies.errors import OperationError, RejectionCode
from sealwright_policies.tcg.eventlog import EventType
from sealwright_policies.wire.state_approval import approve_release
from sealwright_testing.event_logs import LoggedEvent
from sealwright_testing.evidence_factory import secure_boot_events
from sealwright_testing.fat32 import fat32_volume
from sealwright_testing.simulated_disk import ZERO, Disk


def test_from_the_first_boot_to_open_payloads(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """First boot: keys, claim code. Activation. Second boot: the build's own volume keys reach dm-crypt."""
    first = disk.boot(monkeypatch)
    assert first.state is BoxState.WAITING_FOR_ACTIVATION, first
    assert disk.pcr15() != ZERO
    said = disk.console.read_text()
    assert f"claim code {Claim(disk.box.paths.claim).code()}" in said
    assert said.splitlines()[-1] == "sealwright: state waiting-for-activation"
    assert SECRETS_WAIT not in said
    assert disk.binding.pending_header is None
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


@pytest.mark.redteam
def test_nothing_of_the_disk_is_mounted_before_the_unseal(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """No driver of the kernel reads what the owner wrote: neither the ESP nor `binding` is mounted, ever."""
    disk.boot(monkeypatch)
    disk.boot(monkeypatch)
    mounts = [argv for argv in disk.seen if argv[0] == "mount"]
    assert [argv[-1] for argv in mounts] == [str(disk.box.paths.state)]
    assert disk.seen.index(mounts[0]) > next(at for at, argv in enumerate(disk.seen) if LUKS_NAME in argv)


@pytest.mark.parametrize("missing", ["esp", "binding", "ext4"])
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


@pytest.mark.redteam
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


@pytest.mark.redteam
def test_an_appended_command_line_is_named(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """PCR 12 is not zero; the state volume stays closed, and nothing is served from it."""
    disk.boot(monkeypatch)
    extra = LoggedEvent(12, 0x0000000D, b"init=/bin/sh")
    result = disk.boot(monkeypatch, events=[*disk.box.vendor.synthetic.boot_events(), extra])
    assert result.code == RejectionCode.KERNEL_COMMAND_LINE
    assert "PCR 12" in result.sentence
    assert disk.passphrases == []
    assert not result.state_volume_open


@pytest.mark.redteam
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
    """It is named, with its cure, and nothing is formatted."""
    disk.boot(monkeypatch)
    with ESAPI(disk.box.tpm.tcti) as esapi:
        esapi.clear(ESYS_TR.LOCKOUT)
    header = disk.header
    result = disk.boot(monkeypatch)
    assert (result.state, result.code) == (BoxState.LOCKED, RejectionCode.SRK_NAME_MISMATCH)
    assert "activate it again" in result.sentence
    assert disk.header == header


def test_a_record_that_lies_about_the_tpm_opens_nothing(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Name in it is nobody's word: with another one written there, the TPM refuses by itself."""
    disk.boot(monkeypatch)
    with ESAPI(disk.box.tpm.tcti) as esapi:
        esapi.clear(ESYS_TR.LOCKOUT)
    with open_provisioned_tpm(disk.box.paths.tcti) as tpm:
        disk.bind(srk_name=tpm.srk.public.name.hex())
    result = disk.boot(monkeypatch)
    assert result.code == BoxCode.STATE_VOLUME
    assert "TPM_RC_INTEGRITY" in result.sentence
    assert disk.passphrases == []


@pytest.mark.redteam
def test_a_release_without_approval_opens_no_state(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The approvals in the binding record are of another release: two parties, not one."""
    disk.boot(monkeypatch)
    disk.bind(approvals=[a.model_copy(update={"release_id": "00" * 32}) for a in disk.binding.approvals])
    result = disk.boot(monkeypatch)
    assert result.code == BoxCode.STATE_VOLUME
    assert "has not approved" in result.sentence


def test_a_binding_that_is_no_tpm_structure_is_told(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a crash, after which the machine powers off without a word."""
    disk.boot(monkeypatch)
    disk.bind(private=b"\xff\xff")
    result = disk.boot(monkeypatch)
    assert result.state is BoxState.LOCKED
    assert "cannot be read" in result.sentence


@pytest.mark.redteam
def test_a_binding_of_somebody_else_opens_nothing(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An approval signed by another customer key does not unseal: the sealed object names the key."""
    disk.boot(monkeypatch)
    stranger = ec.generate_private_key(ec.SECP256R1())
    pem = stranger.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    disk.bind(customer_key=pem, approvals=approve_release(disk.box.vendor.release, stranger))
    result = disk.boot(monkeypatch)
    assert result.code == BoxCode.STATE_VOLUME
    assert disk.passphrases == []


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (None, BoxCode.PAYLOAD_CORRUPTED),
        (OperationError("dmsetup did not end within 120 s."), BoxCode.UNLOCK_FAILED),
        (OSError(5, "Input/output error"), BoxCode.UNLOCK_FAILED),
    ],
)
def test_one_bad_payload_does_not_close_the_other(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, failure: OperationError | OSError | None, code: BoxCode
) -> None:
    """Verity refuses one partition, or does not come to an end: it is named, the other serves."""
    disk.boot(monkeypatch)
    disk.box.measure(11, "ready")
    disk.box.enroll(disk.box.vendor.issue().activation_code)
    disk.missing, disk.failure = {"sealwright-medical"}, failure
    result = disk.boot(monkeypatch)
    assert result.state is BoxState.UNLOCKED
    assert [(payload.state, payload.code) for payload in result.payloads] == [
        (PayloadState.FAILED, code),
        (PayloadState.OPEN, None),
    ]
    assert f"payload medical: {code}: " in disk.console.read_text()


def test_a_payload_that_the_licence_does_not_cover_stays_closed_and_is_named(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one serves; nothing of this one reaches dm-crypt."""
    disk.boot(monkeypatch)
    disk.box.measure(11, "ready")
    disk.box.enroll(disk.box.vendor.issue("--partition", "finance").activation_code)
    result = disk.boot(monkeypatch)
    assert result.state is BoxState.UNLOCKED
    assert [(payload.state, payload.code) for payload in result.payloads] == [
        (PayloadState.CLOSED, BoxCode.NOT_LICENSED),
        (PayloadState.OPEN, None),
    ]
    assert len(disk.keys) == 1
    assert f"payload medical: {BoxCode.NOT_LICENSED}: " in disk.console.read_text()


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


def esp_with_variants(disk: Disk, variants: bytes) -> None:
    """Put a list of ways on the EFI partition, as whoever has the disk can."""
    files = [file for file in disk.box.vendor.esp_files() if file[0] != VARIANTS_ON_ESP]
    disk.box.paths.partition("esp").write_bytes(fat32_volume(*files, (VARIANTS_ON_ESP, variants)))


@pytest.mark.parametrize("flaw", ["torn", "foreign"])
def test_a_list_of_ways_that_is_refused_locks_nothing(disk: Disk, monkeypatch: pytest.MonkeyPatch, flaw: str) -> None:
    """A boot on a way of the manifest needs none of it; the ways in it are not taken."""
    synthetic = disk.box.vendor.synthetic
    way = synthetic.way(b"BOOT ATTEMPTS", b"Calling EFI Application from Boot Option", bytes(4))
    foreign = synthetic.variants(way, key=ec.generate_private_key(ec.SECP256R1()))
    esp_with_variants(disk, foreign if flaw == "foreign" else synthetic.variants(way)[:100])
    for _ in range(2):
        assert disk.boot(monkeypatch).state is BoxState.WAITING_FOR_ACTIVATION
        assert "sealwright: variants: " in disk.console.read_text()
    attempts = LoggedEvent(4, EventType.EV_OMIT_BOOT_DEVICE_EVENTS, b"BOOT ATTEMPTS")
    result = disk.boot(monkeypatch, events=[attempts, *synthetic.boot_events()])
    assert (result.state, result.code) == (BoxState.LOCKED, RejectionCode.BOOT_APPLICATION)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff"])
@pytest.mark.parametrize("name", ["cert.pem", "key.pem"])
def test_a_damaged_certificate_locks_nothing(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes
) -> None:
    """The boot goes on with one of its own and says so, and does not power off every time."""
    first = disk.boot(monkeypatch)
    (disk.box.paths.identity / "tls" / name).write_bytes(content)
    second = disk.boot(monkeypatch)
    assert second.state is BoxState.WAITING_FOR_ACTIVATION
    assert second.tls_fingerprint not in (None, first.tls_fingerprint)
    said = disk.console.read_text()
    assert "sealwright: tls: The TLS certificate on the state volume is damaged." in said
    assert f"tls fingerprint {second.tls_fingerprint}" in said
    assert "claim code " in said


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff"])
def test_a_damaged_claim_locks_nothing(disk: Disk, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    disk.boot(monkeypatch)
    disk.box.paths.claim.write_bytes(content)
    result = disk.boot(monkeypatch)
    assert result.state is BoxState.WAITING_FOR_ACTIVATION
    said = disk.console.read_text()
    assert "sealwright: claim: ClaimFile: " in said
    assert said.splitlines()[-1] == "sealwright: state waiting-for-activation"


def test_a_disk_that_cannot_be_read_is_told(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition that is a folder stands for any read error."""
    disk.boot(monkeypatch)
    for device in (disk.state_device, disk.binding_device, disk.box.paths.partition("esp")):
        kept = device.rename(device.with_suffix(".kept"))
        device.mkdir()
        result = disk.boot(monkeypatch)
        assert result.state is BoxState.LOCKED
        assert "cannot be read" in result.sentence
        assert disk.pcr15() != ZERO
        device.rmdir()
        kept.rename(device)
    assert disk.boot(monkeypatch).state is BoxState.WAITING_FOR_ACTIVATION


def test_a_mount_point_that_cannot_be_made_is_told(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the file system that nothing foresaw."""
    disk.box.paths.state.parent.mkdir(parents=True)
    disk.box.paths.state.write_bytes(b"a file in its place")
    result = disk.boot(monkeypatch)
    assert (result.state, result.code) == (BoxState.LOCKED, BoxCode.UNLOCK_FAILED)
    assert "File exists" in result.sentence
    assert f"state locked: {BoxCode.UNLOCK_FAILED}: " in disk.console.read_text()


@pytest.mark.parametrize(
    "changes",
    [
        {"public": b""},
        {"public": b"\xff" * 4096},
        {"private": b""},
        {"customer_key": "-----BEGIN PUBLIC KEY-----\n"},
        {"approvals": []},
    ],
)
def test_any_record_is_answered_in_words(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    disk.boot(monkeypatch)
    disk.bind(**changes)
    result = disk.boot(monkeypatch)
    assert (result.state, result.code) == (BoxState.LOCKED, BoxCode.STATE_VOLUME)
    assert disk.passphrases == []


@pytest.mark.parametrize("changes", [{"pcrs": {}}, {"signature": b""}, {"signature": b"\xff" * 4096}])
def test_any_approval_is_answered_in_words(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    disk.boot(monkeypatch)
    disk.bind(approvals=[approval.model_copy(update=changes) for approval in disk.binding.approvals])
    result = disk.boot(monkeypatch)
    assert (result.state, result.code) == (BoxState.LOCKED, BoxCode.STATE_VOLUME)
    assert disk.passphrases == []
