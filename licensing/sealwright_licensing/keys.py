"""The keys that decisions are signed with, each wherever the keyring says; none for two purposes (docs/key-custody.md).

A release is served with the keys that stand in the licence-service file that its image carries, so that boxes on an
image from before a rotation go on. Custodian keys are held apart, behind a Custodian.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealwright_custody.keeper import Keeper, fingerprint
from sealwright_custody.kinds import KeyKind
from sealwright_custody.locator import FileLocator, KeyLocator
from sealwright_custody.secret_file import read_secret
from sealwright_licensing.keyring import Keyring, KeyRole, load_keyring, load_service_files
from sealwright_policies.appraisal.reference_values import Manifest
from sealwright_policies.errors import OperationError, RejectionCode, VerificationError
from sealwright_policies.wire.envelope import load_ed25519_public_key, load_p256_public_key
from sealwright_policies.wire.service import LicenseService

LEASE_POLICY_KEY = "lease-policy.pem"
DEVICE_CA_CERTIFICATE = "device-ca.crt"
TLS_CA_CERTIFICATE = "tls-ca.crt"
TLS_SERVER_CERTIFICATE = "tls-server.crt"
NONCE_KEY_SIZE = 32


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """The keys of one licence-service file, and those of all files that images in the field carry."""

    lease_document: Ed25519PrivateKey = field(repr=False)
    lease_policy: ec.EllipticCurvePrivateKey = field(repr=False)
    device_ca: ec.EllipticCurvePrivateKey = field(repr=False)
    device_ca_certificate: x509.Certificate
    nonce: bytes = field(repr=False)
    by_service_file: Mapping[str, SigningKeys] = field(default_factory=dict, repr=False)
    """By the file's hash, oldest first."""
    log: tuple[Ed25519PrivateKey, ...] = field(default=(), repr=False)
    """Every log key that an image in the field knows."""

    def of(self, manifest: Manifest) -> SigningKeys:
        """The keys that boxes on an image know.

        Raises:
            VerificationError: RELEASE_NOT_ALLOWED: the image knows keys that the service no longer has.
        """
        if not self.by_service_file:
            return self
        # An image that does not say which file it carries is older than the first rotation.
        name = manifest.service_file or next(iter(self.by_service_file))
        found = self.by_service_file.get(name)
        if found is None:
            raise VerificationError(
                RejectionCode.RELEASE_NOT_ALLOWED,
                f"release {manifest.product_version} knows this service by keys that it has no longer; update the box",
            )
        return found

    def serves(self, manifest: Manifest, keys: SigningKeys) -> bool:
        """Whether boxes on an image know these keys."""
        try:
            return self.of(manifest) is keys
        except VerificationError:
            return False


def load_signing_keys(folder: Path, keeper: Keeper | None = None) -> SigningKeys:
    """Open the signing keys of a service.

    Args:
        folder: ``keys/``.
        keeper: what opens them.

    Raises:
        OperationError: a key is missing, readable by others, or not the key it should be.
    """
    keyring, keeper = load_keyring(folder), keeper or Keeper(folder)
    nonce = keeper.read_secret(keyring.current(KeyRole.NONCE).locator)
    if len(nonce) != NONCE_KEY_SIZE:
        raise OperationError(f"The nonce key is not {NONCE_KEY_SIZE} bytes.", cure="Restore it from the backup.")
    opened = _Opened(keyring, keeper)
    sets = {name: opened.keys_of(file, nonce) for name, file in load_service_files(folder, keyring).items()}
    if not sets:
        raise OperationError("The keyring names no licence-service file.", cure="Restore keys/ from the backup.")
    return replace(sets[keyring.service_files[-1]], by_service_file=sets, log=load_log_keys(folder, keeper))


def load_log_keys(folder: Path, keeper: Keeper | None = None) -> tuple[Ed25519PrivateKey, ...]:
    """Open every key that checkpoints are signed with: one for each that a licence-service file names.

    Raises:
        OperationError: a key is missing, readable by others, or not the key it should be.
    """
    keyring, keeper = load_keyring(folder), keeper or Keeper(folder)
    files = load_service_files(folder, keyring).values()
    named = dict.fromkeys(fingerprint(load_ed25519_public_key(file.log_key)) for file in files)
    opened = [open_entry(keyring, keeper, KeyRole.LOG, one) for one in named]
    return tuple(one for one in opened if isinstance(one, Ed25519PrivateKey))


@dataclass
class _Opened:
    """Opens each key once."""

    keyring: Keyring
    keeper: Keeper
    keys: dict[str, object] = field(default_factory=dict)
    sets: dict[tuple[str, ...], SigningKeys] = field(default_factory=dict)
    """Two files that differ in other keys only have the same set."""

    def keys_of(self, file: LicenseService, nonce: bytes) -> SigningKeys:
        named = (file.lease_document_key, file.lease_policy_key, file.device_ca)
        if named not in self.sets:
            self.sets[named] = self._keys_of(file, nonce)
        return self.sets[named]

    def _keys_of(self, file: LicenseService, nonce: bytes) -> SigningKeys:
        document = self._open(KeyRole.LEASE_DOCUMENT, fingerprint(load_ed25519_public_key(file.lease_document_key)))
        policy = self._open(KeyRole.LEASE_POLICY, fingerprint(load_p256_public_key(file.lease_policy_key)))
        certificate = x509.load_pem_x509_certificate(file.device_ca.encode("ascii"))
        certified = certificate.public_key()
        assert isinstance(certified, ec.EllipticCurvePublicKey)  # noqa: S101 - we made it
        authority = self._open(KeyRole.DEVICE_CA, fingerprint(certified))
        assert isinstance(document, Ed25519PrivateKey)  # noqa: S101 - by its role
        assert isinstance(policy, ec.EllipticCurvePrivateKey)  # noqa: S101
        assert isinstance(authority, ec.EllipticCurvePrivateKey)  # noqa: S101
        return SigningKeys(document, policy, authority, certificate, nonce)

    def _open(self, role: KeyRole, named: str) -> object:
        if named not in self.keys:
            self.keys[named] = open_entry(self.keyring, self.keeper, role, named)
        return self.keys[named]


def open_entry(keyring: Keyring, keeper: Keeper, role: KeyRole, named: str) -> object:
    """Open a key of the keyring and demand that it is the one of this fingerprint.

    Raises:
        OperationError: it is another.
    """
    entry = keyring.find(role, named)
    key = keeper.open(entry.locator, role.kind)
    if fingerprint(key.public_key()) != named:
        raise OperationError(
            f"{entry.keeper} is another key than the {role} key {named[:16]} of the keyring.",
            cure="Restore it from the backup.",
        )
    return key


def tls_server_files(folder: Path) -> tuple[Path, Path]:
    """Paths of the TLS server's certificate chain and key, for a library that wants files.

    Raises:
        OperationError: one is missing, or the key can be read by others.
    """
    locator = load_keyring(folder).current(KeyRole.TLS_SERVER).locator
    path = secret_path(folder, locator)
    read_secret(path)
    certificate = path.with_suffix(".crt")
    if not certificate.exists():
        raise OperationError(f"{certificate} is missing.", cure="Restore it from the backup.")
    return certificate, path


def certificates_in_use(folder: Path) -> list[tuple[KeyRole, x509.Certificate]]:
    """The service's own certificates by which boxes are served, and what each is of.

    That is the TLS server's chain, and the authorities that images know. Several may be of one role, and of one key.

    Args:
        folder: ``keys/``, of which no private key is needed.

    Raises:
        OperationError: one is missing.
    """
    keyring = load_keyring(folder)
    path = secret_path(folder, keyring.current(KeyRole.TLS_SERVER).locator).with_suffix(".crt")
    try:
        server, *successors = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise OperationError(f"{path} cannot be read.", cure="Restore it from the backup.") from error
    found = [(KeyRole.TLS_SERVER, server), *((KeyRole.TLS_CA, one) for one in successors)]
    for file in load_service_files(folder, keyring).values():
        found += [
            (role, x509.load_pem_x509_certificate(pem.encode("ascii")))
            for role, pem in ((KeyRole.TLS_CA, file.ca), (KeyRole.DEVICE_CA, file.device_ca))
        ]
    return found


def secret_path(folder: Path, locator: KeyLocator) -> Path:
    """Where a key that is a file lies."""
    if not isinstance(locator, FileLocator):
        raise OperationError(f"{locator}: the TLS server's key must be a file.", cure="Keep it in keys/.")
    return folder / locator.path


def load_p256_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """A P-256 private key from a PEM file that nobody else can read."""
    return Keeper(path.parent).open_p256(FileLocator(path), KeyKind.P256)


def new_p256_key() -> ec.EllipticCurvePrivateKey:
    """Draw a P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def new_nonce_key() -> bytes:
    """Draw a key for stateless nonces."""
    return secrets.token_bytes(NONCE_KEY_SIZE)
