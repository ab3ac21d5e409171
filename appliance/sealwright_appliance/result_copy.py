"""Copies of what workloads have written, from one volume to another: holes as holes, hard links as links.

Owners, times and attributes are the same: the dates of :mod:`.result_retention` are among these. Nobody writes
meanwhile.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
from pathlib import Path

PIECE = 1 << 20
"""Bytes that are read at once."""


def copy_results(source: Path, target: Path) -> list[OSError]:
    """Copy a tree onto the disk; what was refused, one error for each name that the copy lacks.

    The first lack of room ends it: the copy is then of no use.

    Raises:
        OSError: what was copied is not on the disk.
    """
    refused: list[OSError] = []
    folders, waiting = [(source, target)], [(source, target)]
    linked: dict[int, Path] = {}
    while waiting and not lacks_room(refused):
        here, there = waiting.pop()
        for name in _names(here, refused):
            try:
                if _put(here / name, there / name, linked):
                    waiting.append((here / name, there / name))
                    folders.append((here / name, there / name))
            except OSError as error:
                refused.append(error)
                if lacks_room([error]):
                    break
    for here, there in reversed(folders):  # what is put into a folder makes it newer
        try:
            _liken(here, there)
        except OSError as error:
            refused.append(error)
    _flush(target)
    return refused


def lacks_room(refused: list[OSError]) -> bool:
    """Whether the copy has ended for want of room, of bytes or of files."""
    return any(error.errno == errno.ENOSPC for error in refused)


def _names(folder: Path, refused: list[OSError]) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError as error:
        refused.append(error)
        return []


def _put(source: Path, target: Path, linked: dict[int, Path]) -> bool:
    """Make one entry; whether it is a folder, which is still empty and of no owner."""
    status = source.lstat()
    if stat.S_ISDIR(status.st_mode):
        target.mkdir(exist_ok=True)  # each ext4 has its lost+found
        return True
    first = linked.get(status.st_ino)
    if first is not None:
        target.hardlink_to(first)
        return False
    try:
        if stat.S_ISREG(status.st_mode):
            _copy_content(source, target)
        elif stat.S_ISLNK(status.st_mode):
            target.symlink_to(source.readlink())
        else:
            os.mknod(target, status.st_mode, status.st_rdev)
        _liken(source, target)
    except OSError:
        target.unlink(missing_ok=True)
        raise
    if status.st_nlink > 1:
        linked[status.st_ino] = target
    return False


def _copy_content(source: Path, target: Path) -> None:
    reader = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            size, at = os.fstat(reader).st_size, 0
            while (start := _data_behind(reader, at)) is not None:
                end = os.lseek(reader, start, os.SEEK_HOLE)
                at = _copy_piece(reader, writer, start, min(end, start + PIECE))
            os.ftruncate(writer, size)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _data_behind(file: int, at: int) -> int | None:
    """Where the next bytes stand that are no hole."""
    try:
        return os.lseek(file, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise


def _copy_piece(reader: int, writer: int, start: int, end: int) -> int:
    """Copy up to so far at most; how far it came."""
    content = os.pread(reader, end - start, start)
    if not content:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return start + os.pwrite(writer, content, start)


def _liken(source: Path, target: Path) -> None:
    status = source.lstat()
    os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    shutil.copystat(source, target, follow_symlinks=False)


def _flush(place: Path) -> None:
    """Write all of a file system to the disk: what a full or damaged disk refuses is known here, and nowhere before."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)
