"""Cache keys: a SHA-256 over everything that a cached product depends on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from sealwright_policies.wire.framing import framed

_LABEL = "sealwright/v1/build-inputs"
_IGNORED = {"__pycache__", ".mypy_cache", ".ruff_cache"}


def fingerprint(files: Iterable[Path], values: Mapping[str, str]) -> str:
    """Hex digest over the names, modes and contents of files (folders: all below) and over named values.

    The folder that holds an entry does not count, so that two checkouts share one cache.
    """
    digest = hashlib.sha256()
    for key, value in sorted(values.items()):
        digest.update(framed(_LABEL, b"value", key.encode(), value.encode()))
    for top in sorted(files):
        for path in [top, *sorted(top.rglob("*"))]:
            if _IGNORED.intersection(path.parts) or path.name.endswith(".egg-info") or path.is_dir():
                continue
            name = str(path.relative_to(top.parent)).encode()
            if path.is_symlink():
                digest.update(framed(_LABEL, b"link", name, str(path.readlink()).encode()))
            else:
                mode = b"x" if path.stat().st_mode & 0o100 else b"-"
                digest.update(framed(_LABEL, b"file", name, mode, hashlib.sha256(path.read_bytes()).digest()))
    return digest.hexdigest()
