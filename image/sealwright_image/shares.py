"""Key shares of an encrypted partition: drawn here, used once to encrypt, and leaving only wrapped.

policies/spec/custodian-wrap.md: two shares of 32 random bytes, the volume key derived from both.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from sealwright_image.custodians import Custodians
from sealwright_policies.appraisal.reference_values import PartitionWrappedShares
from sealwright_policies.wire.custodian_wrap import wrap_share
from sealwright_policies.wire.volume_key import SHARE_SIZE, derive_volume_key


@dataclass(frozen=True, slots=True)
class KeyShares:
    """Both shares of one partition. The repr shows neither; there is no way to write them in the clear."""

    lease: bytes = field(repr=False)
    release: bytes = field(repr=False)

    def volume_key(self, partition_id: bytes, owner_key_id: bytes | None) -> VolumeKey:
        return VolumeKey(derive_volume_key(self.lease, self.release, partition_id, owner_key_id))

    def wrap(self, custodians: Custodians, partition_id: bytes) -> PartitionWrappedShares:
        """As they leave the build: each to its own custodian."""
        return PartitionWrappedShares(
            partition_id=partition_id.hex(),
            lease_share=wrap_share(custodians.lease_share, self.lease, partition_id=partition_id, name="lease"),
            release_share=wrap_share(custodians.release_share, self.release, partition_id=partition_id, name="release"),
        )


@dataclass(frozen=True, slots=True)
class VolumeKey:
    """Key of a plain dm-crypt partition, 64 bytes: two AES-256 keys."""

    value: bytes = field(repr=False)


def draw_shares() -> KeyShares:
    """New shares from the system's random generator."""
    return KeyShares(secrets.token_bytes(SHARE_SIZE), secrets.token_bytes(SHARE_SIZE))
