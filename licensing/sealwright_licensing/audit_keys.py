"""The keys that an audit believes: those of the licence-service files, which are public."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sealwright_licensing.config import SERVICE_FILE
from sealwright_licensing.keyring import LIMIT, SERVICE_FILES
from sealwright_policies.errors import OperationError
from sealwright_policies.transparency.checkpoint import log_origin
from sealwright_policies.wire.encoding import parse_json
from sealwright_policies.wire.envelope import load_ed25519_public_key
from sealwright_policies.wire.service import LicenseService


@dataclass(frozen=True, slots=True)
class AuditKeys:
    """By what checkpoints of a log are verified."""

    keys: tuple[Ed25519PublicKey, ...]
    """Earlier ones too; the current one last."""
    origin: str


def service_files(directory: Path) -> list[Path]:
    """The licence-service files of a service or an export, earlier ones too: each may name a log key of its own."""
    folders = (directory / "keys" / SERVICE_FILES, directory / SERVICE_FILES)
    earlier = [path for folder in folders for path in sorted(folder.glob("*.json"))]
    return [*earlier, directory / SERVICE_FILE]


def load_audit_keys(paths: Sequence[Path]) -> AuditKeys:
    """The keys of licence-service files, of which the last one is the current.

    Raises:
        OperationError: one cannot be read.
        FormatError: one is none.
    """
    services = [_load_service(path) for path in paths]
    keys = tuple(load_ed25519_public_key(one.log_key) for one in services)
    return AuditKeys(keys, log_origin(services[-1].service_id))


def _load_service(path: Path) -> LicenseService:
    try:
        return parse_json(LicenseService, path.read_bytes(), limit=LIMIT)
    except OSError as error:
        raise OperationError(
            f"{path} cannot be read: {error.strerror}.", cure="Give license-service.json with --service."
        ) from error
