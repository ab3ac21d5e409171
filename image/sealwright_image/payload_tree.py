"""Payloads that are folders: data sets, and images of workloads. What may be in them, and how they are packed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sealwright_image.erofs import READABLE, stage_file
from sealwright_policies.appraisal.reference_values import PayloadKind
from sealwright_policies.errors import UsageError

PROGRAM = "program"
"""What the box runs of a workload's image."""
PER_ENTRY = 4096
"""Bytes that a name and the end of a file take at most, about."""
EXECUTABLE = 0o555
MOUNT_POINTS = ("dev", "proc", "run", "sys", "tmp", "var")
"""Folders of a workload's root in which the box mounts; what an image has there is not seen."""


def entries(folder: Path) -> Iterator[Path]:
    """Everything below a folder, parents first, in a fixed order; links are not followed.

    Raises:
        OSError: a folder cannot be read.
    """
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from entries(path)


def tree_bytes(folder: Path) -> int:
    """What a folder takes when it is packed, bytes, about."""
    return sum(PER_ENTRY + path.lstat().st_size for path in entries(folder))


def check_tree(kind: PayloadKind, folder: Path, name: str) -> None:
    """Refuse what a box would not take; ``name`` is how errors call the payload.

    Raises:
        UsageError: no folder, nothing in it, or something in it that has no place there.
    """
    where = f"{name}: {folder}"
    if not folder.is_dir():
        raise UsageError(f"{where} is missing or not a folder.")
    try:
        paths = list(entries(folder))
        for path in paths:
            _check_entry(kind, path, name)
            if path.is_file():
                path.open("rb").close()
    except OSError as error:
        raise UsageError(f"{where}: {error.filename} cannot be read: {error.strerror}.") from error
    if not paths:
        raise UsageError(f"{where} is empty.")
    program = folder / PROGRAM
    if kind is PayloadKind.WORKLOAD and (program.is_symlink() or not os.access(program, os.X_OK)):
        raise UsageError(f"{where}: there is no executable file {PROGRAM!r} in it, which a box would run.")


def _check_entry(kind: PayloadKind, path: Path, name: str) -> None:
    mode = path.lstat().st_mode
    where = f"{name}: {path}"
    if stat.S_ISLNK(mode) and kind is PayloadKind.DATA_SET:
        raise UsageError(f"{where} is a link; a box follows none in a data set.")
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
        raise UsageError(f"{where} is no file, folder or link.")
    if mode & (stat.S_ISUID | stat.S_ISGID) and not stat.S_ISLNK(mode):
        raise UsageError(f"{where} is setuid or setgid; boxes give no rights that way.")


def stage_root(source: Path, stage: Path) -> None:
    """Bring the image of a workload into an empty folder, with the places that the box mounts on."""
    stage_tree(source, stage)
    for name in MOUNT_POINTS:
        (stage / name).mkdir(mode=0o755, exist_ok=True)


def stage_tree(source: Path, stage: Path) -> None:
    """Bring a folder into an empty one: files as links or copies that everybody may read, executables executable."""
    for path in entries(source):
        target = stage / path.relative_to(source)
        if path.is_symlink():
            target.symlink_to(path.readlink())
        elif path.is_dir():
            target.mkdir(mode=0o755)
        else:
            stage_file(path, target, EXECUTABLE if path.stat().st_mode & stat.S_IXUSR else READABLE)
