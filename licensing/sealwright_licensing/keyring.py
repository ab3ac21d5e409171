"""The keyring of a service (policies/spec/custody.md, 2): ``keys/keyring.json``, which key is where and since when.

Written by `sealwright-license init` and `keys`, as a whole; holds no secret. Beside it lie the licence-service files
that were ever given to builds: an image carries one of them, and is served with the keys that stand in it.
"""

from __future__ import annotations

import hashlib
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from sealwright_custody.kinds import KeyKind
from sealwright_custody.locator import KeyLocator, parse_locator
from sealwright_policies.errors import FormatError, OperationError
from sealwright_policies.wire.encoding import Document, Sha256Hex, document_bytes, parse_json
from sealwright_policies.wire.service import LicenseService

KEYRING_FILE = "keyring.json"
SERVICE_FILES = "service-files"
LIMIT = 256 * 1024


class KeyRole(StrEnum):
    """What a key of the service is for; none serves two purposes."""

    LEASE_DOCUMENT = "lease-document"
    LEASE_POLICY = "lease-policy"
    DEVICE_CA = "device-ca"
    LOG = "log"
    CUSTODIAN_LEASE_SHARE = "custodian-lease-share"
    CUSTODIAN_RELEASE_SHARE = "custodian-release-share"
    TLS_CA = "tls-ca"
    TLS_SERVER = "tls-server"
    NONCE = "nonce"

    @property
    def kind(self) -> KeyKind:
        """The kind of key pair; the nonce key is none."""
        match self:
            case KeyRole.LEASE_DOCUMENT | KeyRole.LOG:
                return KeyKind.ED25519
            case KeyRole.CUSTODIAN_LEASE_SHARE | KeyRole.CUSTODIAN_RELEASE_SHARE:
                return KeyKind.P256_ECDH
            case _:
                return KeyKind.P256

    @property
    def file_name(self) -> str:
        """Of a first key that is kept in a file."""
        return "nonce.key" if self is KeyRole.NONCE else f"{self}.pem"


IN_SERVICE_FILE = (
    KeyRole.LEASE_DOCUMENT,
    KeyRole.LEASE_POLICY,
    KeyRole.DEVICE_CA,
    KeyRole.LOG,
    KeyRole.CUSTODIAN_LEASE_SHARE,
    KeyRole.CUSTODIAN_RELEASE_SHARE,
    KeyRole.TLS_CA,
)
"""Builds and boxes know these."""
IN_TOKEN = IN_SERVICE_FILE[:6]
"""May be kept in a PKCS#11 token: the TLS keys are the TLS library's, the nonce key is no key pair."""
CUSTODIANS = (KeyRole.CUSTODIAN_LEASE_SHARE, KeyRole.CUSTODIAN_RELEASE_SHARE)


class KeyEntry(Document):
    """One key."""

    role: KeyRole
    keeper: Annotated[str, StringConstraints(max_length=1024)]
    """Its locator; files are relative to the folder."""
    fingerprint: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]
    """SHA-256 of its SubjectPublicKeyInfo; empty for the nonce key."""
    created_at: int
    """Seconds since the epoch."""
    current: bool
    """Whether new images and shares are made for it; earlier ones serve what is out already."""

    @property
    def locator(self) -> KeyLocator:
        """Parsed."""
        return parse_locator(self.keeper)


class Keyring(Document):
    """All keys of a service."""

    version: Annotated[int, Field(ge=1, le=1)]
    keys: Annotated[list[KeyEntry], Field(max_length=1000)]
    service_files: Annotated[list[Sha256Hex], Field(max_length=1000)]
    """SHA-256 of each licence-service file, oldest first; the last one is the current."""
    records_signed: bool = False
    """Whether the records in the database are signed (decisions.md, 4): then no upgrade signs what stands there."""

    def all_of(self, role: KeyRole) -> list[KeyEntry]:
        """Keys of a role, the current one first, then the newest."""
        found = [one for one in self.keys if one.role is role]
        return sorted(found, key=lambda one: (not one.current, -one.created_at))

    def current(self, role: KeyRole) -> KeyEntry:
        """The key of a role that new things are made with."""
        found = self.all_of(role)
        if not found or not found[0].current:
            raise OperationError(f"The keyring names no {role} key.", cure=f"Restore {KEYRING_FILE} from the backup.")
        return found[0]

    def find(self, role: KeyRole, fingerprint: str) -> KeyEntry:
        """The key of a role with this fingerprint."""
        for one in self.all_of(role):
            if one.fingerprint == fingerprint:
                return one
        raise OperationError(
            f"The keyring has no {role} key {fingerprint[:16]}, which a licence-service file names.",
            cure="Restore keys/ from the backup.",
        )


def load_keyring(folder: Path) -> Keyring:
    """Read the keyring of a keys folder.

    Raises:
        OperationError: it is not there or damaged.
    """
    path = folder / KEYRING_FILE
    try:
        return parse_json(Keyring, path.read_bytes(), limit=LIMIT)
    except OSError as error:
        raise OperationError(
            f"{path} cannot be read: {error.strerror}.", cure="Restore keys/ from the backup, or run as its owner."
        ) from error
    except FormatError as error:
        raise OperationError(f"{path} is damaged: {error}", cure="Restore it from the backup.") from error


def save_keyring(folder: Path, keyring: Keyring) -> None:
    """Replace the keyring: the old or the new one is there, whole, whatever happens."""
    replace_file(folder / KEYRING_FILE, document_bytes(keyring) + b"\n")


def load_service_files(folder: Path, keyring: Keyring) -> dict[str, LicenseService]:
    """The licence-service files by their hash, oldest first.

    Raises:
        OperationError: one is not there or not what its name says.
    """
    found: dict[str, LicenseService] = {}
    for name in keyring.service_files:
        path = folder / SERVICE_FILES / f"{name}.json"
        try:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != name:
                raise FormatError("not the file of this name")
            found[name] = parse_json(LicenseService, data, limit=LIMIT)
        except (OSError, FormatError) as error:
            raise OperationError(f"{path} cannot be used: {error}.", cure="Restore keys/ from the backup.") from error
    return found


def add_service_file(folder: Path, service: LicenseService) -> str:
    """Keep a licence-service file and return its hash; the keyring is yet to name it."""
    data = document_bytes(service) + b"\n"
    name = hashlib.sha256(data).hexdigest()
    (folder / SERVICE_FILES).mkdir(mode=0o700, exist_ok=True)
    replace_file(folder / SERVICE_FILES / f"{name}.json", data)
    return name


def publish_service_file(folder: Path, public_copy: Path) -> None:
    """Write the current licence-service file where builds are given it."""
    name = load_keyring(folder).service_files[-1]
    replace_file(public_copy, (folder / SERVICE_FILES / f"{name}.json").read_bytes(), mode=0o644)


def replace_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write to a temporary name, sync, rename, sync the folder.

    Raises:
        OperationError: the disk refuses.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise OperationError(f"{path} cannot be written: {error.strerror}.", cure="Check the disk's space.") from error
