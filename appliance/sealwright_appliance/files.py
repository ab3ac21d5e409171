"""Files that must be whole after a power cut: written beside, flushed, renamed. And bytes of block devices."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from sealwright_policies.errors import OperationError

KEPT_FREE = 64 * 1024 * 1024
"""Bytes of the state volume that no file of a domain or workload takes: leases have to be stored."""


def free_bytes(folder: Path) -> int:
    """Bytes that are free on the volume of a folder.

    Raises:
        OperationError: the disk refuses.
    """
    try:
        return shutil.disk_usage(folder).free
    except OSError as error:
        raise OperationError(f"{folder} cannot be used: {error.strerror}.") from None


def write_durably(path: Path, content: bytes, *, mode: int = 0o600, group: str | None = None) -> None:
    """Replace a file so that after a crash there is the old content or the new, never a mixture.

    Args:
        group: name of the group that gets the file.

    Raises:
        OperationError: the disk refuses.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            if group is not None:
                shutil.chown(temporary, group=group)
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except LookupError:
        raise OperationError(f"The group {group} does not exist.") from None
    except OSError as error:
        raise OperationError(f"{path} cannot be written: {error.strerror}.") from None


def remove_durably(path: Path) -> None:
    """Remove a file, if it is there, and flush its folder.

    Raises:
        OperationError: the disk refuses.
    """
    try:
        path.unlink(missing_ok=True)
        if path.parent.exists():
            sync_directory(path.parent)
    except OSError as error:
        raise OperationError(f"{path} cannot be removed: {error.strerror}.") from None


def sync_directory(directory: Path) -> None:
    """Flush a folder, so that a rename or removal in it survives a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _without_waiting(path: str, flags: int) -> int:
    """A FIFO has no end of its own; what is none is not read."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def read_file(path: Path, limit: int) -> bytes | None:
    """Content of a file, None if there is none.

    Raises:
        OperationError: longer than ``limit`` bytes, or the disk refuses.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            content = file.read(limit + 1) or b""
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OperationError(f"{path} cannot be read: {error.strerror}.") from None
    if len(content) > limit:
        raise OperationError(f"{path} is longer than {limit} bytes.")
    return content


def read_at(device: Path, offset: int, size: int) -> bytes:
    """Bytes of a block device; fewer than ``size`` where it ends.

    Raises:
        OperationError: the disk refuses.
    """
    try:
        with device.open("rb") as file:
            file.seek(offset)
            return file.read(size)
    except OSError as error:
        raise OperationError(f"{device} cannot be read: {error.strerror}.") from None


def overwrite(device: Path, offset: int, content: bytes) -> None:
    """Write bytes of a block device in place, flush them, and read them back from the disk.

    After a crash any part of them may be there: the caller's format has to bear that.

    Raises:
        OperationError: the disk refuses, or does not keep what is written to it.
    """
    try:
        descriptor = os.open(device, os.O_WRONLY | os.O_CLOEXEC)
        try:
            written = 0
            while written < len(content):
                written += os.pwrite(descriptor, content[written:], offset + written)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, offset, len(content), os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OperationError(f"{device} cannot be written: {error.strerror}.") from None
    if read_at(device, offset, len(content)) != content:
        raise OperationError(f"{device} does not keep what is written to it.", cure="Replace the disk.")
