"""Quotes as other programs write them: forms of the key, the statement and the signature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealwright_policies.tcg.reader import sized_2b
from sealwright_testing.attestations import AttestFields, quote_bytes
from sealwright_testing.quote_case import AK, NONCE, PCRS, QUOTE, QuoteCase, pem

RSA_KEY = rsa.generate_private_key(65537, 2048)
FIELDS = AttestFields(AK.qualified_name, NONCE)
HASHES: list[hashes.HashAlgorithm] = [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()]
PADDINGS: list[Callable[[hashes.HashAlgorithm], padding.AsymmetricPadding]] = [
    lambda _: padding.PKCS1v15(),
    lambda hash_object: padding.PSS(padding.MGF1(hash_object), hash_object.digest_size),
]


@pytest.fixture
def case(tmp_path: Path) -> QuoteCase:
    return QuoteCase(tmp_path)


def quote_hashed_with(hash_object: hashes.HashAlgorithm) -> bytes:
    """The digest of the PCRs is made with the hash of the signature."""
    digest = hashes.Hash(hash_object)
    digest.update(b"".join(PCRS[index] for index in sorted(PCRS)))
    body = QUOTE[len(FIELDS.marshal(0x8018, b"")) :]
    return FIELDS.marshal(0x8018, body[:-34] + sized_2b(digest.finalize()))


@pytest.mark.parametrize("hash_object", HASHES, ids=lambda each: each.name)
@pytest.mark.parametrize("padding_of", PADDINGS, ids=["rsassa", "rsapss"])
def test_a_plain_rsa_signature(
    case: QuoteCase,
    hash_object: hashes.HashAlgorithm,
    padding_of: Callable[[hashes.HashAlgorithm], padding.AsymmetricPadding],
) -> None:
    """As `tpm2_quote -f plain` writes it: the bare number, from which scheme and hash are found by trying."""
    quote = quote_hashed_with(hash_object)
    case.write("ak.pem", pem(RSA_KEY.public_key()))
    case.write("attest", quote)
    case.write("signature", RSA_KEY.sign(quote, padding_of(hash_object), hash_object))
    assert case.run() == 0
    case.write("signature", RSA_KEY.sign(quote + b"\0", padding_of(hash_object), hash_object))
    assert case.run() == 10


@pytest.mark.parametrize("hash_object", HASHES, ids=lambda each: each.name)
def test_a_plain_ecdsa_signature(case: QuoteCase, hash_object: hashes.HashAlgorithm) -> None:
    """As `tpm2_quote -f plain` and OpenSSL write it: r and s in DER."""
    quote = quote_hashed_with(hash_object)
    case.write("attest", quote)
    case.write("signature", AK.private_key.sign(quote, ec.ECDSA(hash_object)))
    assert case.run() == 0
    case.write("signature", AK.private_key.sign(quote + b"\0", ec.ECDSA(hash_object)))
    assert case.run() == 10


def test_a_plain_signature_with_sha1_is_rejected(case: QuoteCase, capsys: pytest.CaptureFixture[str]) -> None:
    quote = quote_hashed_with(hashes.SHA1())  # a weak hash is the point of the test
    case.write("attest", quote)
    case.write("signature", AK.private_key.sign(quote, ec.ECDSA(hashes.SHA1())))
    assert case.run() == 10
    assert "SIGNATURE_INVALID" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("signature", "code"),
    [
        (b"\x30", 30),
        (b"\x30\x80\x02\x01\x01\x02\x01\x01\0\0", 30),
        (AK.private_key.sign(QUOTE, ec.ECDSA(hashes.SHA256())) + b"\0", 30),
        (encode_dss_signature(0, 0), 10),
        (b"\x30\x06\x02\x01\xff\x02\x01\x01", 30),
        (encode_dss_signature(1, 1 << 600), 10),
        (RSA_KEY.sign(QUOTE, padding.PKCS1v15(), hashes.SHA256()), 30),
    ],
    ids=["cut", "BER", "trailing", "zeros", "negative", "huge", "RSA"],
)
def test_other_plain_signatures_for_an_ecc_key(case: QuoteCase, signature: bytes, code: int) -> None:
    case.write("signature", signature)
    assert case.run() == code


def test_an_ecdsa_signature_for_an_rsa_key(case: QuoteCase, capsys: pytest.CaptureFixture[str]) -> None:
    case.write("ak.pem", pem(RSA_KEY.public_key()))
    case.write("signature", AK.private_key.sign(QUOTE, ec.ECDSA(hashes.SHA256())))
    assert case.run() == 10
    assert "SIGNATURE_ALGORITHM" in capsys.readouterr().err


@pytest.mark.parametrize(
    "key",
    [
        AK.public.area,
        AK.public.area_2b,
        AK.private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    ],
    ids=["TPMT_PUBLIC", "TPM2B_PUBLIC", "DER"],
)
def test_forms_of_the_key(case: QuoteCase, key: bytes) -> None:
    case.write("ak.pem", key)
    assert case.run() == 0
    case.write("ak.pem", key[:-1])
    assert case.run() == 30


def test_a_certificate_is_not_taken_for_a_key(case: QuoteCase, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody has verified it; the message says how to take the key out."""
    certificate = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    case.write("ak.pem", certificate)
    assert case.run() == 20
    assert "openssl x509" in capsys.readouterr().err


def test_a_statement_with_its_length(case: QuoteCase) -> None:
    """TPM2B_ATTEST, as TPM2_Quote returns it; the signature is over what is in it."""
    case.write("attest", sized_2b(QUOTE))
    assert case.run() == 0
    case.write("attest", sized_2b(QUOTE) + b"\0")
    assert case.run() == 10


def test_a_length_is_only_taken_off_a_statement(case: QuoteCase, capsys: pytest.CaptureFixture[str]) -> None:
    """Other bytes are judged as they were signed."""
    other = sized_2b(quote_bytes(replace(FIELDS, magic=0x12345678), PCRS))
    case.write("attest", other)
    case.write("signature", AK.sign(other))
    assert case.run() == 10
    assert "NOT_TPM_GENERATED" in capsys.readouterr().err
