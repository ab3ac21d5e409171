"""Synthetic but fully valid evidence, signed by a software AK, with every part in reach of a test that breaks it.

``SyntheticBox`` holds a release and a device. ``evidence()`` makes a message that ``appraise`` affirms; each argument
replaces one part, and the parts behind it (replay, quote, signature) follow, so a test breaks exactly what it means to.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import struct
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealwright_policies.appraisal.boot_variants import sign_variants
from sealwright_policies.appraisal.boot_ways import BootWay
from sealwright_policies.appraisal.measurements import (
    GLOBAL_VARIABLE,
    IMAGE_SECURITY_DATABASE,
    SecureBootKeys,
    boot_application,
    combined_initrd,
    efi_variable_data,
    load_options,
    predict_measurements,
)
from sealwright_policies.appraisal.pe import authenticode_sha256, uki_sections
from sealwright_policies.appraisal.reference_values import QUOTE_SET, BootApplication, Manifest, PayloadKind
from sealwright_policies.appraisal.release import Release, sign_release, verify_release
from sealwright_policies.tcg.eventlog import EventType
from sealwright_policies.tcg.public import Public, parse_public
from sealwright_policies.wire.device_id import device_id
from sealwright_policies.wire.framing import UNLOCKED_WORD, qualifying_data
from sealwright_policies.wire.messages import Attestation, CounterAttestation, CounterNames, Evidence, Purpose
from sealwright_policies.wire.volume_key import derive_volume_key, key_check
from sealwright_testing.event_logs import LoggedEvent, LogWriter, replay, separator
from sealwright_testing.software_tpm import ALG_SHA256, Clock, SoftwareAk, name_of, nv_public
from sealwright_testing.synthetic_uki import build_uki

OWNER = uuid.UUID("0f7c1d8e-5b34-4f0e-9d5c-2c3c1b0a7e11")
CERT_X509 = uuid.UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
TICK_INDEX, LEASE_INDEX = 0x01C10200, 0x01C10201
NONCE = bytes(range(32))
NOW = 1_800_000_000
LICENSE_ID = "license-1"
PHASES = ("enter-initrd", "leave-initrd", "sysinit", "ready")
INITRD_TAG, LOAD_OPTIONS_TAG = 0x8F3B22EC, 0x8F3B22ED
T = EventType


def certificate(name: str) -> bytes:
    """A self-signed certificate as Secure Boot keys are, DER."""
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start)
    return builder.not_valid_after(start.replace(year=2046)).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def signature_list(der: bytes, owner: uuid.UUID = OWNER) -> bytes:
    """EFI_SIGNATURE_LIST of one certificate."""
    return CERT_X509.bytes_le + struct.pack("<III", 28 + 16 + len(der), 0, 16 + len(der)) + owner.bytes_le + der


def secure_boot_keys(vendor: str = "Synthetic") -> SecureBootKeys:
    """Keys as an owner enrols them."""
    pk, kek, db = (certificate(f"{vendor} {role}") for role in ("PK", "KEK", "db"))
    return SecureBootKeys(signature_list(pk), signature_list(kek), signature_list(db), b"", db, OWNER)


def variable_event(pcr: int, kind: int, guid: uuid.UUID, name: str, content: bytes) -> LoggedEvent:
    """An event of a UEFI variable."""
    return LoggedEvent(pcr, kind, efi_variable_data(guid, name, content))


def secure_boot_events(keys: SecureBootKeys, *, enabled: bool = True) -> list[LoggedEvent]:
    """PCR 7 before the separator."""
    config = T.EV_EFI_VARIABLE_DRIVER_CONFIG
    return [
        variable_event(7, config, GLOBAL_VARIABLE, "SecureBoot", b"\x01" if enabled else b"\x00"),
        variable_event(7, config, GLOBAL_VARIABLE, "PK", keys.pk),
        variable_event(7, config, GLOBAL_VARIABLE, "KEK", keys.kek),
        variable_event(7, config, IMAGE_SECURITY_DATABASE, "db", keys.db),
        variable_event(7, config, IMAGE_SECURITY_DATABASE, "dbx", keys.dbx),
    ]


def measured(pcr: int, kind: int, content: bytes, data: bytes) -> LoggedEvent:
    """An event whose digest is of something else than its data."""
    return LoggedEvent(pcr, kind, data, {ALG_SHA256: hashlib.sha256(content).digest()})


def utf16(text: str) -> bytes:
    """As EV_IPL and load options say it."""
    return (text + "\0").encode("utf-16-le")


def tagged(tag: int, text: bytes) -> bytes:
    """TCG_PCClientTaggedEvent."""
    return struct.pack("<II", tag, len(text)) + text


def stub_events(uki: bytes) -> list[LoggedEvent]:
    """What systemd-stub measures into PCR 11, and the kernel's stub into PCR 9."""
    sections = uki_sections(uki)
    events: list[LoggedEvent] = []
    for name, content in sections.items():
        if name != ".pcrsig":
            events.append(measured(11, T.EV_IPL, name.encode() + b"\0", utf16(name)))
            events.append(measured(11, T.EV_IPL, content, utf16(name)))
    options, initrd = load_options(sections), combined_initrd(sections)
    events.append(measured(9, T.EV_EVENT_TAG, options, tagged(LOAD_OPTIONS_TAG, b"LOADED_IMAGE::LoadOptions\0")))
    events.append(measured(9, T.EV_EVENT_TAG, initrd, tagged(INITRD_TAG, b"Linux initrd\0")))
    return events


def boot_events(uki: bytes, keys: SecureBootKeys, *, option_roms: int = 2) -> list[LoggedEvent]:
    """The log of a machine that boots this UKI with these keys enrolled, shaped like OVMF's."""
    return [
        LoggedEvent(0, T.EV_S_CRTM_VERSION, utf16("Synthetic firmware 1.0")),
        measured(0, T.EV_EFI_PLATFORM_FIRMWARE_BLOB, b"firmware volume", struct.pack("<QQ", 0x80_0000, 0x1000)),
        *secure_boot_events(keys),
        variable_event(1, T.EV_EFI_VARIABLE_BOOT, GLOBAL_VARIABLE, "BootOrder", struct.pack("<HH", 0, 1)),
        variable_event(1, T.EV_EFI_VARIABLE_BOOT, GLOBAL_VARIABLE, "Boot0000", b"\x01\0\0\0" + utf16("disk")),
        *(
            measured(2, T.EV_EFI_BOOT_SERVICES_DRIVER, b"option ROM %d" % number, bytes(32))
            for number in range(option_roms)
        ),
        LoggedEvent(4, T.EV_EFI_ACTION, b"Calling EFI Application from Boot Option"),
        *(separator(pcr) for pcr in range(8)),
        variable_event(
            7, T.EV_EFI_VARIABLE_AUTHORITY, IMAGE_SECURITY_DATABASE, "db", keys.owner.bytes_le + keys.db_certificate
        ),
        LoggedEvent(5, T.EV_EFI_GPT_EVENT, b"EFI PART, the synthetic disk"),
        LoggedEvent(4, T.EV_EFI_BOOT_SERVICES_APPLICATION, bytes(32), {ALG_SHA256: authenticode_sha256(uki)}),
        *stub_events(uki),
        LoggedEvent(5, T.EV_EFI_ACTION, b"Exit Boot Services Invocation"),
        LoggedEvent(5, T.EV_EFI_ACTION, b"Exit Boot Services Returned with Success"),
    ]


def userspace_record(pcr: int, word: str, kind: str = "phase", *, digest: bytes | None = None) -> bytes:
    """One record of systemd's log."""
    entry = {
        "pcr": pcr,
        "digests": [{"hashAlg": "sha256", "digest": (digest or hashlib.sha256(word.encode()).digest()).hex()}],
        "content_type": "systemd",
        "content": {"eventType": kind, "string": word, "bootId": "0" * 32, "timestamp": 1},
    }
    return b"\x1e" + json.dumps(entry, separators=(",", ":")).encode() + b"\n"


def userspace_events(
    phases: Sequence[str] = PHASES, closing: Sequence[str] = (UNLOCKED_WORD,)
) -> list[tuple[int, str]]:
    """(PCR, word) of a box that is up: sysinit, the closing word, ready."""
    early, late = list(phases[:3]), list(phases[3:])
    return [*((11, word) for word in early), *((15, word) for word in closing), *((11, word) for word in late)]


@dataclass
class SyntheticBox:
    """A device and the release it runs."""

    keys: SecureBootKeys = field(default_factory=secure_boot_keys)
    uki: bytes = field(default_factory=build_uki)
    ak: SoftwareAk = field(default_factory=SoftwareAk)
    manifest_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    manifest_changes: Mapping[str, Any] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    ticks: int = 40
    lease_number: int = 3
    option_roms: int = 2
    """Option ROMs that firmware measures, an event each."""

    def __post_init__(self) -> None:
        """Sign the release once."""
        self.release_envelope = sign_release(self.manifest(), self.manifest_key)
        self.release: Release = verify_release(self.release_envelope, self.manifest_key.public_key())
        self.device_id = device_id(b"endorsement key of " + self.ak.public_area)

    @property
    def public(self) -> Public:
        """The AK as the service knows it."""
        return parse_public(self.ak.public_area)

    @property
    def counter_names(self) -> CounterNames:
        """Of both counters."""
        return CounterNames(tick=name_of(nv_public(TICK_INDEX)).hex(), lease=name_of(nv_public(LEASE_INDEX)).hex())

    def manifest(self) -> Manifest:
        """A manifest of the UKI and keys."""
        return Manifest(**(manifest_fields(self.uki, self.keys, self.manifest_key) | dict(self.manifest_changes)))

    def boot_events(self) -> list[LoggedEvent]:
        """Events of a boot as it should be; change them and hand them to :meth:`evidence`."""
        return boot_events(self.uki, self.keys, option_roms=self.option_roms)

    def way(self, *before: bytes, name: str = "later") -> BootApplication:
        """A way through PCR 4 on which firmware measures these contents before the UKI."""
        return boot_application(BootWay(name, before, kernel=False), authenticode_sha256(self.uki), b"")

    def variants(self, *ways: BootApplication, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
        """These ways, signed after the build."""
        return sign_variants(replace(self.release, variants=ways), key or self.manifest_key)

    def bound(self, *, nonce: bytes = NONCE, purpose: Purpose = Purpose.RENEW, payload: bytes = b"") -> bytes:
        """The qualifying data of a message."""
        return qualifying_data(
            nonce=nonce,
            device_id=self.device_id,
            license_id=LICENSE_ID,
            release_id=self.release.release_id,
            purpose=purpose.value,
            payload=payload,
        )

    def evidence(
        self,
        *,
        events: Iterable[LoggedEvent] | None = None,
        userspace: Iterable[tuple[int, str]] | None = None,
        boot_log: bytes | None = None,
        userspace_log: bytes | None = None,
        pcrs: Mapping[int, bytes] | None = None,
        extra: bytes | None = None,
        clock: Clock | None = None,
        ticks: int | None = None,
        lease_number: int | None = None,
        quote: Attestation | None = None,
        tick_counter: CounterAttestation | None = None,
        lease_counter: CounterAttestation | None = None,
        payload: bytes = b"",
    ) -> Evidence:
        """A message that is affirmed unless an argument says otherwise.

        Args:
            events: what firmware measured, and its log says.
            userspace: what systemd measured, and its log says.
            boot_log: another log than what was measured.
            userspace_log: the same for systemd's.
            pcrs: values that replace measured ones.
            extra: qualifying data of all statements.
            clock: of all statements.
            ticks: value of the tick counter.
            lease_number: value of the lease counter.
            quote: in place of the quote.
            tick_counter: in place of the certified tick counter.
            lease_counter: in place of the certified lease counter.
            payload: what the quote speaks for.
        """
        measured_events = list(self.boot_events() if events is None else events)
        words = list(userspace_events() if userspace is None else userspace)
        values = quoted_values(measured_events, words) | dict(pcrs or {})
        bound = self.bound(payload=payload) if extra is None else extra
        at = clock or self.clock
        number = self.lease_number if lease_number is None else lease_number
        return Evidence(
            quote=quote or self.ak.quote(values, extra=bound, clock=at),
            pcrs={str(pcr): value.hex() for pcr, value in values.items()},
            boot_log=LogWriter().log(measured_events) if boot_log is None else boot_log,
            userspace_log=(
                b"".join(userspace_record(pcr, word) for pcr, word in words) if userspace_log is None else userspace_log
            ),
            tick_counter=tick_counter
            or self.ak.nv_certify(self.ticks if ticks is None else ticks, index=TICK_INDEX, extra=bound, clock=at),
            lease_counter=lease_counter or self.ak.nv_certify(number, index=LEASE_INDEX, extra=bound, clock=at),
            payload=payload,
        )


def quoted_values(events: Sequence[LoggedEvent], words: Iterable[tuple[int, str]]) -> dict[int, bytes]:
    """PCR values after these measurements, for the quote set."""
    later = [LoggedEvent(pcr, T.EV_EVENT_TAG, word.encode()) for pcr, word in words]
    values = replay([*events, *later], ALG_SHA256)
    return {pcr: values.get(pcr, bytes(32)) for pcr in QUOTE_SET}


def replaced(events: Iterable[LoggedEvent], pcr: int, position: int, **changes: Any) -> list[LoggedEvent]:
    """The events with the ``position``-th event of a PCR changed."""
    result, seen = [], 0
    for event in events:
        hit = event.pcr == pcr and event.type != T.EV_NO_ACTION
        result.append(replace(event, **changes) if hit and seen == position else event)
        seen += hit
    return result


def manifest_fields(uki: bytes, keys: SecureBootKeys, release_key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    """Fields of a manifest of one small model."""
    pem = release_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    digest = hashlib.sha256(uki).hexdigest()
    return {
        "version": 1,
        "vendor": "Synthetic",
        "product": "synthetic-box",
        "product_version": "1.2.0",
        "flavour": "production",
        "architecture": "x86-64",
        "created": NOW - 86_400,
        "os": {
            "root_hash": "5a" * 32,
            "root_partition_uuid": str(uuid.uuid5(OWNER, "root")),
            "verity_partition_uuid": str(uuid.uuid5(OWNER, "root-verity")),
            "kernel_command_line": "roothash=5a lockdown=confidentiality systemd.import_credentials=no",
            "uki_sha256": digest,
        },
        "payloads": [payload_fields()],
        "measurements": predict_measurements(uki, keys),
        "artefacts": [{"name": "uki.efi", "sha256": digest, "size": len(uki)}],
        "sbom": {"name": "sbom.json", "sha256": "00" * 32, "size": 2},
        "service_id": "service-1",
        "release_key": pem,
        "tools": {"systemd": "257.9", "kernel": "6.12.57", "mkosi": "25.3", "sealwright": "0.1.0"},
    }


def key_shares(root_hash: str) -> tuple[bytes, bytes]:
    """The shares of a synthetic partition, which its manifest's key check is of: lease share, release share."""
    lease, release = (hashlib.sha256(f"{name} share of {root_hash}".encode()).digest() for name in ("lease", "release"))
    return lease, release


def volume_key(root_hash: str, owner_key_id: bytes | None = None) -> bytes:
    """The volume key of a synthetic partition."""
    return derive_volume_key(*key_shares(root_hash), bytes.fromhex(root_hash), owner_key_id)


def payload_fields(root_hash: str = "7e" * 32) -> dict[str, Any]:
    """One encrypted partition."""
    return {
        "payload_id": "medical",
        "kind": PayloadKind.MODEL,
        "domain": "medical",
        "partition_label": "payload-medical",
        "partition_uuid": str(uuid.uuid5(OWNER, "payload-medical")),
        "size": 1 << 20,
        "file_system": "erofs",
        "file_name": "model.gguf",
        "license_text": "For tests.",
        "ciphertext_sha256": "c1" * 32,
        "key_check": key_check(volume_key(root_hash), bytes.fromhex(root_hash)),
        "dm_crypt": {"cipher": "aes-xts-plain64", "key_bits": 512, "sector_size": 4096},
        "verity": {
            "root_hash": root_hash,
            "salt": "5a" * 32,
            "hash_algorithm": "sha256",
            "data_block_size": 4096,
            "hash_block_size": 4096,
            "data_blocks": 240,
            "hash_offset": 983_040,
        },
    }
