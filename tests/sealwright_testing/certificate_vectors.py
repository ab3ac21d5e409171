"""Vectors of device certificates, for :mod:`sealwright_testing.document_vectors`."""

from __future__ import annotations

import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from sealwright_licensing.authorities import new_authority
from sealwright_policies.errors import RejectionCode as Code
from sealwright_testing.evidence_factory import NOW

DAY = datetime.timedelta(days=1)
USAGE = ObjectIdentifier("2.25.218378328680607497442991993260645114046")
NAMES = ("urn:sealwright:device:" + "a" * 52, "urn:sealwright:license:license-1", "urn:sealwright:tier:discrete")
FEATURES = ("urn:sealwright:feature:serving", "urn:sealwright:feature:training")
Vector = tuple[str, str, dict[str, Any], dict[str, Any]]


class Authority:
    """A device authority that certifies whatever it is asked to."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = new_authority(self.key, "Sealwright device authority service-1", now=NOW)
        self.pem = self.certificate.public_bytes(Encoding.PEM).decode()

    def certify(
        self,
        *,
        usages: tuple[ObjectIdentifier, ...] = (USAGE,),
        critical: bool = True,
        names: tuple[str, ...] = NAMES,
        is_ca: bool = False,
        extra: x509.ExtensionType | None = None,
        algorithm: SHA256 | SHA384 | None = None,
    ) -> str:
        """PEM of a certificate that is good but for what the arguments say."""
        ak = ec.generate_private_key(ec.SECP256R1()).public_key()
        start = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a" * 52)]))
            .issuer_name(self.certificate.subject)
            .public_key(ak)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start - DAY)
            .not_valid_after(start + 30 * DAY)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(True, False, False, False, False, False, False, False, False), critical=True)
            .add_extension(x509.SubjectAlternativeName(map(x509.UniformResourceIdentifier, names)), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(ak), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=critical)
        if extra is not None:
            builder = builder.add_extension(extra, critical=False)
        return builder.sign(self.key, algorithm or SHA256()).public_bytes(Encoding.PEM).decode()


def device_certificate_vectors() -> dict[str, Vector]:
    """Certificates against a device authority."""
    authority, other = Authority(), Authority()
    good = authority.certify()

    def vector(certificate: str, code: Code | None, *, now: int = NOW) -> Vector:
        outcome = {"outcome": "rejected", "code": code.value} if code else {"outcome": "accepted"}
        values = {"certificate": certificate, "device_ca": authority.pem, "now": now}
        return "enrollment.md 6", "verify_device_certificate", values, outcome

    def of_other_use(**changes: Any) -> Vector:
        return vector(authority.certify(**changes), Code.DOCUMENT_TYPE)

    malformed = {"outcome": "malformed"}
    return {
        "device-certificate-good": vector(good, None),
        "device-certificate-by-other-authority": vector(other.certify(), Code.DOCUMENT_SIGNATURE),
        "device-certificate-over-other-hash": vector(authority.certify(algorithm=SHA384()), Code.DOCUMENT_SIGNATURE),
        "device-certificate-without-usage": of_other_use(usages=()),
        "device-certificate-of-tls-client": of_other_use(usages=(ExtendedKeyUsageOID.CLIENT_AUTH,)),
        "device-certificate-of-two-usages": of_other_use(usages=(USAGE, ExtendedKeyUsageOID.CLIENT_AUTH)),
        "device-certificate-usage-not-critical": of_other_use(critical=False),
        "device-certificate-is-ca": of_other_use(is_ca=True),
        "device-certificate-further-extension": of_other_use(extra=x509.OCSPNoCheck()),
        "device-certificate-without-tier": of_other_use(names=NAMES[:2]),
        "device-certificate-names-in-other-order": of_other_use(names=(NAMES[1], NAMES[0], NAMES[2])),
        "device-certificate-with-features": vector(authority.certify(names=(*NAMES, *FEATURES)), None),
        "device-certificate-features-in-other-order": of_other_use(names=(*NAMES, *reversed(FEATURES))),
        "device-certificate-feature-twice": of_other_use(names=(*NAMES, FEATURES[0], FEATURES[0])),
        "device-certificate-feature-of-no-name": of_other_use(names=(*NAMES, "urn:sealwright:feature:Training")),
        "device-certificate-too-many-features": of_other_use(
            names=(*NAMES, *(f"urn:sealwright:feature:f{number:02}" for number in range(33)))
        ),
        "device-certificate-ended": vector(good, Code.LEASE_EXPIRED, now=NOW + 31 * 86_400),
        "device-certificate-not-begun": vector(good, Code.LEASE_EXPIRED, now=NOW - 2 * 86_400),
        "device-certificate-twice": (*vector(good + good, None)[:3], malformed),
        "device-certificate-none": (*vector("-----BEGIN CERTIFICATE-----\n", None)[:3], malformed),
    }
