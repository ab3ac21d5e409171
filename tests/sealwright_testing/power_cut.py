"""The power goes in the middle of something."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch


class PowerCutError(BaseException):
    """Not an Exception: nothing in the box catches it."""


@contextmanager
def power_cut_at(step: int) -> Iterator[None]:
    """End what is done here before the n-th flush or renaming of a file, counted from 0; never, if there are fewer."""
    left = [step]
    fsync, rename = os.fsync, Path.rename

    def counted() -> None:
        if left[0] == 0:
            raise PowerCutError
        left[0] -= 1

    def flush(descriptor: int) -> None:
        counted()
        fsync(descriptor)

    def renamed(source: Path, target: Path) -> Path:
        counted()
        return rename(source, target)

    with patch("os.fsync", flush), patch.object(Path, "rename", renamed), suppress(PowerCutError):
        yield
