"""The lease (policies/spec/lease.md): what the service signs, and the TPM policy that follows from it.

The document is a compact JWS (Ed25519, ``typ`` pinned). It holds no secret. Both sides compute the policy digest from
the same fields, so a box refuses a lease whose TPM signature is for other terms than those it shows.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sealwright_policies.wire.encoding import Bytes4K, Document, Identifier, NameHex, PcrValues, Sha256Hex
from sealwright_policies.wire.messages import DeviceId

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


class Lease(Document):
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
    partitions: Annotated[list[LeasePartition], Field(min_length=1, max_length=64)]
    warnings: Annotated[list[LeaseWarning], Field(max_length=16)]
