"""Folders of the state volume that are domains', each encrypted under a key of its own (policies/spec/domain-key.md).

The volume around them is the customer's, who may open it with the recovery key on another machine, and change it. What
lies in such a place and is not under the folder's key was not put there by this box: it is put aside, never used, and
removed at the next start. So is whatever is encrypted and lies elsewhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sealwright_appliance import file_encryption
from sealwright_appliance.files import sync_directory
from sealwright_appliance.flows.folders import entries
from sealwright_appliance.misplaced import remove, remove_misplaced
from sealwright_appliance.paths import Paths
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.framing import DOMAIN_FOLDER_LABEL, framed

_DOMAIN = re.compile(r"[a-z0-9][a-z0-9-]*")
_ASIDE = re.compile(r"[a-z0-9-]+\.aside-[0-9a-f]{8}")


def open_sealed_folders(paths: Paths, domain_key: bytes, domains: Collection[str], say: Callable[[str], None]) -> None:
    """Make readable what domains have on the state volume; make what is not there.

    Args:
        paths: of the box.
        domain_key: of the box.
        domains: of the running release. What others have stays closed: the kernel gets no key for it.
        say: takes what the customer has to know.

    Raises:
        OperationError: the disk or the kernel refuses.
    """
    whole = (paths.results, paths.adapters, paths.flows, paths.retention)
    names: list[tuple[str, ...]] = [(folder.name,) for folder in whole]
    names += [(paths.domain_files.name, domain) for domain in sorted(domains)]
    keys: dict[bytes, Path] = {}
    try:
        for path in (*paths.state.iterdir(), *entries(paths.domain_files)):
            if _ASIDE.fullmatch(path.name):
                remove(path)
        aside = [_settle_plain(paths.domain_files, say)]
        for name in names:
            folder = paths.state.joinpath(*name)
            identifier = file_encryption.add_key(paths.state, folder_key(domain_key, *name))
            keys[identifier] = folder
            aside.append(_settle(folder, identifier, say))

        def is_sealed(folder: Path) -> bool:
            if folder in keys.values() or folder in aside:
                return True
            is_others = folder.parent == paths.domain_files and _DOMAIN.fullmatch(folder.name) is not None
            return is_others and file_encryption.encrypted_under(folder) not in {None, *keys}

        if removed := remove_misplaced(paths.state, is_sealed):
            say(f"domains: what was put there past the box is removed: encrypted files or folders, {removed}.")
    except OSError as error:
        raise OperationError(f"{error.filename or paths.state} cannot be used: {error.strerror}.") from None


def folder_key(domain_key: bytes, *names: str) -> bytes:
    """Key of one folder: contents of one cannot be shown in the place of another's.

    Args:
        domain_key: of the box.
        names: its path on the state volume.
    """
    info = framed(DOMAIN_FOLDER_LABEL, *(name.encode("ascii") for name in names))
    return HKDF(algorithm=SHA512(), length=file_encryption.KEY_SIZE, salt=None, info=info).derive(domain_key)


def _settle_plain(folder: Path, say: Callable[[str], None]) -> Path | None:
    """In one that is encrypted itself none could lie under a key of its own; what was put aside."""
    is_folder = folder.is_dir() and not folder.is_symlink()
    is_usable = is_folder and file_encryption.is_plain(folder)
    aside = _put_aside(folder, say) if os.path.lexists(folder) and not is_usable else None
    if not folder.exists():
        folder.mkdir(mode=0o700)
        sync_directory(folder.parent)
    return aside


def _settle(folder: Path, identifier: bytes, say: Callable[[str], None]) -> Path | None:
    """Make it usable; what was put aside."""
    is_strange = folder.is_symlink() or (folder.exists() and not _is_usable(folder, identifier))
    aside = _put_aside(folder, say) if is_strange else None
    if not folder.exists():
        folder.mkdir(mode=0o700)
    if file_encryption.encrypted_under(folder) is None:
        file_encryption.encrypt(folder, identifier)
        sync_directory(folder)
        sync_directory(folder.parent)
    any(folder.iterdir())  # the kernel gets its cipher for names while modules can still be loaded
    return aside


def _put_aside(folder: Path, say: Callable[[str], None]) -> Path:
    aside = folder.with_name(f"{folder.name}.aside-{os.urandom(4).hex()}")
    folder.rename(aside)
    said = f"domains: {folder.name} is not under this box's key: it is {aside.name} now"
    say(f"{said}, nothing of it is used, and the next start removes it.")
    return aside


def _is_usable(folder: Path, identifier: bytes) -> bool:
    """Under its key already, or empty, as a power cut leaves one that was just made."""
    if not folder.is_dir():
        return False
    under = file_encryption.encrypted_under(folder)
    return under == identifier or (under is None and not any(folder.iterdir()))
