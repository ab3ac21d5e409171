"""Which paths code opens, lists and removes, as Python tells its audit hooks: they stay, so there is one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_INSTALLED: list[bool] = []
_SEEN: list[set[tuple[str, str]]] = []


@contextmanager
def path_accesses() -> Iterator[set[tuple[str, str]]]:
    """Paths that are used meanwhile, folders with a slash, and how: ``r`` or ``w``."""
    if not _INSTALLED:
        sys.addaudithook(_see)
        _INSTALLED.append(True)
    seen: set[tuple[str, str]] = set()
    _SEEN.append(seen)
    try:
        yield seen
    finally:
        _SEEN.remove(seen)


def _see(event: str, arguments: tuple[Any, ...]) -> None:
    if not _SEEN:
        return
    match event:
        case "open" if isinstance(arguments[0], str | os.PathLike):
            writes = arguments[2] & (os.O_WRONLY | os.O_RDWR)
            rights = "w" if writes & os.O_WRONLY else "rw" if writes else "r"
        case "os.listdir" | "os.scandir":
            rights = "r"
        case "os.remove" | "os.rename":
            rights = "w"
        case _:
            return
    path = Path(arguments[0])
    name = f"{path}/" if path.is_dir() else str(path)
    for seen in _SEEN:
        seen.update((name, right) for right in rights)
