"""Custodians: who holds the ECDH keys that the builds wrap key shares to.

One for each share, so that they can be kept apart: a file here, a PKCS#11 token where there is one. A custodian does
one operation and gives out no key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_policies.appraisal.reference_values import PartitionWrappedShares
from sealwright_policies.wire.custodian_wrap import unwrap_share


class Custodian(Protocol):
    """Holder of one custodian key."""

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """P-256, as the builds know it."""

    def exchange(self, public: ec.EllipticCurvePublicKey) -> bytes:
        """ECDH with a point: the x coordinate, 32 bytes."""


@dataclass(frozen=True, slots=True)
class Custodians:
    """The two of them; a share unwrapped with the other's key does not verify."""

    lease_share: Custodian
    release_share: Custodian

    def unwrap(self, shares: PartitionWrappedShares) -> tuple[bytes, bytes]:
        """Both shares of a partition, 32 bytes each: lease share, release share.

        Raises:
            VerificationError: DOCUMENT_SIGNATURE if a share was not wrapped to these keys, for this partition.
        """
        partition_id = bytes.fromhex(shares.partition_id)
        lease, release = self.lease_share, self.release_share
        return (
            unwrap_share(lease.exchange, lease.public_key, shares.lease_share, partition_id=partition_id, name="lease"),
            unwrap_share(
                release.exchange, release.public_key, shares.release_share, partition_id=partition_id, name="release"
            ),
        )
