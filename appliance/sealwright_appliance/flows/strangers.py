"""What lies among the files of a domain and is none: it was put there past the box, or a power cut has left it.

Workloads see all that lies among the data sets. So :mod:`.closed_files` drops it before anything is shown or read.
"""

from __future__ import annotations

import os
from pathlib import Path

from sealwright_appliance.files import sync_directory
from sealwright_appliance.flows.domain_files import CLOSED, INCOMING, PARTS, REMOVED, SINCE, DomainFiles
from sealwright_appliance.flows.folders import entries, move
from sealwright_policies.errors import OperationError
from sealwright_policies.flows.documents import FileKind


def strangers(files: DomainFiles, domain: str) -> list[Path]:
    """What is no file of a domain, or no part of one.

    Raises:
        OperationError: nobody can tell.
    """
    found: list[Path] = []
    top = files.root / domain
    places = [above / kind.value for above in (top, top / CLOSED) for kind in FileKind]
    try:
        for path in (one for place in (*places, top / INCOMING) for one in entries(place)):
            held = None if path.is_symlink() or not path.is_dir() else files.held_in(path)
            if held is None:
                found.append(path)
                continue
            parts = PARTS if files.seen(held) is not None else PARTS - {SINCE}
            found += [one for one in entries(path) if one.name not in parts]
    except OSError as error:
        raise OperationError(f"{error.filename or top} cannot be read: {error.strerror}.") from None
    return found


def drop(files: DomainFiles, domain: str, stranger: Path) -> None:
    """Take one of :func:`strangers` to what is removed.

    Raises:
        OperationError: the disk refuses.
    """
    if stranger.is_symlink() or not stranger.is_dir():
        try:
            stranger.unlink()
            sync_directory(stranger.parent)
        except OSError as error:
            raise OperationError(f"{stranger} cannot be removed: {error.strerror}.") from None
        return
    move(stranger, files.root / domain / REMOVED / os.urandom(8).hex())
