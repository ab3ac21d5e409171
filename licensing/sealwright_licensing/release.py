"""Key release: both shares of a release's partitions, for one device's SRK (policies/spec/keywrap.md, 3).

Share A goes under the lease-policy key's PolicyAuthorize for this device, share B under the release key's for any
device in a boot state of the release. The shares are in the clear only inside :func:`release_shares`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_licensing.custodian import Custodians
from sealwright_policies.appraisal.reference_values import PartitionWrappedShares
from sealwright_policies.tcg.keywrap import ImportBlob as SealedImport
from sealwright_policies.tcg.keywrap import wrap_sealed_object
from sealwright_policies.tcg.policy import external_signing_key, policy_authorize
from sealwright_policies.tcg.structures import Public
from sealwright_policies.wire.envelope import load_p256_public_key
from sealwright_policies.wire.framing import lease_share_reference, release_share_reference
from sealwright_policies.wire.messages import ImportBlob, PartitionShares


@dataclass(frozen=True, slots=True)
class KeyRelease:
    """What it takes to release keys."""

    custodians: Custodians = field(repr=False)

    def release_shares(
        self,
        srk: Public,
        wrapped: Sequence[PartitionWrappedShares],
        *,
        lease_policy_key: ec.EllipticCurvePublicKey,
        release_key_pem: str,
    ) -> list[PartitionShares]:
        """Unwrap the shares of each partition and wrap them to an SRK.

        Args:
            srk: verified to be a listed template under the Owner hierarchy of the enrolled TPM.
            wrapped: as the build left them; none at most renewals.
            lease_policy_key: the one that boxes on this release know.
            release_key_pem: from the release's manifest.
        """
        if not wrapped:
            return []
        lease_name = external_signing_key(lease_policy_key).name
        release_name = external_signing_key(load_p256_public_key(release_key_pem)).name
        return [self._release(srk, partition, lease_name, release_name) for partition in wrapped]

    def _release(
        self, srk: Public, partition: PartitionWrappedShares, lease_name: bytes, release_name: bytes
    ) -> PartitionShares:
        partition_id = bytes.fromhex(partition.partition_id)
        lease_share, release_share = self.custodians.unwrap(partition)
        lease_policy = policy_authorize(lease_name, lease_share_reference(srk.name, partition_id))
        release_policy = policy_authorize(release_name, release_share_reference(partition_id))
        return PartitionShares(
            partition_id=partition.partition_id,
            lease_share=_blob(wrap_sealed_object(srk, lease_share, lease_policy)),
            release_share=_blob(wrap_sealed_object(srk, release_share, release_policy)),
        )


def _blob(made: SealedImport) -> ImportBlob:
    return ImportBlob(public=made.public_2b, duplicate=made.duplicate_2b, encrypted_seed=made.encrypted_seed_2b)
