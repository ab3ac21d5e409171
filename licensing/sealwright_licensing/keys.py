"""The service's private keys: one file each, mode 0600, none for two purposes (docs/licence-service.md)."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from sealwright_policies.errors import OperationError

LEASE_DOCUMENT_KEY = "lease-document.pem"
LEASE_POLICY_KEY = "lease-policy.pem"
LOG_KEY = "log.pem"
DEVICE_CA_KEY = "device-ca.pem"
DEVICE_CA_CERTIFICATE = "device-ca.crt"
TLS_CA_KEY = "tls-ca.pem"
TLS_CA_CERTIFICATE = "tls-ca.crt"
TLS_SERVER_KEY = "tls-server.pem"
TLS_SERVER_CERTIFICATE = "tls-server.crt"
CUSTODIAN_LEASE_KEY = "custodian-lease-share.pem"
CUSTODIAN_RELEASE_KEY = "custodian-release-share.pem"
NONCE_KEY = "nonce.key"
NONCE_KEY_SIZE = 32


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """The keys that decisions are signed with. Custodian keys are held apart, behind a Custodian."""

    lease_document: Ed25519PrivateKey = field(repr=False)
    lease_policy: ec.EllipticCurvePrivateKey = field(repr=False)
    device_ca: ec.EllipticCurvePrivateKey = field(repr=False)
    device_ca_certificate: x509.Certificate
    nonce: bytes = field(repr=False)


def load_signing_keys(folder: Path) -> SigningKeys:
    """Read the signing keys of a service.

    Raises:
        OperationError: a file is missing, readable by others, or not the key it should be.
    """
    document = load_private_key(folder / LEASE_DOCUMENT_KEY)
    if not isinstance(document, Ed25519PrivateKey):
        raise _wrong_kind(folder / LEASE_DOCUMENT_KEY, "an Ed25519 key")
    nonce = read_secret(folder / NONCE_KEY)
    if len(nonce) != NONCE_KEY_SIZE:
        raise _wrong_kind(folder / NONCE_KEY, f"{NONCE_KEY_SIZE} bytes")
    try:
        certificate = x509.load_pem_x509_certificate((folder / DEVICE_CA_CERTIFICATE).read_bytes())
    except (OSError, ValueError) as error:
        raise _wrong_kind(folder / DEVICE_CA_CERTIFICATE, "a certificate") from error
    return SigningKeys(
        lease_document=document,
        lease_policy=load_p256_private_key(folder / LEASE_POLICY_KEY),
        device_ca=load_p256_private_key(folder / DEVICE_CA_KEY),
        device_ca_certificate=certificate,
        nonce=nonce,
    )


def load_p256_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """A P-256 private key from a PEM file that nobody else can read."""
    key = load_private_key(path)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _wrong_kind(path, "a P-256 key")
    return key


def load_private_key(path: Path) -> object:
    """A private key from a PEM file that nobody else can read."""
    try:
        return load_pem_private_key(read_secret(path), None)
    except (ValueError, TypeError) as error:
        raise _wrong_kind(path, "a private key") from error


def read_secret(path: Path) -> bytes:
    """Read a file after making sure that only its owner can."""
    try:
        if path.stat().st_mode & 0o077:
            raise OperationError(f"{path} can be read by others.", cure=f"Run `chmod 600 {path}`.")
        return path.read_bytes()
    except OSError as error:
        raise OperationError(
            f"{path} cannot be read: {error.strerror}.", cure="Restore it from the backup, or run as its owner."
        ) from error


def write_secret(path: Path, data: bytes) -> None:
    """Write a new file with mode 0600 and sync it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def new_p256_key() -> ec.EllipticCurvePrivateKey:
    """Draw a P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def new_nonce_key() -> bytes:
    """Draw a key for stateless nonces."""
    return secrets.token_bytes(NONCE_KEY_SIZE)


def private_pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> bytes:
    """PKCS #8, not encrypted: the file's mode protects it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> str:
    """SubjectPublicKeyInfo of the public half."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def _wrong_kind(path: Path, wanted: str) -> OperationError:
    return OperationError(f"{path} is not {wanted}.", cure="Restore it from the backup.")
