"""A key in the kernel's keyring while a program hands a reference to it to the kernel (keyrings(7)).

Of type ``logon``: user space can lay it down and take it away, and nobody reads it back, root included. The kernel's
dm-crypt, given such a reference, keeps a copy of its own, and shows the reference instead of the key.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from sealwright_policies.errors import OperationError

SYS_ADD_KEY, SYS_KEYCTL = 248, 250
"""Of x86-64 (linux/arch/x86/entry/syscalls/syscall_64.tbl); the C library has no functions for them."""
SESSION_KEYRING = -3
"""KEY_SPEC_SESSION_KEYRING: programs that this process starts find what is in it. systemd gives each unit its own."""
KEYCTL_UNLINK = 9
LOGON = b"logon"


@contextmanager
def offered_key(name: str, key: bytes) -> Iterator[None]:
    """Have a key in the session keyring; behind it no keyring has it, whatever happened.

    Args:
        name: ``PREFIX:NAME``, which type ``logon`` demands.

    Raises:
        OperationError: the kernel does not take it, or not back.
    """
    serial = _call("add_key", SYS_ADD_KEY, LOGON, name.encode("ascii"), key, ctypes.c_size_t(len(key)), SESSION_KEYRING)
    try:
        yield
    finally:
        _call("keyctl", SYS_KEYCTL, KEYCTL_UNLINK, serial, SESSION_KEYRING)


def _call(title: str, number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise OperationError(f"The kernel's keyring refuses {title}: {os.strerror(ctypes.get_errno())}.")
    return result
