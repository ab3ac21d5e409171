"""Errors of every sealwright package, and the stable codes by which a rejection is known.

A parser raises :class:`FormatError` and nothing else, whatever the bytes. A verifier returns a verified type or
raises :class:`VerificationError`; it never returns a bool. Exit codes of the command-line tools hang on the classes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar


class SealwrightError(Exception):
    """Base of all errors that a caller may want to tell apart. ``exit_code`` is what a command exits with."""

    exit_code: ClassVar[int] = 1


class UsageError(SealwrightError):
    """The command or configuration asks for something that cannot be meant; says what and where."""

    exit_code = 2


class FormatError(SealwrightError):
    """The bytes are not in the format they claim: malformed, truncated, over a limit, trailing data."""

    exit_code = 30


class UnsupportedError(SealwrightError):
    """Well-formed, but of a kind this version does not handle (an algorithm, a version, a platform)."""

    exit_code = 20


class OperationError(SealwrightError):
    """A tool, disk, network or TPM failed. ``cure`` says in one sentence what the user can do."""

    def __init__(self, message: str, *, cure: str = "") -> None:
        super().__init__(f"{message} {cure}".rstrip())
        self.cure = cure


class VerificationError(SealwrightError):
    """Well-formed, and not trusted. Carries a stable code and, where there are several causes, all of them."""

    exit_code = 10

    def __init__(self, code: RejectionCode, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.details = details

    def __str__(self) -> str:
        return f"{self.code}: {super().__str__()}"


class RejectionCode(StrEnum):
    """Why something is refused. Stable: the same in the specs, logs, HTTP API, tests and vectors."""

    # Attestation structures (policies/spec/attestation.md)
    SIGNATURE_INVALID = "SIGNATURE_INVALID"
    SIGNATURE_ALGORITHM = "SIGNATURE_ALGORITHM"
    NOT_TPM_GENERATED = "NOT_TPM_GENERATED"
    ATTESTATION_TYPE = "ATTESTATION_TYPE"
    QUALIFYING_DATA_MISMATCH = "QUALIFYING_DATA_MISMATCH"
    PCR_SELECTION_MISMATCH = "PCR_SELECTION_MISMATCH"
    PCR_DIGEST_MISMATCH = "PCR_DIGEST_MISMATCH"
    SIGNER_NOT_ENDORSEMENT = "SIGNER_NOT_ENDORSEMENT"
    # Keys and counters at enrolment (policies/spec/enrollment.md)
    EK_CHAIN_INVALID = "EK_CHAIN_INVALID"
    EK_KEY_MISMATCH = "EK_KEY_MISMATCH"
    AK_ATTRIBUTES = "AK_ATTRIBUTES"
    SRK_TEMPLATE = "SRK_TEMPLATE"
    SRK_NAME_MISMATCH = "SRK_NAME_MISMATCH"
    SRK_HIERARCHY = "SRK_HIERARCHY"
    COUNTER_INVALID = "COUNTER_INVALID"
    CREDENTIAL_SECRET_MISMATCH = "CREDENTIAL_SECRET_MISMATCH"  # noqa: S105
    TPM_NOT_ALLOWED = "TPM_NOT_ALLOWED"
    # Clock rules (policies/spec/attestation.md)
    CLOCK_WENT_BACK = "CLOCK_WENT_BACK"
    ROLLED_BACK = "ROLLED_BACK"
    DEVICE_CLONED = "DEVICE_CLONED"
    # Appraisal of the boot (policies/spec/appraisal.md)
    EVENT_LOG_REPLAY_MISMATCH = "EVENT_LOG_REPLAY_MISMATCH"
    EVENT_NOT_ALLOWED = "EVENT_NOT_ALLOWED"
    EVENT_DIGEST_MISMATCH = "EVENT_DIGEST_MISMATCH"
    BANK_INCOMPLETE = "BANK_INCOMPLETE"
    SECURE_BOOT_DISABLED = "SECURE_BOOT_DISABLED"
    SECURE_BOOT_KEYS = "SECURE_BOOT_KEYS"
    BOOT_APPLICATION = "BOOT_APPLICATION"
    KERNEL_COMMAND_LINE = "KERNEL_COMMAND_LINE"
    UKI_MISMATCH = "UKI_MISMATCH"
    BOOT_PHASE = "BOOT_PHASE"
    SYSTEM_IDENTITY = "SYSTEM_IDENTITY"
    PCR_MISMATCH = "PCR_MISMATCH"
    FIRMWARE_CHANGED = "FIRMWARE_CHANGED"
    RELEASE_UNKNOWN = "RELEASE_UNKNOWN"
    VERSION_BELOW_FLOOR = "VERSION_BELOW_FLOOR"
    # Documents (policies/spec/documents.md)
    DOCUMENT_SIGNATURE = "DOCUMENT_SIGNATURE"
    DOCUMENT_TYPE = "DOCUMENT_TYPE"
    MANIFEST_MISMATCH = "MANIFEST_MISMATCH"
    LEASE_MISMATCH = "LEASE_MISMATCH"
    LEASE_EXPIRED = "LEASE_EXPIRED"
    # The service's log (policies/spec/transparency.md)
    LOG_PROOF_INVALID = "LOG_PROOF_INVALID"
    LOG_KEY_RETIRED = "LOG_KEY_RETIRED"
    AUDIT_MISMATCH = "AUDIT_MISMATCH"
    # Decisions of the licence service (policies/spec/decisions.md)
    ACTIVATION_CODE_INVALID = "ACTIVATION_CODE_INVALID"
    ENROLLMENT_EXPIRED = "ENROLLMENT_EXPIRED"
    NONCE_INVALID = "NONCE_INVALID"
    LOGS_REQUIRED = "LOGS_REQUIRED"
    DEVICE_UNKNOWN = "DEVICE_UNKNOWN"
    LICENSE_UNKNOWN = "LICENSE_UNKNOWN"
    NOT_YET_VALID = "NOT_YET_VALID"
    EXPIRED = "EXPIRED"
    SUSPENDED = "SUSPENDED"
    REVOKED = "REVOKED"
    TOO_MANY_DEVICES = "TOO_MANY_DEVICES"
    TIER_NOT_ALLOWED = "TIER_NOT_ALLOWED"
    RELEASE_NOT_ALLOWED = "RELEASE_NOT_ALLOWED"
    NOT_ENTITLED = "NOT_ENTITLED"
    RELEASE_NOT_LOGGED = "RELEASE_NOT_LOGGED"
    BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"
    RATE_LIMITED = "RATE_LIMITED"
    # Metering (policies/spec/metering.md)
    METERING_CHAIN = "METERING_CHAIN"
    METERING_GAP = "METERING_GAP"
    METERING_FORK = "METERING_FORK"
    METERING_IMPLAUSIBLE = "METERING_IMPLAUSIBLE"
    METERING_COPYING = "METERING_COPYING"
    # Security domains (policies/spec/domain.md)
    DOMAIN_EXCEEDS_LEVEL = "DOMAIN_EXCEEDS_LEVEL"
    DOMAIN_EXCEEDS_CHAIN = "DOMAIN_EXCEEDS_CHAIN"
    DOMAIN_NOT_CHAINED = "DOMAIN_NOT_CHAINED"
    DOMAIN_UNKNOWN = "DOMAIN_UNKNOWN"
    DOMAIN_CONFLICT = "DOMAIN_CONFLICT"
    DOMAIN_FORBIDS = "DOMAIN_FORBIDS"
    OWNER_SIGNATURE = "OWNER_SIGNATURE"
    OWNER_UNSIGNED = "OWNER_UNSIGNED"
    # What a build refuses to trust (policies/spec/manifest.md)
    TRUSTED_BASE_GREW = "TRUSTED_BASE_GREW"
    # Flows between boxes (policies/spec/domain-flow.md)
    FLOW_MISMATCH = "FLOW_MISMATCH"
    FLOW_CONTENT = "FLOW_CONTENT"
    FLOW_CHAIN = "FLOW_CHAIN"
