"""TPMT_PUBLIC (TPM 2.0 Library, Part 2, 12.2.4): public areas, their Names and keys.

A Name is a digest over the marshalled area, so the exact bytes are kept and hashed, never a re-encoding.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sealwright_policies.errors import FormatError, UnsupportedError
from sealwright_policies.tcg.algorithms import (
    MAX_DIGEST_SIZE,
    AlgorithmId,
    EccCurve,
    algorithm_name,
    coordinate_size,
    curve_object,
    hash_bytes,
    strong_hash,
)
from sealwright_policies.tcg.reader import Reader, sized_2b
from sealwright_policies.tcg.signature import MAX_COORDINATE_SIZE, MAX_RSA_SIZE, PublicKey

MAX_PUBLIC_SIZE = 1024
DEFAULT_RSA_EXPONENT = 65537
"""What an exponent of zero stands for (Part 2, 12.2.3.5)."""


class Hierarchy(IntEnum):
    """TPM_RH handles of the hierarchies (Part 2, 7.4)."""

    OWNER = 0x40000001
    NULL = 0x40000007
    ENDORSEMENT = 0x4000000B
    PLATFORM = 0x4000000C


class ObjectAttributes(IntFlag):
    """TPMA_OBJECT (Part 2, 8.3)."""

    FIXED_TPM = 1 << 1
    ST_CLEAR = 1 << 2
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    USER_WITH_AUTH = 1 << 6
    ADMIN_WITH_POLICY = 1 << 7
    FIRMWARE_LIMITED = 1 << 8
    SVN_LIMITED = 1 << 9
    NO_DA = 1 << 10
    ENCRYPTED_DUPLICATION = 1 << 11
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN_ENCRYPT = 1 << 18
    X509_SIGN = 1 << 19


@dataclass(frozen=True, slots=True)
class Symmetric:
    """TPMT_SYM_DEF_OBJECT (Part 2, 11.1.7) other than TPM_ALG_NULL."""

    algorithm: int
    key_bits: int
    mode: int


@dataclass(frozen=True, slots=True)
class Scheme:
    """A signing, decryption or key-derivation scheme other than TPM_ALG_NULL; RSAES alone has no hash."""

    algorithm: int
    hash_algorithm: int | None


@dataclass(frozen=True, slots=True)
class Public:
    """A public area. ``unique`` is the modulus, the two coordinates, or the digest of a keyed hash or cipher object."""

    area: bytes
    type: AlgorithmId
    name_alg: int
    attributes: ObjectAttributes
    auth_policy: bytes
    symmetric: Symmetric | None
    scheme: Scheme | None
    kdf: Scheme | None
    curve: EccCurve | None
    key_bits: int
    exponent: int
    unique: tuple[bytes, ...]

    @property
    def name(self) -> bytes:
        """The Name: nameAlg ‖ H(area) (Part 1, 16). Raises UnsupportedError for a weak or unknown nameAlg."""
        return object_name(self.name_alg, self.area)

    @property
    def area_2b(self) -> bytes:
        """The area as TPM2B_PUBLIC."""
        return sized_2b(self.area)

    def key(self) -> PublicKey:
        """Return the public key. Raises FormatError if the numbers are no key, UnsupportedError for other types."""
        return _load_key(self)


def object_name(name_alg: int, area: bytes) -> bytes:
    """Return nameAlg ‖ H_nameAlg(area)."""
    strong_hash(name_alg)
    return name_alg.to_bytes(2, "big") + hash_bytes(name_alg, area)


def qualified_name(parent_handle: int, name: bytes) -> bytes:
    """Return the Qualified Name of a primary object: nameAlg ‖ H(handle of the hierarchy ‖ Name) (Part 1, 16.5)."""
    name_alg = int.from_bytes(name[:2], "big")
    return object_name(name_alg, parent_handle.to_bytes(4, "big") + name)


def parse_public_2b(data: bytes) -> Public:
    """Parse a TPM2B_PUBLIC with nothing behind it."""
    reader = Reader(data, "TPM2B_PUBLIC", max_size=2 + MAX_PUBLIC_SIZE)
    area = reader.sized(MAX_PUBLIC_SIZE, "publicArea")
    reader.finish()
    return parse_public(area)


@lru_cache(maxsize=256)
def parse_public(data: bytes) -> Public:
    """Parse the bytes of a TPMT_PUBLIC. One decision reads the same few areas many times, so the last are kept.

    Raises:
        FormatError: truncated, trailing, over-long, or reserved attribute bits set.
        UnsupportedError: a type, scheme or curve that no object of ours has.
    """
    reader = Reader(data, "TPMT_PUBLIC", max_size=MAX_PUBLIC_SIZE)
    object_type = reader.u16()
    name_alg = reader.u16()
    attributes = _read_attributes(reader)
    auth_policy = reader.sized(MAX_DIGEST_SIZE, "authPolicy")
    symmetric = scheme = kdf = curve = None
    key_bits = exponent = 0
    unique: tuple[bytes, ...]
    if object_type == AlgorithmId.RSA:
        symmetric, scheme = _read_symmetric(reader), _read_scheme(reader)
        key_bits, exponent = reader.u16(), reader.u32()
        unique = (reader.sized(MAX_RSA_SIZE, "unique"),)
    elif object_type == AlgorithmId.ECC:
        symmetric, scheme = _read_symmetric(reader), _read_scheme(reader)
        curve, kdf = _read_curve(reader), _read_scheme(reader)
        key_bits = curve_object(curve).key_size
        unique = (reader.sized(MAX_COORDINATE_SIZE, "unique.x"), reader.sized(MAX_COORDINATE_SIZE, "unique.y"))
    elif object_type == AlgorithmId.KEYEDHASH:
        scheme, kdf = _read_keyed_hash_scheme(reader)
        unique = (reader.sized(MAX_DIGEST_SIZE, "unique"),)
    elif object_type == AlgorithmId.SYMCIPHER:
        symmetric = _read_symmetric(reader)
        unique = (reader.sized(MAX_DIGEST_SIZE, "unique"),)
    else:
        raise UnsupportedError(f"TPMT_PUBLIC: objects of type {algorithm_name(object_type)} are not supported")
    reader.finish()
    return Public(
        area=data,
        type=AlgorithmId(object_type),
        name_alg=name_alg,
        attributes=attributes,
        auth_policy=auth_policy,
        symmetric=symmetric,
        scheme=scheme,
        kdf=kdf,
        curve=curve,
        key_bits=key_bits,
        exponent=exponent,
        unique=unique,
    )


_KNOWN_ATTRIBUTES = sum(ObjectAttributes)


def _read_attributes(reader: Reader) -> ObjectAttributes:
    value = reader.u32()
    if value & ~_KNOWN_ATTRIBUTES:
        raise FormatError(f"TPMA_OBJECT: reserved bits {value & ~_KNOWN_ATTRIBUTES:#010x} are set")
    return ObjectAttributes(value)


def _read_symmetric(reader: Reader) -> Symmetric | None:
    algorithm = reader.u16()
    if algorithm == AlgorithmId.NULL:
        return None
    if algorithm not in (AlgorithmId.AES, AlgorithmId.SM4, AlgorithmId.CAMELLIA):
        raise UnsupportedError(f"TPMT_SYM_DEF_OBJECT: {algorithm_name(algorithm)} is not a supported cipher")
    return Symmetric(algorithm, reader.u16(), reader.u16())


_SCHEMES_WITH_HASH = frozenset(
    {
        AlgorithmId.RSASSA,
        AlgorithmId.RSAPSS,
        AlgorithmId.OAEP,
        AlgorithmId.ECDSA,
        AlgorithmId.ECDH,
        AlgorithmId.SM2,
        AlgorithmId.ECSCHNORR,
        AlgorithmId.ECMQV,
        AlgorithmId.KDF1_SP800_56A,
        AlgorithmId.KDF2,
        AlgorithmId.KDF1_SP800_108,
        AlgorithmId.HMAC,
    }
)


def _read_scheme(reader: Reader) -> Scheme | None:
    algorithm = reader.u16()
    if algorithm == AlgorithmId.NULL:
        return None
    if algorithm == AlgorithmId.RSAES:
        return Scheme(algorithm, None)
    if algorithm in _SCHEMES_WITH_HASH:
        return Scheme(algorithm, reader.u16())
    raise UnsupportedError(f"TPMT_PUBLIC: scheme {algorithm_name(algorithm)} is not supported")


def _read_keyed_hash_scheme(reader: Reader) -> tuple[Scheme | None, Scheme | None]:
    """Read a TPMT_KEYEDHASH_SCHEME (Part 2, 11.1.20): none, HMAC with its hash, or XOR with hash and KDF."""
    algorithm = reader.u16()
    if algorithm == AlgorithmId.NULL:
        return None, None
    if algorithm == AlgorithmId.HMAC:
        return Scheme(algorithm, reader.u16()), None
    if algorithm == AlgorithmId.XOR:
        # TPMS_SCHEME_XOR ends in a TPMI_ALG_KDF: a bare identifier, no hash of its own.
        return Scheme(algorithm, reader.u16()), Scheme(reader.u16(), None)
    raise UnsupportedError(f"TPMT_KEYEDHASH_SCHEME: {algorithm_name(algorithm)} is not supported")


def _read_curve(reader: Reader) -> EccCurve:
    value = reader.u16()
    try:
        return EccCurve(value)
    except ValueError:
        raise UnsupportedError(f"TPMT_PUBLIC: ECC curve {value:#06x} is not supported") from None


@lru_cache(maxsize=256)
def _load_key(public: Public) -> PublicKey:
    """Build the key once per area: checking that a point lies on its curve costs more than a hash of the area."""
    numbers = [int.from_bytes(part, "big") for part in public.unique]
    try:
        if public.type is AlgorithmId.RSA:
            if len(public.unique[0]) * 8 != public.key_bits:
                raise FormatError(f"TPMT_PUBLIC: {len(public.unique[0])} bytes of modulus for {public.key_bits} bits")
            return rsa.RSAPublicNumbers(public.exponent or DEFAULT_RSA_EXPONENT, numbers[0]).public_key()
        if public.type is AlgorithmId.ECC and public.curve is not None:
            if any(len(part) > coordinate_size(public.curve) for part in public.unique):
                raise FormatError("TPMT_PUBLIC: a coordinate is longer than the field of the curve")
            return ec.EllipticCurvePublicNumbers(numbers[0], numbers[1], curve_object(public.curve)).public_key()
    except ValueError as error:
        raise FormatError(f"TPMT_PUBLIC: not a usable key: {error}") from None
    raise UnsupportedError(f"an object of type {algorithm_name(public.type)} has no public key")
