"""Messages between the box and the licence service (policies/spec/enrollment.md, renewal.md).

All travel as JSON over TLS 1.3 to the service whose CA is measured with the image's root. Binary TPM structures are
base64. Nothing in a message is believed for standing in it: :mod:`sealwright_policies.appraisal` judges.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from sealwright_policies.wire.encoding import Bytes1M, Bytes4K, Document, Identifier, NameHex, PcrValues, Sha256Hex

MESSAGE_LIMIT = 4 * 1024 * 1024
"""Bytes of the longest message either side reads."""

DeviceId = Annotated[str, StringConstraints(pattern=r"^[a-z2-7]{52}$")]
"""base32(SHA-256(EK public area)), lower case, no padding."""
ActivationCode = Annotated[str, StringConstraints(pattern=r"^[0-9A-HJKMNP-TV-Z]{5}(-[0-9A-HJKMNP-TV-Z]{5}){3}$")]
"""Four groups of five Crockford base32 digits: 100 random bits."""


class Purpose(StrEnum):
    """What an attestation is for; part of the qualifying data."""

    ENROLL = "enroll"
    RENEW = "renew"
    METERING = "metering"
    VERIFY = "verify"
    """For the box's customer, not for the service (policies/spec/box-evidence.md)."""
    FLOW = "flow"
    """For another box (policies/spec/domain-flow.md)."""


class Attestation(Document):
    """One attestation structure as the TPM returned it."""

    attest: Bytes4K
    """TPMS_ATTEST."""
    signature: Bytes4K
    """TPMT_SIGNATURE by the AK over ``attest``."""


class CounterAttestation(Attestation):
    """nv_certify of one of the two counters."""

    nv_public: Bytes4K
    """TPMS_NV_PUBLIC of the index."""


class Evidence(Document):
    """The state of the box, for appraisal."""

    quote: Attestation
    pcrs: PcrValues
    """The quoted PCR values; the signature covers them through pcrDigest."""
    boot_log: Bytes1M
    """binary_bios_measurements, as the kernel shows it."""
    userspace_log: Bytes1M
    """systemd's tpm2-measure.log."""
    tick_counter: CounterAttestation
    lease_counter: CounterAttestation
    payload: Bytes4K
    """What the quote speaks for beside the state; empty for enrolment and plain renewal."""


class EnrollmentRequest(Document):
    """Step 1: who the box says it is."""

    activation_code: ActivationCode
    ek_certificates: Annotated[list[Bytes4K], Field(min_length=1, max_length=8)]
    """DER: the EK certificate first, then the chain certificates found in NV."""
    ek_public: Bytes4K
    """TPMT_PUBLIC."""
    ak_public: Bytes4K
    """TPMT_PUBLIC."""
    srk_public: Bytes4K
    """TPMT_PUBLIC."""
    release_id: Sha256Hex


class EnrollmentChallenge(Document):
    """Step 2: what only the TPM with that EK and AK can answer."""

    enrollment_id: Identifier
    device_id: DeviceId
    license_id: Identifier
    credential_blob: Bytes4K
    """TPM2B_ID_OBJECT."""
    encrypted_secret: Bytes4K
    """TPM2B_ENCRYPTED_SECRET."""
    nonce: Annotated[Bytes4K, Field()]
    """32 bytes, for all attestations of step 3."""
    expires_at: int
    """Seconds since the epoch."""


class EnrollmentProof(Document):
    """Steps 3 and 4: the answer, the SRK's and counters' place in that TPM, and the first evidence."""

    enrollment_id: Identifier
    secret: Bytes4K
    """32 bytes from ActivateCredential."""
    srk_certify: Attestation
    evidence: Evidence


class ImportBlob(Document):
    """A sealed object made outside the TPM, for TPM2_Import under the SRK."""

    public: Bytes4K
    """TPM2B_PUBLIC."""
    duplicate: Bytes4K
    """TPM2B_PRIVATE."""
    encrypted_seed: Bytes4K
    """TPM2B_ENCRYPTED_SECRET."""


class PartitionShares(Document):
    """Both key shares of one encrypted partition."""

    partition_id: Sha256Hex
    lease_share: ImportBlob
    """Share A, under PolicyAuthorize(lease-policy key, lease_share_reference)."""
    release_share: ImportBlob
    """Share B, under PolicyAuthorize(release key, release_share_reference)."""


class ReleaseApproval(Document):
    """The release key's word that a boot state may unseal share B of a partition; made offline, once per release."""

    release_id: Sha256Hex
    partition_id: Sha256Hex
    pcrs: PcrValues
    """PCR 4, 11, 12, 13 and 15 at the unseal point."""
    signature: Bytes4K
    """TPMT_SIGNATURE over aHash(PolicyPCR ∧ PolicyCommandCode(Unseal), release_share_reference)."""


class Grant(Document):
    """Step 5, and the reply to a renewal: everything the box needs until the next proof."""

    device_id: DeviceId
    license_id: Identifier
    leases: Annotated[list[str], Field(min_length=1, max_length=16)]
    """Compact JWS, one per release still allowed (:mod:`sealwright_policies.wire.lease`)."""
    shares: Annotated[list[PartitionShares], Field(max_length=64)]
    """With an activation; empty with a renewal unless the release is new to the device."""
    release_approvals: Annotated[list[ReleaseApproval], Field(max_length=1024)]
    device_certificate: str
    """PEM: AK, device and tier, until the lease ends."""
    service_time: int
    """Seconds since the epoch; advice for the box's clock."""


class NonceRequest(Document):
    """Asks for a nonce to renew with, where next_nonce of the last lease is gone or spent."""

    device_id: DeviceId
    purpose: Literal[Purpose.RENEW, Purpose.METERING, Purpose.FLOW] = Purpose.RENEW


class Nonce(Document):
    """A stateless nonce of the service."""

    nonce: Bytes4K
    expires_at: int


class RenewalRequest(Document):
    """Proof of the lease counter N and of the state, for leases of N + 1."""

    device_id: DeviceId
    license_id: Identifier
    release_id: Sha256Hex
    nonce: Bytes4K
    evidence: Evidence


class Problem(Document):
    """RFC 9457 problem details with our stable code."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    mismatches: list[dict[str, object]] = Field(default_factory=list)


class CounterNames(Document):
    """Names of both counters, WRITTEN set."""

    tick: NameHex
    lease: NameHex
