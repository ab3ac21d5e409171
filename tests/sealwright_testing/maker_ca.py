"""A TPM maker for tests: root, intermediate and EK certificates, each part in reach of a test that forges it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, ObjectIdentifier

EK_USAGE = ObjectIdentifier("2.23.133.8.1")
TPM_NAMES = (("2.23.133.2.1", "id:53574C54"), ("2.23.133.2.2", "TestTPM"), ("2.23.133.2.3", "id:00010002"))
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


def name(text: str) -> x509.Name:
    """A subject of one common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def pem(*certificates: x509.Certificate) -> bytes:
    """A PEM bundle."""
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def der(certificate: x509.Certificate) -> bytes:
    """The certificate's bytes."""
    return certificate.public_bytes(Encoding.DER)


@dataclass(frozen=True)
class Validity:
    """Seconds since the epoch."""

    start: int = 1_600_000_000
    end: int = 2_500_000_000


@dataclass
class MakerCa:
    """A root that signs an intermediate that signs EK certificates."""

    label: str = "Test maker"
    root_validity: Validity = Validity()
    intermediate_validity: Validity = Validity()
    intermediate_is_ca: bool = True
    intermediate_signs: bool = True
    intermediate_usages: tuple[str, ...] = ("2.23.133.8.1",)
    root_path_length: int | None = 1
    root_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))
    intermediate_key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def __post_init__(self) -> None:
        """Sign both CA certificates."""
        subject = name(f"{self.label} root")
        self.root = (
            _begin(subject, subject, self.root_key.public_key(), self.root_validity)
            .add_extension(x509.BasicConstraints(True, self.root_path_length), True)
            .add_extension(_key_usage(True), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.root_key.public_key()), False)
            .sign(self.root_key, hashes.SHA384())
        )
        self.intermediate = self.issue_ca(f"{self.label} intermediate", self.intermediate_key.public_key())

    def issue_ca(self, label: str, key: PublicKey) -> x509.Certificate:
        """An intermediate under the root, with the flaws asked for."""
        builder = _begin(name(label), self.root.subject, key, self.intermediate_validity)
        builder = builder.add_extension(x509.BasicConstraints(self.intermediate_is_ca, None), True)
        builder = builder.add_extension(_key_usage(self.intermediate_signs), True)
        if self.intermediate_usages:
            usages = [ObjectIdentifier(one) for one in self.intermediate_usages]
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), False)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
        builder = builder.add_extension(_called(self.root_key.public_key()), False)
        return builder.sign(self.root_key, hashes.SHA384())

    def endorse(
        self,
        key: PublicKey,
        *,
        validity: Validity = Validity(),
        usage: ObjectIdentifier = EK_USAGE,
        is_ca: bool = False,
        critical_names: bool = True,
        unknown_critical: bool = False,
        issuer: x509.Certificate | None = None,
        signing_key: ec.EllipticCurvePrivateKey | None = None,
        called: ec.EllipticCurvePublicKey | None = None,
    ) -> x509.Certificate:
        """An EK certificate: empty subject, TPM names in a critical alternative name.

        Args:
            called: whom the certificate calls its issuer, if not who it is.
        """
        issuer_name = (issuer or self.intermediate).subject
        attributes = [x509.NameAttribute(ObjectIdentifier(oid), text) for oid, text in TPM_NAMES]
        names = x509.SubjectAlternativeName([x509.DirectoryName(x509.Name(attributes))])
        builder = _begin(x509.Name([]), issuer_name, key, validity)
        builder = builder.add_extension(x509.BasicConstraints(is_ca, None), True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), False)
        builder = builder.add_extension(names, critical_names)
        if unknown_critical:
            builder = builder.add_extension(x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
        issuer_key = signing_key or self.intermediate_key
        builder = builder.add_extension(_called(called or issuer_key.public_key()), False)
        return builder.sign(issuer_key, hashes.SHA256())


def _begin(subject: x509.Name, issuer: x509.Name, key: PublicKey, validity: Validity) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime.fromtimestamp(validity.start, datetime.UTC))
        .not_valid_after(datetime.datetime.fromtimestamp(validity.end, datetime.UTC))
    )


def _called(issuer: ec.EllipticCurvePublicKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer)


def _key_usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(not signs_certificates, False, False, False, False, signs_certificates, False, False, False)
