"""Secrets in files: read only where their owner alone can, written once, synced."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sealwright_custody.locator import CredentialLocator, SecretLocator
from sealwright_policies.errors import OperationError

CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
"""Set by systemd for a unit that has credentials (systemd.exec(5)); it names a folder and holds no secret."""
LONGEST = 64 * 1024
"""Bytes of the longest secret that is read."""
_OTHERS_MAY = 0o077
_CREDENTIAL_OTHERS_MAY = 0o037
"""systemd may give its unit's user access by an ACL, whose mask shows as the right of the group to read."""


def read_secret(path: Path) -> bytes:
    """Read a file after making sure that only its owner can.

    Raises:
        OperationError: it cannot be read, or others can read it too.
    """
    return _read(path, _OTHERS_MAY, "Restore it from the backup, or run as its owner.")


def read_secret_at(locator: SecretLocator, base: Path) -> bytes:
    """Read a secret from a file, relative to ``base``, or from a systemd credential.

    Raises:
        OperationError: it is not there, or others can read it too.
    """
    if not isinstance(locator, CredentialLocator):
        return read_secret(base / locator.path)
    directory = os.environ.get(CREDENTIALS_VARIABLE)
    if not directory:
        raise OperationError(
            f"The credential {locator.name} was not handed over.",
            cure=f"Run under the unit that has LoadCredentialEncrypted={locator.name}:…; see docs/key-custody.md.",
        )
    cure = f"Check LoadCredentialEncrypted={locator.name}:… of the unit."
    return _read(Path(directory) / locator.name, _CREDENTIAL_OTHERS_MAY, cure)


def _read(path: Path, refused: int, cure: str) -> bytes:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OperationError(f"{path} is not a file.", cure=cure)
            if status.st_mode & refused:
                raise OperationError(f"{path} can be read by others.", cure=f"Run `chmod 600 {path}`.")
            if status.st_uid not in (os.geteuid(), 0):
                raise OperationError(
                    f"{path} belongs to another user, who can read it.", cure=f"Run `chown {os.geteuid()} {path}`."
                )
            data = file.read(LONGEST + 1)
    except OSError as error:
        raise OperationError(f"{path} cannot be read: {error.strerror}.", cure=cure) from error
    if len(data) > LONGEST:
        raise OperationError(f"{path} is no secret: it is longer than {LONGEST} bytes.", cure=cure)
    return data


def write_secret(path: Path, data: bytes) -> None:
    """Write a new file with mode 0600 and sync it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
