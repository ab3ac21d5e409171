"""Encrypted files and folders in places where this box makes none (policies/spec/domain-key.md, 3).

The kernel refuses an inode under one key in a folder under another, but not in a plain folder. So whoever has the
volume could link a file of a domain to where a service of the box looks for its own, and have it read or overwritten.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from sealwright_appliance import file_encryption
from sealwright_appliance.files import sync_directory


def remove_misplaced(top: Path, is_sealed: Callable[[Path], bool]) -> int:
    """Remove what is encrypted, under whatever key, and whatever lies in it; how many there were.

    Args:
        top: of the plain part. Nothing below it is in use.
        is_sealed: whether a folder is encrypted in its place; it is not looked into.

    Raises:
        OSError: the disk refuses.
        OperationError: nobody can tell.
    """
    found: list[Path] = []
    for folder, folders, names in os.walk(top, onerror=_refuse):
        here = Path(folder)
        plain = [name for name in folders if not (here / name).is_symlink() and not is_sealed(here / name)]
        encrypted = [name for name in plain if not file_encryption.is_plain(here / name)]
        folders[:] = [name for name in plain if name not in encrypted]
        found += [here / name for name in encrypted]
        files = [here / name for name in names if (here / name).is_file() and not (here / name).is_symlink()]
        found += [path for path in files if file_encryption.is_encrypted(path)]
    for path in found:
        remove(path)
    return len(found)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with what is in it; names need no key for that.

    Raises:
        OSError: the disk refuses.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    sync_directory(path.parent)


def _refuse(error: OSError) -> None:
    raise error
