"""How attempts are made: small operations that raise OSError where somebody refuses them."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from pathlib import Path

RUN = Path("/run/sealwright")
STATE = Path("/var/lib/sealwright")
HOST = "10.0.2.2"
"""Behind QEMU's user network."""
NAME_SERVER = "10.0.2.3"
"""QEMU's own."""
HOST_V6, NAME_SERVER_V6 = "fec0::2", "fec0::3"
"""The same two by IPv6."""


def refused(sentence: str) -> PermissionError:
    """What was found is no success; it counts as refused."""
    return PermissionError(errno.EACCES, sentence)


def nothing(found: list[str]) -> str:
    """What was found; that there is nothing is an error like any other."""
    if not found:
        raise FileNotFoundError(errno.ENOENT, "nothing there")
    return " ".join(found[:5])


def listing(folder: Path) -> str:
    return nothing([path.name for path in folder.iterdir()])


def content(path: Path, flags: int = os.O_RDONLY) -> str:
    """Open a file or device; not all can be read at once."""
    os.close(os.open(path, flags))
    return str(path)


def connection(path: Path) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(path))
    return str(path)


def opened(family: int, kind: int, protocol: int = 0) -> str:
    socket.socket(family, kind, protocol).close()
    return "a socket"


def system_call(number: int, *arguments: object) -> str:
    return f"returned {called(number, *arguments)}"


def called(number: int, *arguments: object) -> int:
    """A system call of x86-64 (Linux, arch/x86/entry/syscalls/syscall_64.tbl); pointers and ctypes.c_long."""
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "system call refused")
    return result


def switched_off(path: Path) -> str:
    """What PATH says already, written anew: whoever may do that may write anything."""
    path.write_text(path.read_text())
    return str(path)


def places(own: str) -> tuple[Path, ...]:
    """Where an engine may write: what goes with it."""
    return tuple(path for path in (Path("/tmp"), Path("/var/tmp"), RUN / "engine" / own) if path.is_dir())
