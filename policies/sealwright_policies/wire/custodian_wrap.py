"""Key shares wrapped to a custodian key (policies/spec/custodian-wrap.md).

ECDH P-256 with an ephemeral key, HKDF-SHA-256, AES-256-GCM. The build host holds no symmetric key, and the custodian's
side is one ECDH operation that a PKCS#11 token can do. What this does not do: hold or load a custodian key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealwright_policies.appraisal.reference_values import WrappedShare
from sealwright_policies.errors import FormatError, RejectionCode, VerificationError
from sealwright_policies.wire.framing import CUSTODIAN_WRAP_LABEL, framed
from sealwright_policies.wire.volume_key import SHARE_SIZE

ShareName = Literal["lease", "release"]

_TAG_SIZE = 16
_NONCE = bytes(12)
"""Fixed: the key is derived from a fresh ephemeral key and encrypts once."""


def wrap_share(
    public: ec.EllipticCurvePublicKey,
    share: bytes,
    *,
    partition_id: bytes,
    name: ShareName,
    ephemeral: ec.EllipticCurvePrivateKey | None = None,
) -> WrappedShare:
    """Wrap one 32-byte share to a custodian's public key.

    Args:
        public: P-256 key of the custodian of this share.
        share: 32 bytes.
        partition_id: verity root hash of the partition, 32 bytes; bound into the wrap.
        name: which share; bound into the wrap, so that the two cannot be swapped.
        ephemeral: for vectors alone. Never use one twice.
    """
    if len(share) != SHARE_SIZE:
        raise FormatError(f"A key share has {SHARE_SIZE} bytes, not {len(share)}.")
    ephemeral = ephemeral or ec.generate_private_key(ec.SECP256R1())
    info = _info(partition_id, name, ephemeral.public_key(), public)
    key = _wrapping_key(ephemeral.exchange(ec.ECDH(), public), info)
    return WrappedShare(
        ephemeral_public=_point(ephemeral.public_key()),
        ciphertext=AESGCM(key).encrypt(_NONCE, share, info),
    )


def unwrap_share(
    exchange: Callable[[ec.EllipticCurvePublicKey], bytes],
    own_public: ec.EllipticCurvePublicKey,
    wrapped: WrappedShare,
    *,
    partition_id: bytes,
    name: ShareName,
) -> bytes:
    """Unwrap one share, 32 bytes.

    Args:
        exchange: ECDH of the custodian's private key with the given point; 32 bytes, the x coordinate.
        own_public: the custodian's public key.
        wrapped: as the build wrote it.
        partition_id: the partition the share must be for.
        name: the share it must be.

    Raises:
        FormatError: the ephemeral point or the length is wrong.
        VerificationError: ``DOCUMENT_SIGNATURE``: not wrapped to this key, for this partition and share.
    """
    if len(wrapped.ephemeral_public) != 65 or wrapped.ephemeral_public[0] != 4:
        raise FormatError("The ephemeral key of a wrapped share is not an uncompressed P-256 point.")
    if len(wrapped.ciphertext) != SHARE_SIZE + _TAG_SIZE:
        raise FormatError(f"A wrapped share has {SHARE_SIZE + _TAG_SIZE} bytes, not {len(wrapped.ciphertext)}.")
    try:
        ephemeral = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), wrapped.ephemeral_public)
    except ValueError as error:
        raise FormatError("The ephemeral key of a wrapped share is not on P-256.") from error
    info = _info(partition_id, name, ephemeral, own_public)
    try:
        return AESGCM(_wrapping_key(exchange(ephemeral), info)).decrypt(_NONCE, wrapped.ciphertext, info)
    except InvalidTag as error:
        raise VerificationError(
            RejectionCode.DOCUMENT_SIGNATURE,
            f"The wrapped {name} share was not made for this custodian key and partition.",
        ) from error


def _wrapping_key(shared_secret: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=bytes(32), info=info).derive(shared_secret)


def _info(
    partition_id: bytes, name: ShareName, ephemeral: ec.EllipticCurvePublicKey, custodian: ec.EllipticCurvePublicKey
) -> bytes:
    if len(partition_id) != SHARE_SIZE:
        raise FormatError(f"A partition id has 32 bytes, not {len(partition_id)}.")
    return framed(CUSTODIAN_WRAP_LABEL, partition_id, name.encode("ascii"), _point(ephemeral), _point(custodian))


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    if not isinstance(key.curve, ec.SECP256R1):
        raise FormatError("A custodian key must be on P-256.")
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
