"""Algorithm identifiers, curves and hashing by TPM_ALG_ID.

Numbers are from the TCG Algorithm Registry, rev 1.34, tables 3 and 4. Knowing an identifier is not trusting it: what
each structure may use is decided where it is verified.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_policies.errors import UnsupportedError


class AlgorithmId(IntEnum):
    """TPM_ALG_ID (Part 2, 6.3)."""

    RSA = 0x0001
    SHA1 = 0x0004
    HMAC = 0x0005
    AES = 0x0006
    KEYEDHASH = 0x0008
    XOR = 0x000A
    SHA256 = 0x000B
    SHA384 = 0x000C
    SHA512 = 0x000D
    NULL = 0x0010
    SM3_256 = 0x0012
    SM4 = 0x0013
    RSASSA = 0x0014
    RSAES = 0x0015
    RSAPSS = 0x0016
    OAEP = 0x0017
    ECDSA = 0x0018
    ECDH = 0x0019
    ECDAA = 0x001A
    SM2 = 0x001B
    ECSCHNORR = 0x001C
    ECMQV = 0x001D
    KDF1_SP800_56A = 0x0020
    KDF2 = 0x0021
    KDF1_SP800_108 = 0x0022
    ECC = 0x0023
    SYMCIPHER = 0x0025
    CAMELLIA = 0x0026
    SHA3_256 = 0x0027
    SHA3_384 = 0x0028
    SHA3_512 = 0x0029
    CFB = 0x0043


class EccCurve(IntEnum):
    """TPM_ECC_CURVE, those that a key may lie on here (Part 2, 6.4)."""

    NIST_P256 = 0x0003
    NIST_P384 = 0x0004
    NIST_P521 = 0x0005


DIGEST_SIZES: dict[int, int] = {
    AlgorithmId.SHA1: 20,
    AlgorithmId.SHA256: 32,
    AlgorithmId.SHA384: 48,
    AlgorithmId.SHA512: 64,
    AlgorithmId.SM3_256: 32,
    AlgorithmId.SHA3_256: 32,
    AlgorithmId.SHA3_384: 48,
    AlgorithmId.SHA3_512: 64,
}
"""Bytes in a digest of each hash algorithm that a PCR bank or log may use."""

MAX_DIGEST_SIZE = 64
"""sizeof(TPMU_HA): the largest digest a TPM2B_DIGEST holds."""

_HASHLIB_NAMES: dict[int, str] = {
    AlgorithmId.SHA1: "sha1",
    AlgorithmId.SHA256: "sha256",
    AlgorithmId.SHA384: "sha384",
    AlgorithmId.SHA512: "sha512",
    AlgorithmId.SM3_256: "sm3",
    AlgorithmId.SHA3_256: "sha3_256",
    AlgorithmId.SHA3_384: "sha3_384",
    AlgorithmId.SHA3_512: "sha3_512",
}

_STRONG_HASHES: dict[int, hashes.HashAlgorithm] = {
    AlgorithmId.SHA256: hashes.SHA256(),
    AlgorithmId.SHA384: hashes.SHA384(),
    AlgorithmId.SHA512: hashes.SHA512(),
}

_CURVES: dict[EccCurve, ec.EllipticCurve] = {
    EccCurve.NIST_P256: ec.SECP256R1(),
    EccCurve.NIST_P384: ec.SECP384R1(),
    EccCurve.NIST_P521: ec.SECP521R1(),
}


def algorithm_name(algorithm: int) -> str:
    """Return the name that tpm2-tools uses ('sha256', 'sm3_256'), or '0x…' for an unknown identifier."""
    try:
        return AlgorithmId(algorithm).name.lower()
    except ValueError:
        return f"{algorithm:#06x}"


def hash_bytes(algorithm: int, data: bytes) -> bytes:
    """Digest ``data``. Raises UnsupportedError for an algorithm that this host's OpenSSL or we do not know."""
    if algorithm == AlgorithmId.SHA256:
        return hashlib.sha256(data).digest()
    if not hash_available(algorithm):
        raise UnsupportedError(f"hash algorithm {algorithm_name(algorithm)} is not available")
    return hashlib.new(_HASHLIB_NAMES[algorithm], data, usedforsecurity=False).digest()


def hash_available(algorithm: int) -> bool:
    """Say whether :func:`hash_bytes` knows the algorithm; SM3 hangs on how the host's OpenSSL was built."""
    return _HASHLIB_NAMES.get(algorithm) in hashlib.algorithms_available


def hashlib_name(algorithm: int) -> str:
    """Return hashlib's name of a strong hash, for HMAC and KDFs."""
    strong_hash(algorithm)
    return _HASHLIB_NAMES[algorithm]


def strong_hash(algorithm: int) -> hashes.HashAlgorithm:
    """Return the hash object of SHA-2 with 256 bits or more; raise UnsupportedError for all others."""
    try:
        return _STRONG_HASHES[algorithm]
    except KeyError:
        raise UnsupportedError(f"hash algorithm {algorithm_name(algorithm)} is not accepted here") from None


def curve_object(curve: EccCurve) -> ec.EllipticCurve:
    """Return cryptography's object for a curve."""
    return _CURVES[curve]


def curve_by_name(name: str) -> EccCurve | None:
    """Return the identifier of a curve that cryptography calls ``name`` ('secp256r1')."""
    return next((identifier for identifier, curve in _CURVES.items() if curve.name == name), None)


def coordinate_size(curve: EccCurve) -> int:
    """Return the number of bytes in one coordinate of a point."""
    return (_CURVES[curve].key_size + 7) // 8
