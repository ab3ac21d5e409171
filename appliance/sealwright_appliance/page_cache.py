"""The kernel's page cache holds plaintext of whatever was read from an open payload; what need not stay is dropped.

An engine reads weights by direct I/O, past the cache. The head of a model file it reads like any file, though, and the
kernel would read ahead of it, into the weights; so it must not, and what was read is dropped from time to time. udev
reads the beginning of every new device to see what is in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

SYSFS = Path("/sys/dev/block")
"""Links to every block device by its number."""


def stop_read_ahead(device: Path, sysfs: Path = SYSFS) -> None:
    """Have the kernel read from a block device the pages that are asked for and none behind them."""
    number = device.stat().st_rdev
    (sysfs / f"{os.major(number)}:{os.minor(number)}/queue/read_ahead_kb").write_text("0")


def drop_cached_pages(paths: Iterable[Path]) -> None:
    """Drop the pages of files and block devices that nobody has mapped. Nothing is read."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
