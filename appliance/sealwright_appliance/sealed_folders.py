"""Folders of the state volume that are domains', each encrypted under a key of its own (policies/spec/domain-key.md).

The volume around them is the customer's, who may open it with the recovery key on another machine, and change it. What
lies in such a place and is not under the folder's key was not put there by this box: it is put aside and never used.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sealwright_appliance import file_encryption
from sealwright_appliance.files import sync_directory
from sealwright_appliance.paths import Paths
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.framing import DOMAIN_FOLDER_LABEL, framed


def open_sealed_folders(paths: Paths, domain_key: bytes, say: Callable[[str], None]) -> None:
    """Make the files of domains, results and adapters readable; make what is not there.

    Raises:
        OperationError: the disk or the kernel refuses.
    """
    for folder in (paths.domain_files, paths.results, paths.adapters):
        identifier = file_encryption.add_key(paths.state, folder_key(domain_key, folder.name))
        try:
            _settle(folder, identifier, say)
        except OSError as error:
            raise OperationError(f"{error.filename or folder} cannot be used: {error.strerror}.") from None


def folder_key(domain_key: bytes, name: str) -> bytes:
    """Key of one folder: contents of one cannot be shown in the place of another's."""
    info = framed(DOMAIN_FOLDER_LABEL, name.encode("ascii"))
    return HKDF(algorithm=SHA512(), length=file_encryption.KEY_SIZE, salt=None, info=info).derive(domain_key)


def _settle(folder: Path, identifier: bytes, say: Callable[[str], None]) -> None:
    if folder.is_symlink() or (folder.exists() and not _is_usable(folder, identifier)):
        aside = folder.with_name(f"{folder.name}.aside-{os.urandom(4).hex()}")
        folder.rename(aside)
        say(f"domains: {folder.name} is not under this box's key: it is {aside.name} now, and nothing of it is used.")
    if not folder.exists():
        folder.mkdir(mode=0o700)
    if file_encryption.encrypted_under(folder) is None:
        file_encryption.encrypt(folder, identifier)
        sync_directory(folder)
        sync_directory(folder.parent)
    any(folder.iterdir())  # the kernel gets its cipher for names while modules can still be loaded


def _is_usable(folder: Path, identifier: bytes) -> bool:
    """Under its key already, or empty, as a power cut leaves one that was just made."""
    if not folder.is_dir():
        return False
    under = file_encryption.encrypted_under(folder)
    return under == identifier or (under is None and not any(folder.iterdir()))
