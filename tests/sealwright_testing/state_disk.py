"""A state volume that is really mounted, without the encryption below: ext4 in a file, on a loop device. As root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sealwright_appliance import volumes
from sealwright_appliance.run import run

STRANGER = 65_534
"""User and group of somebody who is not root."""
AS_STRANGER = ("/usr/bin/python3", "-I", "-c")

FILL = """
import errno
block, written = bytes(65536), 0
try:
    with open("filling", "wb", buffering=0) as file:
        while True:
            written += file.write(block)
except OSError as error:
    print(errno.errorcode[error.errno], written)
"""
"""A workload that writes until it may not; which error it gets, and how many bytes it has written."""


@contextmanager
def mounted_state(folder: Path, place: Path, mib: int) -> Iterator[None]:
    """Mount one of some size; everything on it is unmounted again."""
    disk = folder / "state-disk"
    with disk.open("wb") as file:
        file.truncate(mib << 20)
    run(volumes.make_ext4(disk, "state"))
    place.mkdir(parents=True)
    run(volumes.mount(disk, place, "ext4", f"loop,{volumes.READ_WRITE}"))
    try:
        yield
    finally:
        run(
            ["umount", "--recursive", "--lazy", str(place)]
        )  # a container that starts meanwhile has copies of the mounts


def as_workload(place: Path, program: str) -> str:
    """Run Python as somebody who may write into a folder and comes to it by no path, as a workload does; what it says.

    Args:
        place: working directory of the program.
        program: its text.
    """
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        text = f"import os\nos.fchdir({descriptor})\n{program}"
        return subprocess.run(
            [*AS_STRANGER, text], user=STRANGER, group=STRANGER, extra_groups=[], pass_fds=[descriptor],
            capture_output=True, text=True, check=True, cwd="/",
        ).stdout  # fmt: skip
    finally:
        os.close(descriptor)
