"""What the licence service remembers: one frozen record per kind of fact.

Times are seconds since the epoch by the service's clock. Bytes are kept as received wherever something was signed over
them. No record holds a volume key, a key share in the clear or an activation code.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sealwright_policies.wire.lease import EndBehaviour


class LicenseStatus(StrEnum):
    """What the operator has decided about a licence; expiry follows from the clock and is not stored."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


class DeviceStatus(StrEnum):
    """LIVE devices occupy a seat; HELD ones too, but renew nothing until an operator resumes them."""

    LIVE = "live"
    HELD = "held"
    RETIRED = "retired"


class Overage(StrEnum):
    """How many devices may be enrolled beyond the seats, as a factor on them."""

    NONE = "none"
    QUARTER = "1.25"
    HALF = "1.5"
    DOUBLE = "2"
    UNLIMITED = "unlimited"


class RenewalBasis(StrEnum):
    """What a renewal of a licence counts from."""

    EXPIRY = "expiry"
    NOW = "now"


@dataclass(frozen=True, slots=True)
class License:
    """What the operator has granted: a product, a number of boxes, for a time, on tiers of TPM."""

    license_id: str
    product: str
    seats: int
    tiers: str
    """Allowed tiers, comma-separated."""
    issued_at: int
    expires_at: int
    lease_s: int
    """Seconds that a lease lasts."""
    renew_after_s: int
    """Contact interval, seconds."""
    max_request_s: int
    tick_budget: int
    """Ticks (hours of running, and boots) that one box may use over the licence's whole time."""
    version_floor: str
    """Lowest product version that is accepted, e.g. "0"."""
    allow_test_images: bool
    status: LicenseStatus
    note: str
    starts_at: int = 0
    overage: Overage = Overage.NONE
    grace_s: int = 0
    """Seconds behind ``expires_at`` in which boxes still renew."""
    at_end: EndBehaviour = EndBehaviour.CLOSE
    renewal_basis: RenewalBasis = RenewalBasis.EXPIRY
    boots_without_contact: int = 0
    """TPM resets that one lease has room for; 0: by its length."""
    partitions: str = ""
    """Payload ids that it covers, comma-separated; empty: all."""
    domains: str = ""
    """Domains that it covers, comma-separated; empty: all."""
    features: str = ""
    """Names that its leases hand on to the box, comma-separated."""


@dataclass(frozen=True, slots=True)
class ActivationCodeRecord:
    """An activation code, known by its hash alone; one use."""

    code_hash: str
    license_id: str
    created_at: int
    spent_at: int | None
    enrollment_id: str | None
    """The enrolment that spent it."""
    replaces: str = ""
    """Id of the device that is retired when the code is spent."""


@dataclass(frozen=True, slots=True)
class MakerCertificate:
    """A trust anchor with its tier, or an intermediate (tier empty), which is trusted no further than its chain."""

    fingerprint: str
    tier: str
    subject: str
    encoded: bytes
    added_at: int
    signature: bytes = b""
    """Of a root that is not in our list (signed_records.py)."""


@dataclass(frozen=True, slots=True)
class ReleaseRecord:
    """An imported release: the signed manifest and the release key's approvals."""

    release_id: str
    product: str
    version: str
    flavour: str
    envelope: bytes
    """The signed manifest as the build wrote it; verified whenever the service reads it (manifest_keys.py)."""
    manifest_key: str
    """Fingerprint of the key that signed it. The key itself, and with it the trust, lies in the service's folder."""
    approvals: str
    """JSON list of ReleaseApproval."""
    variants: str
    """JSON list of `variants.json` as signed: ways through PCR 4 from after the build; verified like the manifest."""
    imported_at: int
    withdrawn: bool


@dataclass(frozen=True, slots=True)
class ReleaseShares:
    """Both wrapped shares of one partition, JSON PartitionWrappedShares."""

    release_id: str
    partition_id: str
    wrapped: str


@dataclass(frozen=True, slots=True)
class PendingEnrollment:
    """Between challenge and proof. Occupies no seat."""

    enrollment_id: str
    device_id: str
    license_id: str
    code_hash: str
    release_id: str
    tier: str
    tpm: str
    """Maker, model and version from the EK certificate, JSON."""
    ek_certificate: bytes
    ek_public: bytes
    ak_public: bytes
    srk_public: bytes
    secret_hash: bytes
    """SHA-256 of the credential's secret."""
    nonce: bytes
    expires_at: int
    challenge: bytes = b""
    """The whole EnrollmentChallenge of one that travels by file, to be given again; online ones are not."""
    signature: bytes = b""
    """Over all of it (signed_records.py)."""


@dataclass(frozen=True, slots=True)
class EnrollmentReply:
    """The Grant of an enrolment, kept so that a lost reply locks nobody out."""

    enrollment_id: str
    device_id: str
    ak_public: bytes
    secret_hash: bytes
    reply: bytes
    expires_at: int


@dataclass(frozen=True, slots=True)
class Device:
    """An enrolled box and the state it last proved (:mod:`sealwright_licensing.baselines`)."""

    device_id: str
    license_id: str
    status: DeviceStatus
    held_because: str
    tier: str
    tpm: str
    ek_certificate: bytes
    ak_public: bytes
    srk_public: bytes
    tick_counter_name: bytes
    lease_counter_name: bytes
    enrolled_at: int
    enrollment_id: str
    revision: int
    """Counts changes: a decision prepared on an older revision is made again."""
    first_ticks: int
    """Ticks at activation: the budget counts from here."""
    charged_ticks: int
    """Ticks used up besides those counted: in earlier enrolments of this TPM under this licence, at power cuts that
    lost Clock, and whatever was outstanding when the TPM's state was put back."""
    granted_ticks: int = 0
    """Highest max_ticks of any lease of this enrolment; charged in full when it ends early."""
    pinned_pcrs: str = "{}"
    """PCR 0, 2 and 3 of the first accepted quote, JSON."""
    reported_pcrs: str = "{}"
    """PCR 1, 5 and 6 of the last accepted quote, JSON."""
    seen_at: int = 0
    clock_ms: int = 0
    reset_count: int = 0
    restart_count: int = 0
    ticks: int = 0
    lease_number: int = 0
    """N, the value of the lease counter that was last proved."""
    held_code: str = ""
    """RejectionCode of a hold."""
    approved_pcrs: str = "{}"
    """PCR 0, 2 and 3 that an operator has approved beside the pinned ones, JSON; spent when they are shown."""
    boot_logs_digest: bytes = b""
    """Of the boot logs of the last accepted evidence (policies/spec/air-gap.md, 2)."""
    signature: bytes = b""
    """Over who it is (signed_records.py)."""


@dataclass(frozen=True, slots=True)
class AppraisedLogs:
    """The boot logs of a device's last accepted evidence, each compressed, for requests that come without."""

    device_id: str
    digest: bytes
    boot_log: bytes
    userspace_log: bytes


@dataclass(frozen=True, slots=True)
class DeniedLogs:
    """The boot logs of a device's last denied evidence, each compressed, for whoever decides about the device."""

    device_id: str
    decision_id: str
    boot_log: bytes
    userspace_log: bytes


@dataclass(frozen=True, slots=True)
class DeviceRelease:
    """A release that a device has shares for, and its PCR values at the unseal point."""

    device_id: str
    release_id: str
    unseal_pcrs: str
    """JSON."""
    seen_at: int
    """When a quote last led to these values."""
    lease_number: int
    """N at the renewal that first gave its shares, which gives them again until N + 1 is proved; 0: at enrolment."""
    partitions: str = ""
    """Payload ids whose shares it has been given, comma-separated; empty in records from before entitlements."""


@dataclass(frozen=True, slots=True)
class TickLedger:
    """Ticks that a device and its TPM's earlier ones have used up under one licence in enrolments that are over."""

    license_id: str
    device_id: str
    charged_ticks: int


@dataclass(frozen=True, slots=True)
class RenewalReply:
    """A stored reply for (device, N, nonce), until N + 1 is proved."""

    device_id: str
    lease_number: int
    nonce: bytes
    reply: bytes


@dataclass(frozen=True, slots=True)
class NextNonce:
    """A nonce that a lease of number N carries: good for a renewal that proves N."""

    device_id: str
    nonce: bytes
    lease_number: int


@dataclass(frozen=True, slots=True)
class SpentNonce:
    """Replay record of a stateless nonce, kept until the nonce itself runs out."""

    nonce: bytes
    expires_at: int


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A lease that was signed."""

    lease_id: str
    device_id: str
    license_id: str
    release_id: str
    number: int
    issued_at: int
    expires_at: int
    clock_end_ms: int
    max_reset_count: int
    max_ticks: int


@dataclass(frozen=True, slots=True)
class DeviceCertificateRecord:
    """A device certificate that was issued."""

    serial: str
    device_id: str
    issued_at: int
    expires_at: int
    pem: str


@dataclass(frozen=True, slots=True)
class Decision:
    """One verdict about one device: what was asked, the code, and the appraisal's result."""

    decision_id: str
    device_id: str
    license_id: str
    purpose: str
    code: str
    """"ok" or a RejectionCode."""
    sentence: str
    result: str
    """EAR-shaped JSON of the appraisal, "" if it did not come to one."""
    words: str
    """The result for humans."""
    decided_at: int


@dataclass(frozen=True, slots=True)
class DeviceFirmware:
    """What is measured into PCR 0, 2 and 3 of a device, for the operator to compare."""

    device_id: str
    pinned_events: str
    """Events behind the pinned values, JSON; "[]" where they were pinned before events were kept."""
    shown_pcrs: str = "{}"
    """Values of the last evidence that was denied for them alone, JSON."""
    shown_events: str = "[]"
    shown_at: int = 0


@dataclass(frozen=True, slots=True)
class ClockSighting:
    """A reading of a device that is said to be two: of which of its histories it is, and when it was seen."""

    device_id: str
    number: int
    """Counts the sightings of the device."""
    history: int
    """1 is the history that was accepted first."""
    seen_at: int
    clock_ms: int
    reset_count: int
    restart_count: int
    ticks: int
    lease_number: int
    code: str
    """"ok" or a RejectionCode: the decision about the evidence."""


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """The latest time that the service has seen; behind it its time never goes."""

    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Operation:
    """One act of an operator, a program with a token or the command line."""

    operation_id: str
    actor_kind: str
    actor: str
    operation: str
    """E.g. "license.revoke"."""
    subject: str
    """Id of the licence, device or release."""
    detail: str
    """JSON: what was changed. No activation code, key or token."""
    performed_at: int


@dataclass(frozen=True, slots=True)
class LogQueueItem:
    """An entry of the log that has no number yet, with what it is found by."""

    position: int | None
    """Given by the database, in the order of writing; None in a new one."""
    leaf: bytes
    """The entry (policies/spec/transparency.md, 4)."""
    entry_kind: str
    at: int
    code: str
    """Of a decision."""
    device_id: str
    license_id: str
    subject: str
    """Of an operation; of a release its id."""


@dataclass(frozen=True, slots=True)
class LogEntryRecord:
    """An entry of the log under its number; all but the leaf is a copy from it to search by."""

    entry_index: int
    leaf: bytes
    entry_kind: str
    at: int
    code: str
    device_id: str
    license_id: str
    subject: str


@dataclass(frozen=True, slots=True)
class LogNode:
    """Hash of a perfect subtree of the log."""

    level: int
    node_index: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class LogCheckpoint:
    """A signed checkpoint."""

    size: int
    note: str
