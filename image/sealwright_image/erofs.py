"""Read-only file systems of payload partitions: one erofs with the payload, uncompressed so that reads cost nothing."""

from __future__ import annotations

import errno
import hashlib
import shutil
import threading
import uuid
from pathlib import Path

from sealwright_image.run import Tools
from sealwright_policies.errors import OperationError

READABLE = 0o444


def stage_file(source: Path, target: Path, mode: int = READABLE) -> None:
    """Bring a file into a staging folder: as a hard link where that is possible, else as a copy.

    A link keeps the source's mode, and the box's engine must be able to read the file; so one that lacks ``mode`` is
    copied.
    """
    if source.stat().st_mode & mode == mode:
        try:
            target.hardlink_to(source.resolve())
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
                raise
        else:
            return
    shutil.copyfile(source, target)
    target.chmod(mode)


def make_erofs(tools: Tools, stage: Path, image: Path, identity: uuid.UUID, epoch: int) -> None:
    """Make a file system from a folder; the same files, UUID and time give the same bytes.

    The end of a file gets a block of its own: beside the inode it would stay in the page cache of whoever mounts it.
    """
    options = ["--quiet", "--all-root", "-b4096", "-x-1", "-Enoinline_data", f"-T{epoch}", f"-U{identity}"]
    tools.run(["mkfs.erofs", *options, image, stage], binds=[image.parent, stage])


class FileDigest:
    """SHA-256 of a file, computed in a thread while something else reads the same file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest: str | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._path.open("rb") as stream:
            self._digest = hashlib.file_digest(stream, "sha256").hexdigest()

    def result(self) -> str:
        self._thread.join()
        if self._digest is None:
            raise OperationError(f"{self._path}: cannot be read to its end.")
        return self._digest
