"""Folders that the agent may have changed, and the owner of the volume: no link in them is followed."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from sealwright_appliance.files import sync_directory
from sealwright_policies.errors import OperationError

OWN = 0o700
DOMAIN_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
"""Of the folder of a domain; other names there are of nothing that is in use."""
FOLDERS_ABOVE = 4
"""Those of a file of a domain, up to the one of all domains, at most."""


def entries(folder: Path) -> list[Path]:
    """What is in a folder; nothing if there is none, or a link.

    Raises:
        OSError: the disk refuses.
    """
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(folder.iterdir())


def folders_in(above: Path) -> list[Path]:
    """Folders in one; what the disk or the kernel does not tell of is passed over."""
    found = []
    with suppress(OSError):
        for path in entries(above):
            with suppress(OSError):
                if not path.is_symlink() and path.is_dir():
                    found.append(path)
    return found


def move(folder: Path, place: Path) -> None:
    """Move a folder, so that after a crash it is here or there.

    Raises:
        OperationError: the disk refuses, a link lies on the way, or something is there.
    """
    try:
        for one in (folder, place):
            if link := next((above for above in (one, *one.parents[:FOLDERS_ABOVE]) if above.is_symlink()), None):
                raise OperationError(f"{link} is a link: it is left alone.", cure="Install the box anew.")
        if place.exists():
            raise OperationError(f"{place} is there already.")
        for one in (place.parent.parent, place.parent):
            one.mkdir(mode=OWN, exist_ok=True)
        folder.rename(place)
        sync_directory(place.parent)
        sync_directory(folder.parent)
    except OSError as error:
        raise OperationError(f"{folder} cannot be moved: {error.strerror}.") from None
