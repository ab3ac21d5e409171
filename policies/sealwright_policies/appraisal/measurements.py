"""Predicting the PCRs of a release from its build outputs (policies/spec/manifest.md).

Pure: bytes in, digests out. What is predicted was compared with real boots: PCR 4 and 7 by the UEFI firmware (TCG PC
Client Platform Firmware Profile 1.06, 3.3.4), PCR 9 by the kernel's EFI stub, PCR 11 by systemd-stub and
systemd-pcrphase of systemd 257. PCR 0 to 3, 5 and 6 depend on the machine and are not predicted.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sealwright_policies.appraisal.boot_ways import BOOT_WAYS, SEPARATOR, BootWay
from sealwright_policies.appraisal.pe import authenticode_sha256, measured_sections, uki_sections
from sealwright_policies.appraisal.reference_values import (
    BootApplication,
    BootPhases,
    Measurements,
    SecureBoot,
    SecureBootVariable,
)
from sealwright_policies.errors import FormatError
from sealwright_policies.tcg.pcr import extend
from sealwright_policies.wire.framing import UNLOCKED_WORD

UNSEAL_PHASES = ("enter-initrd", "leave-initrd", "sysinit")
"""Words in PCR 11 at the unseal point."""
RUNNING_PHASES = (*UNSEAL_PHASES, "ready")
"""Words in PCR 11 when the box answers evidence requests."""

GLOBAL_VARIABLE = uuid.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
"""EFI_GLOBAL_VARIABLE (UEFI 2.10, 3.3): SecureBoot, PK, KEK."""
IMAGE_SECURITY_DATABASE = uuid.UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
"""EFI_IMAGE_SECURITY_DATABASE_GUID (UEFI 2.10, 32.6.1): db, dbx."""

UNLOCKED_DIGEST = hashlib.sha256(UNLOCKED_WORD.encode("ascii")).digest()
"""What the box extends into PCR 15 after its last unseal."""
ZERO = bytes(32)

_S_IFDIR = 0o040000
_S_IFREG = 0o100000
_CPIO_TRAILER = b"070701" + b"00000000" * 4 + b"00000001" + b"00000000" * 6 + b"0000000B" + b"00000000"
"""The stub writes this header as a literal, with a capital B; its other headers have small letters."""


@dataclass(frozen=True, slots=True)
class SecureBootKeys:
    """What is enrolled in the firmware: contents of the variables, and the certificate by which it accepts the UKI."""

    pk: bytes
    """EFI_SIGNATURE_LISTs (UEFI 2.10, 32.4.1)."""
    kek: bytes
    db: bytes
    dbx: bytes
    """May be empty."""
    db_certificate: bytes
    """DER."""
    owner: uuid.UUID
    """SignatureOwner of the certificate's entry in db."""


def replay(digests: Iterable[bytes], start: bytes = ZERO) -> bytes:
    """The value of a PCR after these SHA-256 extends."""
    value = start
    for digest in digests:
        value = extend(value, digest)
    return value


def predict_boot_applications(uki: bytes) -> list[BootApplication]:
    """PCR 4 along each of the listed ways.

    Raises:
        FormatError: the UKI or the kernel inside is no PE file that firmware could measure.
    """
    image = authenticode_sha256(uki)
    try:
        kernel = authenticode_sha256(uki_sections(uki)[".linux"])
    except FormatError as error:
        raise FormatError(f"The kernel in the unified kernel image: {error}") from error
    return [boot_application(way, image, kernel) for way in BOOT_WAYS]


def boot_application(way: BootWay, image: bytes, kernel: bytes) -> BootApplication:
    """One way, with the Authenticode digests of the UKI and of the kernel inside."""
    events = [*map(_sha256, way.before), image, *([kernel] if way.kernel else [])]
    return BootApplication(name=way.name, events=[event.hex() for event in events], pcr4=replay(events).hex())


def efi_variable_data(guid: uuid.UUID, name: str, content: bytes) -> bytes:
    """UEFI_VARIABLE_DATA (Platform Firmware Profile, 10.2.6): what variable events hash."""
    units = name.encode("utf-16-le")
    return guid.bytes_le + struct.pack("<QQ", len(units) // 2, len(content)) + units + content


def predict_secure_boot(keys: SecureBootKeys) -> SecureBoot:
    """PCR 7 with these keys enrolled and Secure Boot on."""
    contents = (
        ("SecureBoot", GLOBAL_VARIABLE, b"\x01"),
        ("PK", GLOBAL_VARIABLE, keys.pk),
        ("KEK", GLOBAL_VARIABLE, keys.kek),
        ("db", IMAGE_SECURITY_DATABASE, keys.db),
        ("dbx", IMAGE_SECURITY_DATABASE, keys.dbx),
    )
    digests = [_sha256(efi_variable_data(guid, name, content)) for name, guid, content in contents]
    # One EFI_SIGNATURE_DATA: the entry of db that verified the boot application (Platform Firmware Profile, 3.3.4.8).
    authority = efi_variable_data(IMAGE_SECURITY_DATABASE, "db", keys.owner.bytes_le + keys.db_certificate)
    return SecureBoot(
        variables=[
            SecureBootVariable.model_validate({"name": name, "digest": digest.hex(), "data": content})
            for (name, _, content), digest in zip(contents, digests, strict=True)
        ],
        authorities=[_sha256(authority).hex()],
        pcr7=replay([*digests, _sha256(SEPARATOR), _sha256(authority)]).hex(),
    )


def predict_boot_phases(
    uki: bytes,
    unseal_phases: Sequence[str] = UNSEAL_PHASES,
    running_phases: Sequence[str] = RUNNING_PHASES,
) -> BootPhases:
    """PCR 11: the stub's measurement of each section, name with its NUL and then content, and systemd's phase words."""
    sections: list[bytes] = []
    for name, content in measured_sections(uki_sections(uki)).items():
        sections += [_sha256(name.encode("ascii") + b"\0"), _sha256(content)]
    after_stub = replay(sections)
    return BootPhases(
        sections=[digest.hex() for digest in sections],
        unseal_phases=list(unseal_phases),
        running_phases=list(running_phases),
        unseal=replay(map(phase_digest, unseal_phases), after_stub).hex(),
        running=replay(map(phase_digest, running_phases), after_stub).hex(),
    )


def phase_digest(word: str) -> bytes:
    """What systemd-pcrextend extends for a word."""
    return _sha256(word.encode("ascii"))


def predict_pcr9(uki: bytes) -> list[str]:
    """Digests of the kernel EFI stub's two events: load options, then the initrd that systemd-stub hands over."""
    sections = uki_sections(uki)
    return [_sha256(load_options(sections)).hex(), _sha256(combined_initrd(sections)).hex()]


def load_options(sections: Mapping[str, bytes]) -> bytes:
    """The kernel command line as systemd-stub passes it on: UTF-16 with its NUL, white space tidied at both ends."""
    try:
        text = sections.get(".cmdline", b"").split(b"\0")[0].decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError("The UKI's command line is not UTF-8.") from error
    tidy = "".join(" " if character <= " " or character == "\x7f" else character for character in text).strip(" ")
    return (tidy + "\0").encode("utf-16-le")


def combined_initrd(sections: Mapping[str, bytes]) -> bytes:
    """The initrd that systemd-stub assembles from the UKI's sections (stub.c of systemd 257, INITRD_UCODE and on).

    Sections of the ESP (credentials, extensions) are left out on purpose: they would be measured elsewhere too, and
    the appraisal refuses them.
    """
    parts = [sections[name] for name in (".ucode", ".initrd") if name in sections]
    for name, file_name in (
        (".pcrsig", "tpm2-pcr-signature.json"),
        (".pcrpkey", "tpm2-pcr-public-key.pem"),
        (".osrel", "os-release"),
    ):
        if name in sections:
            parts.append(_cpio_archive(file_name, sections[name]))
    if len(parts) == 1:
        return parts[0]
    return b"".join(_pad4(part) for part in parts)


def predict_measurements(
    uki: bytes,
    keys: SecureBootKeys,
    unseal_phases: Sequence[str] = UNSEAL_PHASES,
    running_phases: Sequence[str] = RUNNING_PHASES,
) -> Measurements:
    """Everything that can be predicted of a release."""
    secure_boot = predict_secure_boot(keys)
    boot_phases = predict_boot_phases(uki, unseal_phases, running_phases)
    pcr9_events = predict_pcr9(uki)
    unseal = {
        "7": secure_boot.pcr7,
        "9": replay(map(bytes.fromhex, pcr9_events)).hex(),
        "11": boot_phases.unseal,
        # Untouched: command lines, credentials and extensions from outside the UKI would be in 12 and 13, shim in 14.
        "12": ZERO.hex(),
        "13": ZERO.hex(),
        "14": ZERO.hex(),
        "15": ZERO.hex(),
    }
    return Measurements(
        boot_applications=predict_boot_applications(uki),
        secure_boot=secure_boot,
        pcr9_events=pcr9_events,
        boot_phases=boot_phases,
        unseal=unseal,
        running=unseal | {"11": boot_phases.running, "15": replay([UNLOCKED_DIGEST]).hex()},
    )


def _cpio_archive(file_name: str, content: bytes) -> bytes:
    """What the stub makes of a section: a newc archive with ``.extra`` and one file, times and owners zero."""
    return (
        _cpio_entry(".extra", 1, _S_IFDIR | 0o555, b"")
        + _cpio_entry(f".extra/{file_name}", 2, _S_IFREG | 0o444, content)
        + _pad4(_CPIO_TRAILER + b"TRAILER!!!\0")
    )


def _cpio_entry(path: str, inode: int, mode: int, content: bytes) -> bytes:
    name = path.encode("ascii") + b"\0"
    # ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
    fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields)
    return _pad4(header + name) + _pad4(content)


def _pad4(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
