"""Lays on the state volume what a customer brings to a box, one file of each kind: this one has been brought none.

As the box's services leave them: by the same users, with the same modes, in folders that unlocking has made or that
they make. Root does it, in a test image; for each file it prints ``laid PATH``, or ``not laid PATH REASON``.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

STATE = Path("/var/lib/sealwright")


@dataclass(frozen=True, slots=True)
class Brought:
    """A file.

    Attributes:
        path: below the state volume.
        user: whose it is, and the folders above that are not there yet.
        content: sought on the disk afterwards.
        mode: of the file.
        shown: mode of the folder that has it; those above are their user's alone.
    """

    path: str
    user: str
    content: bytes
    mode: int = 0o600
    shown: int = 0o700


BROUGHT = (
    Brought(
        "domains/counting-job/data-set/planted/content",
        "sealwright-agent",
        b"a data set planted here",
        mode=0o444,
        shown=0o755,
    ),
    Brought("documents/documents.sqlite", "sealwright-documents", b"a document planted here"),
    Brought("adapters/kept/planted.examples", "sealwright-adapters", b"examples planted here"),
)


def lay(brought: Brought) -> None:
    path = STATE / brought.path
    for folder in reversed([one for one in path.parents if not one.exists()]):
        folder.mkdir()
        shutil.chown(folder, brought.user, brought.user)
        folder.chmod(brought.shown if folder == path.parent else 0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, brought.content.ljust(64, b"."))
        os.fchmod(descriptor, brought.mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    shutil.chown(path, brought.user, brought.user)


def main() -> None:
    for brought in BROUGHT:
        try:
            lay(brought)
        except (OSError, LookupError) as error:
            print("not laid", brought.path, error, flush=True)
        else:
            print("laid", brought.path, flush=True)


if __name__ == "__main__":
    main()
