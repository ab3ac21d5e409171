"""Certificates in a machine's Secure Boot databases are named in sentences, whatever their owner put there."""

from __future__ import annotations

import datetime
import random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from sealwright_policies.appraisal.signers import describe_certificate

KEY = ec.generate_private_key(ec.SECP256R1())
VERSION_3 = b"\xa0\x03\x02\x01\x02"
UTF8_STRING, BIT_STRING = b"\x0c", b"\x03"


def certificate(name: str) -> bytes:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(subject, subject, KEY.public_key(), 7, start, start + datetime.timedelta(days=1))
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def test_a_subject_is_named() -> None:
    assert describe_certificate(certificate("Maker")) == "CN=Maker"


@pytest.mark.parametrize(
    ("found", "hostile"),
    [
        (VERSION_3, VERSION_3[:-1] + b"\x4e"),
        (UTF8_STRING + b"\x05Maker", BIT_STRING + b"\x05\0aker"),
        (UTF8_STRING + b"\x05Maker", UTF8_STRING + b"\x05\xff\xff\xff\xff\xff"),
        (UTF8_STRING + b"\x05Maker", b"\x1e\x05Maker"),
    ],
    ids=["version 79", "a name of bits", "no UTF-8", "odd BMPString"],
)
def test_what_the_library_refuses_is_named_by_its_fingerprint(found: bytes, hostile: bytes) -> None:
    """A log is the attacker's: none of the library's own exceptions may leave the appraisal."""
    der = certificate("Maker")
    assert found in der
    assert describe_certificate(der.replace(found, hostile)).startswith("certificate sha256:")


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_any_bent_certificate_gets_a_name() -> None:
    """A bounded fuzz loop, always with the same seed; versions of the library differ in what they raise."""
    source = random.Random(20261125)
    der = certificate("Maker")
    for _ in range(5000):
        bent = bytearray(der)
        for _ in range(source.randrange(1, 4)):
            bent[source.randrange(4, 160)] = source.randrange(256)
        assert describe_certificate(bytes(bent)).isprintable()


def test_no_control_character_reaches_a_terminal() -> None:
    said = describe_certificate(certificate("A\x1b[31mB\nC\u202e"))
    assert said == "CN=A.[31mB.C."
