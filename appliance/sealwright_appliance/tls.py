"""The gateway's certificate: self-signed, known by its fingerprint on the console.

Kept on the state volume, so that it stays the same; of this boot only if that volume is closed.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sealwright_appliance.files import read_file, write_durably
from sealwright_policies.errors import FormatError, OperationError

CERTIFICATE_FILE, KEY_FILE = "cert.pem", "key.pem"
FILE_LIMIT = 64 * 1024
USAGES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
NOT_BEFORE = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
NOT_AFTER = datetime.datetime(2099, 12, 31, tzinfo=datetime.UTC)
"""Fixed: a box may not know the time at its first boot, and clients trust the fingerprint, not the dates."""


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """Certificate and key, PEM."""

    certificate: bytes
    key: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """``sha256:`` and the hex digest of the DER certificate."""
        der = x509.load_pem_x509_certificate(self.certificate).public_bytes(serialization.Encoding.DER)
        return f"sha256:{hashlib.sha256(der).hexdigest()}"


def kept_tls_identity(directory: Path, device_id: str) -> TlsIdentity:
    """The certificate on the state volume; made at the first boot.

    Raises:
        FormatError: what is there is damaged.
        OperationError: the disk refuses.
    """
    certificate = read_file(directory / CERTIFICATE_FILE, FILE_LIMIT)
    key = read_file(directory / KEY_FILE, FILE_LIMIT)
    if certificate is not None and key is not None:
        return _parse(certificate, key)
    made = make_tls_identity(device_id)
    write_durably(directory / KEY_FILE, made.key)
    write_durably(directory / CERTIFICATE_FILE, made.certificate)
    return made


def _parse(certificate: bytes, key: bytes) -> TlsIdentity:
    try:
        own = load_pem_private_key(key, None).public_key()
        fits = x509.load_pem_x509_certificate(certificate).public_key() == own
    except (ValueError, TypeError, UnsupportedAlgorithm):
        fits = False
    if not fits:
        raise FormatError("The TLS certificate on the state volume is damaged.")
    return TlsIdentity(certificate, key)


def make_tls_identity(device_id: str) -> TlsIdentity:
    """Draw a P-256 key and sign its certificate with it: a server's to everybody, a client's to other boxes."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"sealwright {device_id[:16]}")])
    hosts = [
        x509.DNSName(f"sealwright-{device_id[:16]}.local"),
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .add_extension(x509.ExtendedKeyUsage(USAGES), critical=False)
        .sign(key, hashes.SHA256())
    )
    return TlsIdentity(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def give_to_gateway(identity: TlsIdentity, directory: Path, group: str | None) -> None:
    """Put certificate and key where the gateway's group, and no other user, reads them.

    Raises:
        OperationError: there is no such group, or the disk refuses.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if group is not None:
        try:
            shutil.chown(directory, group=group)
        except LookupError:
            raise OperationError(f"The group {group} does not exist.") from None
    directory.chmod(0o750)
    write_durably(directory / KEY_FILE, identity.key, mode=0o640, group=group)
    write_durably(directory / CERTIFICATE_FILE, identity.certificate, mode=0o640, group=group)
