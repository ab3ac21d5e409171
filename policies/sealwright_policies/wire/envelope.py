"""Signed documents (policies/spec/documents.md): DSSE for the release manifest, compact JWS for leases and the like.

A signature is verified over the bytes as received, and only then are those bytes parsed. The type of a document is
pinned by the caller, never taken from the document. One signature, one algorithm, one encoding.
"""

from __future__ import annotations

import base64
import binascii
import re
import warnings
from functools import lru_cache
from typing import Annotated, TypeVar

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from pydantic import BaseModel, Field

from sealwright_policies.errors import FormatError, RejectionCode, VerificationError
from sealwright_policies.wire.encoding import Bytes4K, Bytes4M, Document, document_bytes, parse_json

JWS_ALGORITHM = "EdDSA"
"""RFC 8037, with Ed25519 keys alone. RFC 9864 names the same signature Ed25519; the older name is the one that all
supported versions of joserfc know."""

# Newer joserfc warns that the older name is deprecated; the signature is the same and the name is pinned here.
warnings.filterwarnings("ignore", message="EdDSA is deprecated via RFC 9864")

D = TypeVar("D", bound=BaseModel)


class DsseSignature(Document):
    """The one signature of an envelope. DSSE's optional keyid is left out: the caller knows the key."""

    sig: Bytes4K
    """ECDSA P-256 over SHA-256 of the pre-authentication encoding, DER."""


class DsseEnvelope(Document):
    """DSSE v1 envelope, protocol.md of the DSSE specification."""

    payload: Bytes4M
    payload_type: Annotated[str, Field(alias="payloadType", max_length=128)]
    signatures: Annotated[list[DsseSignature], Field(min_length=1, max_length=1)]


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """DSSE's PAE: what is signed."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign_dsse(payload: bytes, payload_type: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Wrap a payload into an envelope with one ECDSA P-256 signature."""
    signature = key.sign(pre_authentication_encoding(payload_type, payload), ec.ECDSA(SHA256()))
    fields = {"payload": payload, "payloadType": payload_type, "signatures": [DsseSignature(sig=signature)]}
    return document_bytes(DsseEnvelope.model_validate(fields))


def verify_dsse(data: bytes, payload_type: str, key: ec.EllipticCurvePublicKey, *, limit: int) -> bytes:
    """Verify an envelope and return its payload.

    Args:
        data: the envelope, JSON.
        payload_type: the type that is expected.
        key: P-256.
        limit: bytes of the longest envelope that is read.

    Raises:
        FormatError: not an envelope of ours.
        VerificationError: ``DOCUMENT_TYPE`` or ``DOCUMENT_SIGNATURE``.
    """
    envelope = parse_json(DsseEnvelope, data, limit=limit)
    if envelope.payload_type != payload_type:
        raise VerificationError(
            RejectionCode.DOCUMENT_TYPE, f"The envelope holds {envelope.payload_type!r}, expected {payload_type!r}."
        )
    message = pre_authentication_encoding(payload_type, envelope.payload)
    try:
        key.verify(envelope.signatures[0].sig, message, ec.ECDSA(SHA256()))
    except InvalidSignature as error:
        raise VerificationError(
            RejectionCode.DOCUMENT_SIGNATURE, "The envelope's signature is not by the expected key."
        ) from error
    return envelope.payload


class _JwsHeader(Document):
    """All that a protected header of ours holds; ``crit``, ``b64``, ``jwk`` and other members are unknown fields."""

    alg: str
    typ: str


def read_unverified_jws(token: str, kind: type[D], *, limit: int) -> D:
    """Parse the payload of a compact JWS that nobody else has touched; its signature is not looked at.

    Raises:
        FormatError: not a compact JWS, or the payload is no document of this kind.
    """
    if len(token) > limit or not _COMPACT_JWS.fullmatch(token):
        raise FormatError("JWS: not three base64url parts, or too long.")
    return parse_json(kind, _canonical_base64url(token.split(".")[1]), limit=limit)


_COMPACT_JWS = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


def sign_jws(document: BaseModel, type_: str, key: Ed25519PrivateKey) -> str:
    """Sign a document as a compact JWS of a type."""
    signed = f"{_header(type_)}.{_base64url(document_bytes(document))}"
    return f"{signed}.{_base64url(key.sign(signed.encode('ascii')))}"  # a key in a token signs and is not exported


@lru_cache(maxsize=32)
def _header(type_: str) -> str:
    return _base64url(document_bytes(_JwsHeader(alg=JWS_ALGORITHM, typ=type_)))


def verify_jws(token: str, kind: type[D], type_: str, key: Ed25519PublicKey, *, limit: int) -> D:
    """Verify a compact JWS and parse its payload.

    Args:
        token: header, payload and signature.
        kind: the document to parse, after the signature is verified.
        type_: the ``typ`` that is expected.
        key: Ed25519.
        limit: characters of the longest token that is read.

    Raises:
        FormatError: not a compact JWS in canonical base64url, or the payload is no document of this kind.
        VerificationError: ``DOCUMENT_TYPE`` (other ``typ`` or algorithm) or ``DOCUMENT_SIGNATURE``.
    """
    if len(token) > limit:
        raise FormatError(f"JWS: {len(token)} characters, at most {limit} are allowed.")
    if not _COMPACT_JWS.fullmatch(token):
        raise FormatError("JWS: not three base64url parts.")
    header_bytes, payload, _ = (_canonical_base64url(part) for part in token.split("."))
    header = parse_json(_JwsHeader, header_bytes, limit=512)
    if header.alg != JWS_ALGORITHM or header.typ != type_:
        raise VerificationError(
            RejectionCode.DOCUMENT_TYPE,
            f"The document is of type {header.typ!r} with {header.alg!r}, expected {type_!r} with {JWS_ALGORITHM!r}.",
        )
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    try:
        jws.deserialize_compact(token, OKPKey.import_key(pem), [JWS_ALGORITHM])
    except (JoseError, ValueError) as error:
        raise VerificationError(
            RejectionCode.DOCUMENT_SIGNATURE, "The document's signature is not by the expected key."
        ) from error
    return parse_json(kind, payload, limit=limit)


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _canonical_base64url(part: str) -> bytes:
    try:
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError) as error:
        raise FormatError("JWS: a part is not base64url.") from error
    if _base64url(raw) != part:
        raise FormatError("JWS: a part is not canonical base64url.")
    return raw


def load_p256_public_key(pem: str) -> ec.EllipticCurvePublicKey:
    """A P-256 public key from PEM (SubjectPublicKeyInfo)."""
    key = _load_public_key(pem)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise FormatError("Expected the PEM of a P-256 public key.")
    return key


def load_p256_public_der(der: bytes) -> ec.EllipticCurvePublicKey:
    """A P-256 public key from DER (SubjectPublicKeyInfo), in the one encoding that we write.

    Raises:
        FormatError: anything else.
    """
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        raise FormatError("Expected the DER of a public key.") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise FormatError("Expected the DER of a P-256 public key.")
    if public_der(key) != der:
        raise FormatError("Expected the DER of a P-256 public key with its point uncompressed.")
    return key


def public_der(key: ec.EllipticCurvePublicKey) -> bytes:
    """SubjectPublicKeyInfo in DER; its SHA-256 is the key's id."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def load_p256_private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """A P-256 private key from PEM (PKCS #8, not encrypted).

    Raises:
        FormatError: anything else.
    """
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise FormatError("Expected the PEM of a private key.") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise FormatError("Expected the PEM of a P-256 private key.")
    return key


def load_ed25519_public_key(pem: str) -> Ed25519PublicKey:
    """An Ed25519 public key from PEM (SubjectPublicKeyInfo)."""
    key = _load_public_key(pem)
    if not isinstance(key, Ed25519PublicKey):
        raise FormatError("Expected the PEM of an Ed25519 public key.")
    return key


def _load_public_key(pem: str) -> object:
    try:
        return load_pem_public_key(pem.encode("utf-8"))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise FormatError("Not the PEM of a public key that is supported.") from error
