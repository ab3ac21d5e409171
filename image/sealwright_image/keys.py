"""The vendor's signing keys of a product: made by ``keygen``, loaded and checked before every build.

A folder with PK, KEK and db (RSA-2048, what UEFI firmware takes everywhere), the owner GUID of the signature lists, and
the manifest and release keys (P-256). None serves two purposes. The release key may be elsewhere, offline or in a
token; then only its public half is here, and approvals come by file (approval_files.py).
"""

from __future__ import annotations

import datetime
import os
import stat
import uuid
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from cryptography.x509.oid import NameOID

from sealwright_policies.errors import OperationError, UsageError

SECURE_BOOT_NAMES = ("PK", "KEK", "db")
CERTIFICATE_YEARS = 10
RSA_BITS = 2048
PEM_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True)
class SecureBootKey:
    """One of PK, KEK and db: where it lies, and its certificate."""

    key: Path
    certificate_file: Path
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


@dataclass(frozen=True, slots=True)
class BuildKeys:
    """A checked set. Private keys do not show in its repr."""

    pk: SecureBootKey
    kek: SecureBootKey
    db: SecureBootKey
    owner: uuid.UUID
    """SignatureOwner of every signature list entry."""
    manifest: ec.EllipticCurvePrivateKey
    release: ec.EllipticCurvePrivateKey | None
    """None: it is elsewhere."""
    release_public: ec.EllipticCurvePublicKey

    @property
    def manifest_pem(self) -> str:
        return public_pem(self.manifest.public_key())

    @property
    def release_pem(self) -> str:
        return public_pem(self.release_public)


def public_pem(key: ec.EllipticCurvePublicKey) -> str:
    """SubjectPublicKeyInfo as PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def generate_keys(
    directory: Path, *, organisation: str, now: datetime.datetime, release_public: Path | None = None
) -> None:
    """Make a new key folder.

    Args:
        directory: Must not exist, or be empty.
        organisation: Stands in the certificates' names.
        now: Start of the certificates' validity, less a day for clocks that are behind.
        release_public: public half of a release key that is elsewhere; None: make one here.

    Raises:
        UsageError: the folder holds something; keys are never overwritten.
        OperationError: it cannot be written.
    """
    elsewhere = None if release_public is None else _load_p256_public(release_public)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise UsageError(f"{directory} is not empty; keys are never overwritten. Choose another folder.")
        for name in SECURE_BOOT_NAMES:
            key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
            _write(directory / f"{name}.key", _private_pem(key))
            certificate = _self_signed(key, f"{organisation} Secure Boot {name}", now)
            _write(directory / f"{name}.pem", certificate.public_bytes(Encoding.PEM))
        _write(directory / "owner.guid", f"{uuid.uuid4()}\n".encode("ascii"))
        if elsewhere is not None:
            _write(directory / "release.pem", public_pem(elsewhere).encode("ascii"))
        for name in ("manifest",) if elsewhere is not None else ("manifest", "release"):
            signer = ec.generate_private_key(ec.SECP256R1())
            _write(directory / f"{name}.key", _private_pem(signer))
            _write(directory / f"{name}.pem", public_pem(signer.public_key()).encode("ascii"))
    except OSError as error:
        raise OperationError(f"{error.filename or directory}: {error.strerror}.") from error


def load_keys(directory: Path) -> BuildKeys:
    """Load a key folder and check that what is in it belongs together.

    Raises:
        UsageError: a file is missing, open to others, of the wrong kind, or does not match its partner.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory}: no such key folder. Make one with `sealwright-image keygen {directory}`.")
    pk, kek, db = (_load_secure_boot_key(directory, name) for name in SECURE_BOOT_NAMES)
    if len({key.der for key in (pk, kek, db)}) != len(SECURE_BOOT_NAMES):
        raise UsageError(f"{directory}: PK, KEK and db must be three keys; two of them are the same.")
    manifest = _load_signer(directory, "manifest")
    release = _load_signer(directory, "release") if _has_release_key(directory) else None
    release_public = _load_p256_public(directory / "release.pem") if release is None else release.public_key()
    if public_pem(manifest.public_key()) == public_pem(release_public):
        raise UsageError(f"{directory}: manifest.key and release.key are the same key; none may serve two purposes.")
    return BuildKeys(pk, kek, db, _load_owner(directory / "owner.guid"), manifest, release, release_public)


def _has_release_key(directory: Path) -> bool:
    """Whether it is here. With neither half here the folder is not whole, which its loading then says."""
    return (directory / "release.key").exists() or not (directory / "release.pem").exists()


def _load_secure_boot_key(directory: Path, name: str) -> SecureBootKey:
    key_file, certificate_file = directory / f"{name}.key", directory / f"{name}.pem"
    key = _load_private(key_file)
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size != RSA_BITS:
        raise UsageError(f"{key_file}: expected an RSA key of {RSA_BITS} bits.")
    try:
        certificate = x509.load_pem_x509_certificate(_read(certificate_file))
        certified = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{certificate_file}: not a PEM certificate.") from error
    if not isinstance(certified, rsa.RSAPublicKey) or certified.public_numbers() != key.public_key().public_numbers():
        raise UsageError(f"{certificate_file} is not the certificate of {key_file}; the keys do not belong together.")
    return SecureBootKey(key_file, certificate_file, certificate)


def _load_signer(directory: Path, name: str) -> ec.EllipticCurvePrivateKey:
    key_file, public_file = directory / f"{name}.key", directory / f"{name}.pem"
    key = _load_private(key_file)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError(f"{key_file}: expected a key on P-256.")
    if public_pem(_load_p256_public(public_file)) != public_pem(key.public_key()):
        raise UsageError(f"{public_file} is not the public key of {key_file}; the keys do not belong together.")
    return key


def _load_p256_public(path: Path) -> ec.EllipticCurvePublicKey:
    try:
        public = load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{path}: not a PEM public key.") from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise UsageError(f"{path}: expected a key on P-256.")
    return public


def _load_owner(path: Path) -> uuid.UUID:
    try:
        return uuid.UUID(_read(path).decode("ascii").strip())
    except ValueError as error:
        raise UsageError(f"{path}: not a GUID.") from error


def _load_private(path: Path) -> object:
    data = _read(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise UsageError(f"{path}: others may read this private key. Close it with `chmod 600 {path}`.")
    try:
        return load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{path}: not an unencrypted PEM private key.") from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(PEM_LIMIT)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}.") from error


def _private_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _self_signed(key: rsa.RSAPrivateKey, common_name: str, now: datetime.datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * CERTIFICATE_YEARS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, SHA256())
    )


def _write(path: Path, data: bytes) -> None:
    path.touch(mode=0o600, exist_ok=False)
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
