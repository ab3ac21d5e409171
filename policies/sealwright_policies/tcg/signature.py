"""TPMT_SIGNATURE (TPM 2.0 Library, Part 2, 11.3.4): parsing, checking against a key, and making one for a policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature

from sealwright_policies.errors import FormatError, RejectionCode, UnsupportedError, VerificationError
from sealwright_policies.tcg.algorithms import AlgorithmId, algorithm_name, strong_hash
from sealwright_policies.tcg.reader import Reader, sized_2b

MAX_SIGNATURE_SIZE = 1024
MAX_RSA_SIZE = 512
MAX_COORDINATE_SIZE = 66
MIN_RSA_BITS = 2048
MAX_ALGORITHM_ID = 0xFF
"""All schemes of the TCG Algorithm Registry are below; larger numbers are of other data."""

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class EcdsaSignature:
    """TPMS_SIGNATURE_ECDSA: the hash of the message, and r and s."""

    hash_algorithm: int
    r: int
    s: int

    @property
    def algorithm(self) -> AlgorithmId:
        """TPM_ALG_ECDSA."""
        return AlgorithmId.ECDSA


@dataclass(frozen=True, slots=True)
class RsaSignature:
    """TPMS_SIGNATURE_RSA with its scheme, RSASSA (PKCS#1 v1.5) or RSAPSS."""

    algorithm: AlgorithmId
    hash_algorithm: int
    signature: bytes


Signature = EcdsaSignature | RsaSignature


def parse_signature(data: bytes) -> Signature:
    """Parse a TPMT_SIGNATURE.

    Raises:
        FormatError: truncated, trailing or over-long, or of a scheme that no registry can name.
        UnsupportedError: another scheme than ECDSA, RSASSA and RSAPSS.
    """
    reader = Reader(data, "TPMT_SIGNATURE", max_size=MAX_SIGNATURE_SIZE)
    algorithm = reader.u16()
    signature: Signature
    if algorithm == AlgorithmId.ECDSA:
        hash_algorithm = reader.u16()
        r = reader.sized(MAX_COORDINATE_SIZE, "signatureR")
        s = reader.sized(MAX_COORDINATE_SIZE, "signatureS")
        signature = EcdsaSignature(hash_algorithm, int.from_bytes(r, "big"), int.from_bytes(s, "big"))
    elif algorithm in (AlgorithmId.RSASSA, AlgorithmId.RSAPSS):
        hash_algorithm = reader.u16()
        signature = RsaSignature(AlgorithmId(algorithm), hash_algorithm, reader.sized(MAX_RSA_SIZE, "sig"))
    elif algorithm > MAX_ALGORITHM_ID:
        raise FormatError(f"TPMT_SIGNATURE: {algorithm:#06x} is no signature scheme")
    else:
        raise UnsupportedError(f"TPMT_SIGNATURE: signature scheme {algorithm_name(algorithm)} is not supported")
    reader.finish()
    return signature


def verify_message(key: PublicKey, message: bytes, signature: Signature) -> None:
    """Check that ``signature`` is over ``message`` and by ``key``.

    Raises:
        VerificationError: SIGNATURE_ALGORITHM if the scheme does not fit the key or the hash is weak,
            SIGNATURE_INVALID if it does not verify.
        UnsupportedError: an RSA key under 2048 bits.
    """
    hash_object = signature_hash(signature)
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(signature, EcdsaSignature):
            key.verify(encode_dss_signature(signature.r, signature.s), message, ec.ECDSA(hash_object))
        elif isinstance(key, rsa.RSAPublicKey) and isinstance(signature, RsaSignature):
            if key.key_size < MIN_RSA_BITS:
                raise UnsupportedError(f"an RSA key of {key.key_size} bits is too short; {MIN_RSA_BITS} is the least")
            key.verify(signature.signature, message, _rsa_padding(signature, hash_object), hash_object)
        else:
            raise VerificationError(
                RejectionCode.SIGNATURE_ALGORITHM, f"{algorithm_name(signature.algorithm)} does not fit the key's type"
            )
    except InvalidSignature:
        raise VerificationError(
            RejectionCode.SIGNATURE_INVALID, "the signature is not by this key over these bytes"
        ) from None


def verify_any(key: PublicKey, message: bytes, readings: Sequence[Signature]) -> Signature:
    """Return the first of several readings of a signature that :func:`verify_message` accepts; raise as it does."""
    for reading in readings[:-1]:
        try:
            verify_message(key, message, reading)
        except VerificationError:
            continue
        return reading
    verify_message(key, message, readings[-1])
    return readings[-1]


def signature_hash(signature: Signature) -> hashes.HashAlgorithm:
    """Return the hash of a signature, which must be SHA-256 or longer."""
    try:
        return strong_hash(signature.hash_algorithm)
    except UnsupportedError:
        raise VerificationError(
            RejectionCode.SIGNATURE_ALGORITHM,
            f"the signature hashes with {algorithm_name(signature.hash_algorithm)}; SHA-256 or longer is demanded",
        ) from None


def _rsa_padding(signature: RsaSignature, hash_object: hashes.HashAlgorithm) -> padding.AsymmetricPadding:
    if signature.algorithm is AlgorithmId.RSASSA:
        return padding.PKCS1v15()
    # The salt is as long as the digest or, in older TPMs, as the key allows (Part 1, B.7): read from the signature.
    return padding.PSS(padding.MGF1(hash_object), padding.PSS.AUTO)


def sign_digest(key: ec.EllipticCurvePrivateKey, digest: bytes) -> bytes:
    """Sign a SHA-256 digest with a P-256 key; return a TPMT_SIGNATURE."""
    size = (key.curve.key_size + 7) // 8
    r, s = decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
    head = AlgorithmId.ECDSA.to_bytes(2, "big") + AlgorithmId.SHA256.to_bytes(2, "big")
    return head + sized_2b(r.to_bytes(size, "big")) + sized_2b(s.to_bytes(size, "big"))
