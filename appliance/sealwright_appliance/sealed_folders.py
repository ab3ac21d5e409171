"""Folders of the state volume that are domains', each encrypted under a key of its own (policies/spec/domain-key.md).

The volume around them is the customer's, who may open it with the recovery key on another machine, and change it. What
lies in such a place and is not under the folder's key was not put there by this box: it is put aside, never used, and
removed at the next start. So is whatever is encrypted and lies elsewhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sealwright_appliance import file_encryption
from sealwright_appliance.files import sync_directory
from sealwright_appliance.flows.folders import DOMAIN_NAME, entries
from sealwright_appliance.misplaced import remove, remove_misplaced
from sealwright_appliance.paths import Paths
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.framing import DOMAIN_FOLDER_LABEL, framed

_ASIDE = re.compile(r"[a-z0-9-]+\.aside-[0-9a-f]{8}")


def open_sealed_folders(
    paths: Paths, domain_key: bytes, domains: Collection[str], say: Callable[[str], None]
) -> dict[str, str]:
    """Make readable what domains have on the state volume; make what is not there.

    Args:
        paths: of the box.
        domain_key: of the box.
        domains: of the running release. What others have stays closed: the kernel gets no key for it.
        say: takes what the customer has to know.

    Returns:
        Domains whose folder cannot be used, and why.

    Raises:
        OperationError: the disk or the kernel refuses something that is not one domain's alone.
    """
    whole = (paths.results, paths.adapters, paths.flows, paths.retention)
    names: list[tuple[str, ...]] = [(folder.name,) for folder in whole]
    names += [(paths.domain_files.name, domain) for domain in sorted(domains)]
    keys = {paths.state.joinpath(*name): folder_key(domain_key, *name) for name in names}
    damaged: dict[str, str] = {}
    try:
        _clear(paths, {folder: file_encryption.identifier_of(key) for folder, key in keys.items()}, say)
        for folder, key in keys.items():
            identifier = file_encryption.add_key(paths.state, key)
            try:
                _make(folder, identifier)
            except (OSError, OperationError) as error:
                if folder in whole:
                    raise
                damaged[folder.name] = f"Its folder cannot be used: {_words(error)}"
    except OSError as error:
        raise OperationError(f"{error.filename or paths.state} cannot be used: {error.strerror}.") from None
    return damaged


def folder_key(domain_key: bytes, *names: str) -> bytes:
    """Key of one folder: contents of one cannot be shown in the place of another's.

    Args:
        domain_key: of the box.
        names: its path on the state volume.
    """
    info = framed(DOMAIN_FOLDER_LABEL, *(name.encode("ascii") for name in names))
    return HKDF(algorithm=SHA512(), length=file_encryption.KEY_SIZE, salt=None, info=info).derive(domain_key)


def _clear(paths: Paths, places: Mapping[Path, bytes], say: Callable[[str], None]) -> None:
    """Leave nothing that is in the place of a folder or could be read elsewhere; while the kernel has no key yet.

    Raises:
        OSError, OperationError: not all of it went, or nobody can tell: then the kernel gets no key.
    """
    for path in (*paths.state.iterdir(), *entries(paths.domain_files)):
        if _ASIDE.fullmatch(path.name):
            remove(path)
    if os.path.lexists(paths.domain_files) and not _is_plain_folder(paths.domain_files):
        _put_aside(paths.domain_files, say)
    for folder, identifier in places.items():
        with suppress(OSError, OperationError):  # nobody can look into it: whoever makes it is told
            if folder.is_symlink() or (folder.exists() and not _is_usable(folder, identifier)):
                _put_aside(folder, say)

    def is_sealed(folder: Path) -> bool:
        is_domains = folder.parent == paths.domain_files and DOMAIN_NAME.fullmatch(folder.name)
        is_aside = folder.parent in (paths.state, paths.domain_files) and _ASIDE.fullmatch(folder.name)
        if not (folder in places or is_domains or is_aside):
            return False
        try:
            under = file_encryption.encrypted_under(folder)
        except OperationError:
            return True
        return under == places[folder] if folder in places else under not in {None, *places.values()}

    if removed := remove_misplaced(paths.state, is_sealed):
        say(f"domains: what was put there past the box is removed: encrypted files or folders, {removed}.")


def _make(folder: Path, identifier: bytes) -> None:
    """Have a folder encrypted, if it is not.

    Raises:
        OSError, OperationError: it is another's, or cannot be used.
    """
    for made in (folder.parent, folder):
        if not made.exists():
            made.mkdir(mode=0o700)
            sync_directory(made.parent)
    if file_encryption.encrypted_under(folder) != identifier:
        file_encryption.encrypt(folder, identifier)
        sync_directory(folder)
    any(folder.iterdir())  # the kernel gets its cipher for names while modules can still be loaded


def _put_aside(folder: Path, say: Callable[[str], None]) -> None:
    aside = folder.with_name(f"{folder.name}.aside-{os.urandom(4).hex()}")
    folder.rename(aside)
    said = f"domains: {folder.name} is not under this box's key: it is {aside.name} now"
    say(f"{said}, nothing of it is used, and the next start removes it.")


def _is_plain_folder(folder: Path) -> bool:
    """In one that is encrypted itself none could lie under a key of its own."""
    return folder.is_dir() and not folder.is_symlink() and file_encryption.is_plain(folder)


def _is_usable(folder: Path, identifier: bytes) -> bool:
    """Under its key already, or empty, as a power cut leaves one that was just made."""
    if not folder.is_dir():
        return False
    under = file_encryption.encrypted_under(folder)
    return under == identifier or (under is None and not any(folder.iterdir()))


def _words(error: OSError | OperationError) -> str:
    return f"{error.strerror}." if isinstance(error, OSError) else str(error)
