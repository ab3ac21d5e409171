"""The output folder: it appears whole or not at all.

A build works in ``DIR.partial-<pid>`` beside it, locked while the build lives, and renames it when everything is on the
disk. What a killed build left behind is recognised by the missing lock and removed by the next one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sealwright_policies.errors import OperationError, UsageError

DISK = "disk.raw"
MANIFEST = "manifest.json"
MANIFEST_KEY = "manifest-key.pem"
SHARES = "shares.json"
APPROVALS = "approvals.json"
SBOM = "sbom.json"
UKI = "uki.efi"
SECURE_BOOT = "secure-boot"
BUILD = "build.json"
TRUSTED_BASE = "trusted-base.json"
VARIANTS = "variants.json"
"""Written by `approve-boot`, not by a build."""
APPROVAL_REQUEST = "approval-request.json"
"""Where the release key is elsewhere: what it is asked to sign."""
FILES = (
    DISK,
    MANIFEST,
    MANIFEST_KEY,
    SHARES,
    APPROVALS,
    SBOM,
    UKI,
    SECURE_BOOT,
    BUILD,
    TRUSTED_BASE,
    VARIANTS,
    APPROVAL_REQUEST,
)


def refuse_existing(output: Path, *, force: bool) -> None:
    """Refuse a folder that exists, unless ``force`` and it is an image of ours or empty.

    Raises:
        UsageError: it exists, or is no folder that ``--force`` may replace.
    """
    if not output.exists() and not output.is_symlink():
        return
    if not force:
        raise UsageError(f"{output} exists already. Choose another folder, or replace it with --force.")
    if not output.is_dir() or output.is_symlink():
        raise UsageError(f"{output} is not a folder; --force replaces only a folder made by an earlier build.")
    foreign = sorted(entry.name for entry in output.iterdir() if entry.name not in FILES)
    if foreign:
        raise UsageError(
            f"{output} holds {foreign[0]!r}, which no build writes; --force replaces only a folder made by an earlier"
            " build."
        )


@contextmanager
def partial_output(output: Path) -> Iterator[Path]:
    """A locked, empty folder beside ``output``; removed at the end unless it was renamed by :func:`publish`.

    Raises:
        OperationError: it cannot be made.
    """
    parent = output.absolute().parent
    partial = parent / f"{output.name}.partial-{os.getpid()}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        remove_stale(output)
        partial.mkdir(mode=0o700)
        descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise OperationError(f"{error.filename or partial}: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield partial
    finally:
        os.close(descriptor)
        shutil.rmtree(partial, ignore_errors=True)


def publish(partial: Path, output: Path) -> None:
    """Flush everything to the disk and give the folder its final name, replacing an older image."""
    for path in sorted(partial.rglob("*")):
        flush(path)
    flush(partial)
    partial.chmod(0o755)
    replaced = output.absolute().parent / f"{output.name}.replaced-{os.getpid()}"
    if output.exists():
        output.rename(replaced)
    partial.rename(output)
    flush(output.absolute().parent)
    shutil.rmtree(replaced, ignore_errors=True)


def remove_stale(output: Path) -> None:
    """Remove what killed builds of this output left; an image caught in the middle of its replacement comes back."""
    beside = sorted(output.absolute().parent.iterdir())
    for replaced in (path for path in beside if path.name.startswith(f"{output.name}.replaced-")):
        if output.exists():
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            replaced.rename(output)
    for partial in (path for path in beside if path.name.startswith(f"{output.name}.partial-")):
        if not _is_locked(partial):
            shutil.rmtree(partial, ignore_errors=True)


def _is_locked(folder: Path) -> bool:
    """Whether the build that made this folder still runs."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file of a finished output: the old or the new is there, whole, whatever happens.

    Raises:
        OperationError: it cannot be written.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_bytes(content)
        flush(new)
        new.rename(path)
        flush(path.absolute().parent)
    except OSError as error:
        raise OperationError(f"{error.filename or path}: {error.strerror}.") from error


def flush(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
