"""The kernel's page cache holds plaintext of whatever was read from an open payload; what need not stay is dropped.

An engine reads weights by direct I/O, past the cache. The head of a model file it reads like any file, though, and the
kernel reads ahead of it, into the weights.
"""

from __future__ import annotations

import os
from pathlib import Path


def drop_cached_pages(directory: Path) -> None:
    """Drop the pages of all files in a directory that nobody has mapped. Nothing is read."""
    for path in directory.iterdir():
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
