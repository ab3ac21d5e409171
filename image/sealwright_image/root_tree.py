"""The finished root as the build exported it (tree.tar), read without unpacking it."""

from __future__ import annotations

import fnmatch
import posixpath
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sealwright_policies.errors import OperationError

MAX_LINKS = 16
"""Symbolic links followed in one path, as many as any real tree needs."""


@dataclass(slots=True)
class RootTree:
    """Paths are absolute, as on the running box."""

    archive: tarfile.TarFile
    members: dict[str, tarfile.TarInfo] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> RootTree:
        """Index an archive made by ``tar --create … .``."""
        archive = tarfile.open(path)  # noqa: SIM115 - stays open as long as the tree
        return cls(archive, {posixpath.normpath("/" + member.name): member for member in archive})

    def match(self, patterns: Iterable[str]) -> list[str]:
        """Files and links that match globs; each glob must match something.

        Raises:
            OperationError: a pattern matches nothing, so the list and the packages have drifted apart.
        """
        found: list[str] = []
        for pattern in patterns:
            matches = [
                path for path, member in self.members.items() if not member.isdir() and fnmatch.fnmatch(path, pattern)
            ]
            if not matches:
                raise OperationError(f"The root has no {pattern}, which the initrd's list names.")
            found += matches
        return found

    def resolve(self, path: str) -> str | None:
        """The path with every symbolic link followed; None if it leads nowhere."""
        for _ in range(MAX_LINKS):
            link = self._first_link(path)
            if link is None:
                return path if path in self.members else None
            rest = path[len(link) :]
            target = posixpath.join(posixpath.dirname(link), self.members[link].linkname)
            path = posixpath.normpath(target + rest)
        return None

    def _first_link(self, path: str) -> str | None:
        parts = path.strip("/").split("/")
        prefixes = ("/" + "/".join(parts[: i + 1]) for i in range(len(parts)))
        return next((p for p in prefixes if p in self.members and self.members[p].issym()), None)

    def read(self, path: str) -> bytes:
        """Content of a regular file (a hard link's is its original's)."""
        stream = self.archive.extractfile(self.members[path])
        if stream is None:
            raise OperationError(f"{path} of the root is not a regular file.")
        with stream:
            return stream.read()

    def executables(self) -> list[str]:
        """Regular files with an execute bit, sorted."""
        return sorted(
            path for path, member in self.members.items() if (member.isfile() or member.islnk()) and member.mode & 0o111
        )

    def privileged(self) -> list[str]:
        """Files that would change user or group when run (setuid, setgid), sorted."""
        return sorted(path for path, member in self.members.items() if member.isfile() and member.mode & 0o6000)
