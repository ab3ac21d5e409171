"""A mount namespace of one's own.

A container, or a build, that starts meanwhile copies all mounts that it finds, and may keep them for minutes. What a
test unmounts then stays mounted there, and mounted again it is two file systems on one disk.
"""

from __future__ import annotations

import ctypes
import os
import subprocess

CLONE_NEWNS = 0x00020000
"""unshare(2)."""


def take_own_mounts() -> None:
    """Let nobody else have what this thread, and what it starts, mounts from now on. As root.

    Raises:
        OSError: the kernel refuses.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    subprocess.run(["mount", "--make-rslave", "/"], check=True)
