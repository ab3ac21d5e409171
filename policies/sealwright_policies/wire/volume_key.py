"""The volume key of an encrypted partition (policies/spec/custodian-wrap.md): from two shares, stored nowhere."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sealwright_policies.errors import FormatError
from sealwright_policies.wire.framing import KEY_CHECK_LABEL, VOLUME_KEY_LABEL, framed, framed_digest

SHARE_SIZE = 32
"""Bytes of each share."""
VOLUME_KEY_SIZE = 64
"""Bytes: AES-256-XTS takes two 256-bit keys."""


def derive_volume_key(
    lease_share: bytes, release_share: bytes, partition_id: bytes, owner_key_id: bytes | None
) -> bytes:
    """HKDF-SHA-256(ikm = lease share ‖ release share, salt = 32 zero bytes, info = framed(label, partition id, …)).

    Args:
        lease_share: share A, 32 bytes.
        release_share: share B, 32 bytes.
        partition_id: the partition's verity root hash, 32 bytes.
        owner_key_id: of the key that the partition's domain names, 32 bytes; None if it names none. Last in the info,
            so that a release with another owner, or without, makes another key of the same shares.

    Returns:
        64 bytes.
    """
    bound = () if owner_key_id is None else (owner_key_id,)
    for field in (lease_share, release_share, partition_id, *bound):
        if len(field) != SHARE_SIZE:
            raise FormatError(f"A key share, partition id or key id has {len(field)} bytes, not {SHARE_SIZE}.")
    info = framed(VOLUME_KEY_LABEL, partition_id, *bound)
    return HKDF(SHA256(), VOLUME_KEY_SIZE, salt=bytes(32), info=info).derive(lease_share + release_share)


def key_check(volume_key: bytes, partition_id: bytes) -> str:
    """What the manifest says of a volume key, so that wrong shares are found before they are used; hex.

    A digest gives nothing away of a key that was derived from 64 random bytes.
    """
    return framed_digest(KEY_CHECK_LABEL, partition_id, volume_key).hex()
