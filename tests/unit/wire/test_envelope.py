"""Signed documents: what is signed is what is read, and nothing else is accepted as signed."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from sealwright_policies.errors import FormatError, RejectionCode, SealwrightError, VerificationError
from sealwright_policies.wire.envelope import (
    load_ed25519_public_key,
    load_p256_public_key,
    pre_authentication_encoding,
    sign_dsse,
    sign_jws,
    verify_dsse,
    verify_jws,
)
from sealwright_policies.wire.messages import NonceRequest

P256 = ec.generate_private_key(ec.SECP256R1())
OTHER_P256 = ec.generate_private_key(ec.SECP256R1())
ED25519 = Ed25519PrivateKey.generate()
KIND = "application/vnd.in-toto+json"
TYP = "sealwright-sample+jwt"
DOCUMENT = NonceRequest(device_id="a" * 52)
LIMIT = 4096


def encode(part: Any) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(header: Any, payload: Any = b"{}") -> str:
    """A JWS truly signed by the right key, with any header."""
    signed = f"{encode(header)}.{encode(payload)}"
    return f"{signed}.{encode(ED25519.sign(signed.encode()))}"


def read_jws(token: str) -> NonceRequest:
    return verify_jws(token, NonceRequest, TYP, ED25519.public_key(), limit=LIMIT)


def read_dsse(envelope: bytes) -> bytes:
    return verify_dsse(envelope, KIND, P256.public_key(), limit=LIMIT)


def rejected(code: RejectionCode, read: Any, data: Any) -> None:
    with pytest.raises(VerificationError) as caught:
        read(data)
    assert caught.value.code is code


def test_the_encoding_that_is_signed_is_that_of_dsse() -> None:
    """The example of the DSSE specification, protocol.md."""
    encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")

    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_an_envelope_gives_back_its_payload() -> None:
    assert read_dsse(sign_dsse(b'{"a": 1}', KIND, P256)) == b'{"a": 1}'


def test_an_envelope_by_another_key_or_of_another_type_is_refused() -> None:
    rejected(RejectionCode.DOCUMENT_SIGNATURE, read_dsse, sign_dsse(b"{}", KIND, OTHER_P256))
    rejected(RejectionCode.DOCUMENT_TYPE, read_dsse, sign_dsse(b"{}", "application/json", P256))


@pytest.mark.parametrize("field", ["payload", "sig"])
def test_a_changed_envelope_is_refused(field: str) -> None:
    envelope = json.loads(sign_dsse(b"payload!", KIND, P256))
    target = envelope if field == "payload" else envelope["signatures"][0]
    raw = bytearray(base64.b64decode(target[field]))
    raw[-1] ^= 1
    target[field] = base64.b64encode(raw).decode()

    rejected(RejectionCode.DOCUMENT_SIGNATURE, read_dsse, json.dumps(envelope).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"signatures": []},
        {"signatures": [{"sig": "AA=="}, {"sig": "AA=="}]},
        {"signatures": [{"sig": "AA==", "keyid": "x"}]},
        {"payload": "AAF="},
        {"extra": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_envelope_of_another_form_is_malformed(change: dict[str, Any]) -> None:
    envelope = json.loads(sign_dsse(b"payload!", KIND, P256)) | change

    with pytest.raises(FormatError):
        read_dsse(json.dumps(envelope).encode())


def test_a_token_gives_back_its_document() -> None:
    assert read_jws(sign_jws(DOCUMENT, TYP, ED25519)) == DOCUMENT


def test_a_token_by_another_key_is_refused() -> None:
    rejected(RejectionCode.DOCUMENT_SIGNATURE, read_jws, sign_jws(DOCUMENT, TYP, Ed25519PrivateKey.generate()))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "EdDSA", "typ": "other+jwt"},
        {"alg": "none", "typ": TYP},
        {"alg": "HS256", "typ": TYP},
        {"alg": "Ed25519", "typ": TYP},
    ],
    ids=lambda header: f"{header['alg']}-{header['typ']}",
)
def test_a_token_of_another_type_or_algorithm_is_refused(header: dict[str, str]) -> None:
    rejected(RejectionCode.DOCUMENT_TYPE, read_jws, forged(header))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "EdDSA"},
        {"alg": "EdDSA", "typ": TYP, "crit": ["b64"], "b64": False},
        {"alg": "EdDSA", "typ": TYP, "jwk": {}},
        b'{"alg":"none","alg":"EdDSA","typ":"sealwright-sample+jwt"}',
    ],
    ids=["no-typ", "crit", "jwk", "alg-twice"],
)
def test_a_header_with_anything_else_is_malformed(header: Any) -> None:
    with pytest.raises(FormatError):
        read_jws(forged(header))


def test_the_payload_is_parsed_only_after_its_signature_is_verified() -> None:
    """A malformed payload by the wrong key is refused for its signature; by the right key, as malformed."""
    header, _, signature = sign_jws(DOCUMENT, TYP, ED25519).split(".")

    rejected(RejectionCode.DOCUMENT_SIGNATURE, read_jws, f"{header}.{encode(b'not JSON')}.{signature}")
    with pytest.raises(FormatError):
        read_jws(forged({"alg": "EdDSA", "typ": TYP}, b"not JSON"))


def test_a_token_has_one_spelling() -> None:
    header, payload, signature = sign_jws(DOCUMENT, TYP, ED25519).split(".")
    last = signature[-1]
    alike = next(c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c != last)

    for token in (
        f"{header}.{payload}.{signature}=",
        f"{header}.{payload}.{signature}\n",
        f"{header}.{payload}",
        f"{header}.{payload}.{signature}.{payload}",
        f"{header}.{payload}.{signature[:-1]}{alike}"
        if alike not in "AQgw"
        else f"{header}.{payload}.{signature[:-1]}B",
    ):
        with pytest.raises(FormatError):
            read_jws(token)


def test_a_token_over_its_limit_is_not_read() -> None:
    with pytest.raises(FormatError, match="at most"):
        verify_jws("a.b.c" * 10, NonceRequest, TYP, ED25519.public_key(), limit=10)


@given(
    st.text(max_size=300)
    | st.from_regex(r"[A-Za-z0-9_-]{1,40}\.[A-Za-z0-9_-]{1,80}\.[A-Za-z0-9_-]{1,90}", fullmatch=True)
)
def test_any_text_is_refused_as_a_token(text: str) -> None:
    with pytest.raises(SealwrightError):
        read_jws(text)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_as_an_envelope(data: bytes) -> None:
    with pytest.raises(SealwrightError):
        read_dsse(data)


def pem(key: Any) -> str:
    text: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


def test_keys_are_read_by_kind() -> None:
    assert load_p256_public_key(pem(P256.public_key())) == P256.public_key()
    assert load_ed25519_public_key(pem(ED25519.public_key())) == ED25519.public_key()
    p384, rsa_key = ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)
    for other in (pem(p384.public_key()), pem(rsa_key.public_key()), pem(ED25519.public_key()), "no key", "\ud800"):
        with pytest.raises(FormatError):
            load_p256_public_key(other)
    with pytest.raises(FormatError):
        load_ed25519_public_key(pem(P256.public_key()))
