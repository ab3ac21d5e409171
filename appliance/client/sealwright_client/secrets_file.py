"""Where the command keeps a box's secrets: whole and on the disk before the box may erase its own copy."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sealwright_policies.errors import OperationError, UsageError

SECRETS_LIMIT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SecretsFile:
    """A JSON file for its owner alone. What is in it already is never overwritten."""

    path: Path

    def try_folder(self) -> None:
        """Find out that nothing can be saved here before a box is asked for anything.

        Raises:
            UsageError: the folder takes no file.
        """
        try:
            self._write(b"")
            self._temporary.unlink()
        except OSError as error:
            raise UsageError(f"{self.path} cannot be written: {error.strerror}.") from None

    def keep(self, secrets: Mapping[str, Any]) -> None:
        """Save the secrets; when this returns, they survive a power cut.

        Raises:
            OperationError: the file holds something else, or the disk refuses. The box still has the secrets.
        """
        content = json.dumps(secrets, indent=2).encode("utf-8") + b"\n"
        try:
            if self._held() not in (b"", content):
                raise OperationError(
                    f"{self.path} holds something else. The box still has its secrets.",
                    cure="Give the same command another file.",
                )
            self._write(content)
            self._temporary.replace(self.path)
            self._sync_folder()
        except OSError as error:
            raise OperationError(
                f"{self.path} cannot be written: {error.strerror}. The box still has its secrets.",
                cure="Give the same command another file.",
            ) from None

    @property
    def _temporary(self) -> Path:
        return self.path.with_name(f".{self.path.name}.new")

    def _held(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                return file.read(SECRETS_LIMIT + 1)
        except FileNotFoundError:
            return b""

    def _write(self, content: bytes) -> None:
        self._temporary.unlink(missing_ok=True)
        descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def _sync_folder(self) -> None:
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
