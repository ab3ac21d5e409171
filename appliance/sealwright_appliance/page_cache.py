"""The kernel's page cache holds plaintext of whatever was read from an open payload; what need not stay is dropped.

An engine asks for direct I/O, past the cache. The head of a model file it reads like any file, though, and so llama.cpp
goes on with all that is left once a direct read has come to the end of the file, which erofs answers with EINVAL. And
udev reads the beginning of every new device to see what is in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def drop_cached_pages(paths: Iterable[Path]) -> None:
    """Drop the pages of files and block devices that nobody has mapped. Nothing is read."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
