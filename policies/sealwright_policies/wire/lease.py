"""The lease (policies/spec/lease.md): what the service signs, and the TPM policy that follows from it.

The document is a compact JWS (Ed25519, ``typ`` pinned). It holds no secret. Both sides compute the policy digest from
the same fields, so a box refuses a lease whose TPM signature is for other terms than those it shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field

from sealwright_policies.appraisal.clock import ClockReading
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.tcg.policy import (
    EMPTY_POLICY,
    CommandCode,
    Operation,
    TimeInfoOffset,
    policy_command_code,
    policy_counter_timer,
    policy_nv,
    policy_pcr,
    sign_policy,
    verify_policy_signature,
)
from sealwright_policies.transparency.release_proof import ReleaseProof, verify_release_proof
from sealwright_policies.wire.encoding import Bytes4K, Document, Identifier, NameHex, PcrValues, Sha256Hex, pcr_bytes
from sealwright_policies.wire.envelope import (
    load_ed25519_public_key,
    load_p256_public_key,
    read_unverified_jws,
    sign_jws,
    verify_jws,
)
from sealwright_policies.wire.framing import lease_share_reference
from sealwright_policies.wire.messages import DeviceId
from sealwright_policies.wire.service import LicenseService

LEASE_TYPE = "sealwright-lease+jwt"
LEASE_LIMIT = 64 * 1024
"""Bytes of the longest lease JWS that is read."""


class LeasePartition(Document):
    """One partition that this lease opens."""

    partition_id: Sha256Hex
    payload_id: Identifier
    signature: Bytes4K
    """TPMT_SIGNATURE of the lease-policy key over aHash(policy of the lease, lease_share_reference)."""


class LeaseWarning(Document):
    """Something the customer's administrator should see before the lease ends."""

    code: str
    message: str


class EndBehaviour(StrEnum):
    """What a licence's end means for boxes that run (policies/spec/licence.md, 4)."""

    CLOSE = "close"
    RUN_OUT = "run-out"
    KEEP_RELEASES = "keep-releases"


class LicenseTerms(Document):
    """What a box is told of its licence (policies/spec/licence.md); the lease itself is what the TPM enforces."""

    ends_at: int
    """Seconds since the epoch."""
    grace_ends_at: int
    at_end: EndBehaviour
    budget_end_ticks: Annotated[int, Field(ge=0, lt=2**63)]
    """Value of the tick counter at which the licence's running time for this box is used up."""
    features: Annotated[list[Identifier], Field(max_length=32)]


WARNING_DAYS = (30, 7, 1)
"""So many days ahead of an end it is warned of."""
DAY_S = 86_400


def warning_level(left_s: int) -> int | None:
    """The level that a remaining time has reached: 30, 7 or 1 days; None while it is longer."""
    return min((days for days in WARNING_DAYS if left_s <= days * DAY_S), default=None)


class LeaseTerms(Document):
    """Terms under which one device may open partitions of one release."""

    version: Annotated[int, Field(ge=1, le=1)]
    lease_id: Identifier
    device_id: DeviceId
    license_id: Identifier
    release_id: Sha256Hex
    srk_name: NameHex
    tick_counter_name: NameHex
    lease_counter_name: NameHex
    unseal_pcrs: PcrValues
    """Value of each PCR of the unseal set at the unseal point."""
    clock_end_ms: Annotated[int, Field(ge=0, lt=2**63)]
    """Last TPM Clock at which it unseals."""
    max_reset_count: Annotated[int, Field(ge=0, lt=2**32)]
    max_ticks: Annotated[int, Field(ge=0, lt=2**63)]
    """Highest value of the tick counter at which it unseals."""
    number: Annotated[int, Field(ge=1, lt=2**63)]
    """N: the value of the lease counter at which it unseals."""
    next_nonce: Bytes4K
    """32 bytes, for the next renewal."""
    issued_at: int
    """Seconds since the epoch, by the service's clock."""
    expires_at: int
    """Seconds since the epoch: the end in calendar time, for humans and for the running box."""
    max_request_s: Annotated[int, Field(ge=1, le=86400)]
    """A request that runs when the lease ends may go on this long."""
    renew_after_s: Annotated[int, Field(ge=1)]
    """Contact interval: seconds after issue from which the box renews."""
    license: LicenseTerms
    warnings: Annotated[list[LeaseWarning], Field(max_length=16)]
    log: ReleaseProof
    """That the release is in the service's log (policies/spec/transparency.md, 6)."""


class Lease(LeaseTerms):
    """The terms and, for each partition, the TPM's form of the service's signature under them."""

    partitions: Annotated[list[LeasePartition], Field(min_length=1, max_length=64)]


def lease_policy(terms: LeaseTerms) -> bytes:
    """The TPM policy that the terms stand for, as the digest that the lease-policy key approves; 32 bytes.

    PolicyPCR(unseal set) ∧ CounterTimer(Clock ≤ end) ∧ CounterTimer(resetCount ≤ R) ∧ PolicyNV(ticks ≤ most) ∧
    PolicyNV(lease counter = N) ∧ PolicyCommandCode(Unseal), in this order (policies/spec/lease.md, 3).
    """
    digest = policy_pcr(EMPTY_POLICY, pcr_bytes(terms.unseal_pcrs))
    digest = policy_counter_timer(
        digest, terms.clock_end_ms.to_bytes(8, "big"), TimeInfoOffset.CLOCK, Operation.UNSIGNED_LE
    )
    digest = policy_counter_timer(
        digest, terms.max_reset_count.to_bytes(4, "big"), TimeInfoOffset.RESET_COUNT, Operation.UNSIGNED_LE
    )
    tick_name, lease_name = bytes.fromhex(terms.tick_counter_name), bytes.fromhex(terms.lease_counter_name)
    digest = policy_nv(digest, terms.max_ticks.to_bytes(8, "big"), 0, Operation.UNSIGNED_LE, tick_name)
    # Never left out: without it, a lease replaced by a shorter one would still open.
    digest = policy_nv(digest, terms.number.to_bytes(8, "big"), 0, Operation.EQ, lease_name)
    return policy_command_code(digest, CommandCode.UNSEAL)


def sign_lease_partitions(
    terms: LeaseTerms, partitions: Mapping[str, str], policy_key: ec.EllipticCurvePrivateKey
) -> list[LeasePartition]:
    """Approve the terms for share A of each partition on the device of the terms."""
    policy, srk_name = lease_policy(terms), bytes.fromhex(terms.srk_name)
    return [
        LeasePartition(
            partition_id=partition_id,
            payload_id=payload_id,
            signature=sign_policy(policy_key, policy, lease_share_reference(srk_name, bytes.fromhex(partition_id))),
        )
        for partition_id, payload_id in partitions.items()
    ]


def sign_lease(
    terms: LeaseTerms,
    partitions: Mapping[str, str],
    policy_key: ec.EllipticCurvePrivateKey,
    document_key: Ed25519PrivateKey,
) -> str:
    """The lease as a compact JWS.

    Args:
        terms: what is allowed.
        partitions: partition id (hex) to payload id.
        policy_key: P-256, approves the TPM policy of each partition.
        document_key: Ed25519, signs the document.
    """
    signed = sign_lease_partitions(terms, partitions, policy_key)
    fields = {name: getattr(terms, name) for name in LeaseTerms.model_fields}
    return sign_jws(Lease(**fields, partitions=signed), LEASE_TYPE, document_key)


def verify_lease(token: str, service: LicenseService) -> Lease:
    """Verify a lease against the service's keys, as the box does before it stores or tries one.

    Raises:
        FormatError: not a lease.
        VerificationError: ``DOCUMENT_TYPE``, ``DOCUMENT_SIGNATURE``; ``LEASE_MISMATCH`` if a partition's TPM signature
            is for other terms than the document shows; ``LOG_PROOF_INVALID`` if the release is not in the service's
            log.
    """
    document_key = load_ed25519_public_key(service.lease_document_key)
    lease = verify_jws(token, Lease, LEASE_TYPE, document_key, limit=LEASE_LIMIT)
    policy_key = load_p256_public_key(service.lease_policy_key)
    policy = lease_policy(lease)
    for partition in lease.partitions:
        reference = lease_share_reference(bytes.fromhex(lease.srk_name), bytes.fromhex(partition.partition_id))
        try:
            verify_policy_signature(policy_key, policy, reference, partition.signature)
        except VerificationError as error:
            raise VerificationError(
                RejectionCode.LEASE_MISMATCH,
                f"The lease-policy key has not approved these terms for the partition of {partition.payload_id}.",
            ) from error
    verify_release_proof(lease.log, lease.release_id, service)
    return lease


def read_unverified_lease(token: str) -> Lease:
    """The lease in a token, for its author, who knows it.

    Raises:
        FormatError: not a lease.
    """
    return read_unverified_jws(token, Lease, limit=LEASE_LIMIT)


def require_in_force(terms: LeaseTerms, reading: ClockReading) -> None:
    """Say in words why the TPM would not unseal under these terms; the TPM itself is what enforces them.

    Raises:
        VerificationError: ``LEASE_EXPIRED`` with the bound that is passed, ``LEASE_MISMATCH`` if the lease counter has
            moved on or is not there yet.
    """
    if reading.lease_number != terms.number:
        raise VerificationError(
            RejectionCode.LEASE_MISMATCH,
            f"The lease is number {terms.number}, the TPM's lease counter is at {reading.lease_number}.",
        )
    for what, found, most in (
        ("TPM clock", reading.clock_ms, terms.clock_end_ms),
        ("number of TPM resets", reading.reset_count, terms.max_reset_count),
        ("powered-on time in ticks", reading.ticks, terms.max_ticks),
    ):
        if found > most:
            raise VerificationError(
                RejectionCode.LEASE_EXPIRED,
                f"The lease is used up: the {what} is {found}, at most {most} was allowed.",
                expected=f"at most {most}",
                found=str(found),
            )
