"""What an appraisal says: affirming or contraindicated, and every mismatch (policies/spec/appraisal.md).

A result is never a bool, and what was not verified is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sealwright_policies.appraisal.clock import ClockReading, DeviceBaseline
from sealwright_policies.appraisal.mismatch import Mismatch
from sealwright_policies.errors import RejectionCode, VerificationError

EAR_PROFILE = "tag:ietf.org,2026:rats/ear#02"
"""draft-ietf-rats-ear: the shape of :func:`to_ear`."""
RESULT_VERSION = 1
"""Version of the members of our own in :func:`to_ear`."""


class Status(StrEnum):
    """AR4SI trustworthiness tiers that we use (draft-ietf-rats-ar4si, 3.2)."""

    AFFIRMING = "affirming"
    CONTRAINDICATED = "contraindicated"


@dataclass(frozen=True, slots=True)
class BootSummary:
    """What the verified logs say about the boot, for people."""

    firmware_version: str
    boot_application: str
    """Name of the release's variant, or empty."""
    option_rom_drivers: int
    """Images that firmware loaded into PCR 2."""
    phases: tuple[str, ...]
    """Words of systemd's phases, as far as they are the expected ones."""


@dataclass(frozen=True, slots=True)
class AttestationResult:
    """The verdict over one evidence message. Fields after ``mismatches`` are None or empty if not verified."""

    status: Status
    purpose: str
    device_id: str
    license_id: str
    release_id: str
    product: str
    product_version: str
    appraised_at: int
    """Seconds since the epoch."""
    mismatches: tuple[Mismatch, ...]
    reading: ClockReading | None = None
    """Clock and counters, signed by the AK."""
    tick_counter_name: bytes = b""
    lease_counter_name: bytes = b""
    tpm_firmware_version: int | None = None
    pcrs: Mapping[int, bytes] = field(default_factory=dict)
    """Quoted values of the quote set."""
    boot: BootSummary | None = None
    notes: tuple[str, ...] = ()
    """What changed and is allowed to change: PCR 1, 5 and 6, clock losses. Sentences."""
    clock_loss_ms: int = 0
    """TPM Clock that was lost since the baseline, to be charged to the licence."""
    unseal_pcrs: Mapping[int, bytes] = field(default_factory=dict)
    """Values of the unseal set at the unseal point; empty unless affirming."""
    boot_logs_digest: bytes = b""
    """Of both logs (:mod:`.boot_logs`); empty unless affirming."""
    baseline: DeviceBaseline | None = None
    """What to hold the next evidence against; None unless affirming."""

    @property
    def codes(self) -> tuple[RejectionCode, ...]:
        """Codes of the mismatches, each once, in the order of the rules."""
        return tuple(dict.fromkeys(mismatch.code for mismatch in self.mismatches))

    def require_affirming(self) -> None:
        """Raise the first mismatch, with all of them in ``details["mismatches"]``.

        Raises:
            VerificationError: the result is contraindicated.
        """
        if self.status is Status.AFFIRMING:
            return
        first = self.mismatches[0]
        raise VerificationError(first.code, first.sentence, mismatches=[each.as_dict() for each in self.mismatches])


def describe(result: AttestationResult) -> list[str]:
    """The result in words, a sentence a line, for ``device show``, the demo and the console."""
    lines = [f"{result.status.value}: {result.product} {result.product_version}, release {result.release_id[:16]}"]
    lines += [f"denied by {each.code}: {each.where()}{each.sentence}" for each in result.mismatches]
    if result.status is Status.AFFIRMING and result.boot is not None:
        lines += _affirmed(result.boot)
    if result.reading is not None:
        reading = result.reading
        lines.append(
            f"TPM clock {_duration(reading.clock_ms)}, {reading.reset_count} resets; "
            f"tick counter {reading.ticks}, lease counter {reading.lease_number}."
        )
    return lines + [f"note: {note}" for note in result.notes]


def _affirmed(boot: BootSummary) -> list[str]:
    return [
        "The quote is by the enrolled attestation key, fresh, and over exactly the required PCRs.",
        f"Firmware {boot.firmware_version or '(no version)'} filled its SHA-256 bank; each of its events is allowed.",
        "Secure Boot is on, with this release's keys and no others.",
        f"The boot application is this release's ({boot.boot_application}), with its own command line and initrd.",
        f"{boot.option_rom_drivers} option ROM drivers were loaded.",
        f"Boot phases {', '.join(boot.phases)}; nothing can be unsealed any more in this boot.",
    ]


def to_ear(result: AttestationResult) -> dict[str, object]:
    """Claims of an EAT Attestation Result (draft-ietf-rats-ear), to be signed by whoever runs the appraisal."""
    affirming = result.status is Status.AFFIRMING
    codes = set(result.codes)
    return {
        "eat_profile": EAR_PROFILE,
        "iat": result.appraised_at,
        "ear.verifier-id": {"developer": "https://sealwright.dev", "build": "sealwright-policies"},
        "submods": {
            "box": {
                "ear.status": result.status.value,
                "ear.trustworthiness-vector": {
                    "instance-identity": _claim(affirming, codes & _IDENTITY_CODES),
                    "configuration": _claim(affirming, codes & _CONFIGURATION_CODES),
                    "executables": _claim(affirming, codes & _EXECUTABLE_CODES),
                    "hardware": _claim(affirming, codes & _HARDWARE_CODES),
                },
                "ear.appraisal-policy-id": f"sealwright/v1/release/{result.release_id}",
                "ueid": result.device_id,
            }
        },
        "sealwright": {
            "version": RESULT_VERSION,
            "purpose": result.purpose,
            "license_id": result.license_id,
            "release_id": result.release_id,
            "product": result.product,
            "product_version": result.product_version,
            "mismatches": [mismatch.as_dict() for mismatch in result.mismatches],
            "notes": list(result.notes),
        },
    }


_IDENTITY_CODES = {
    RejectionCode.SIGNATURE_INVALID,
    RejectionCode.SIGNATURE_ALGORITHM,
    RejectionCode.NOT_TPM_GENERATED,
    RejectionCode.ATTESTATION_TYPE,
    RejectionCode.QUALIFYING_DATA_MISMATCH,
    RejectionCode.SIGNER_NOT_ENDORSEMENT,
    RejectionCode.COUNTER_INVALID,
    RejectionCode.CLOCK_WENT_BACK,
    RejectionCode.ROLLED_BACK,
}
_CONFIGURATION_CODES = {
    RejectionCode.SECURE_BOOT_DISABLED,
    RejectionCode.SECURE_BOOT_KEYS,
    RejectionCode.KERNEL_COMMAND_LINE,
    RejectionCode.BOOT_PHASE,
    RejectionCode.SYSTEM_IDENTITY,
    RejectionCode.VERSION_BELOW_FLOOR,
}
_EXECUTABLE_CODES = {
    RejectionCode.BOOT_APPLICATION,
    RejectionCode.UKI_MISMATCH,
    RejectionCode.EVENT_NOT_ALLOWED,
    RejectionCode.EVENT_DIGEST_MISMATCH,
    RejectionCode.EVENT_LOG_REPLAY_MISMATCH,
    RejectionCode.PCR_MISMATCH,
}
_HARDWARE_CODES = {RejectionCode.FIRMWARE_CHANGED, RejectionCode.BANK_INCOMPLETE}


def _claim(affirming: bool, against: Iterable[RejectionCode]) -> int:
    """AR4SI claim value: 2 affirming, 96 contraindicated, 0 no claim made."""
    if any(against):
        return 96
    return 2 if affirming else 0


def _duration(milliseconds: int) -> str:
    minutes = milliseconds // 60_000
    return f"{minutes // 1440} d {minutes // 60 % 24} h {minutes % 60} min"
