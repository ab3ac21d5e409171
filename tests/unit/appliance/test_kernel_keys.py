"""A key in the kernel's keyring: programs that are started meanwhile find it, nobody reads it, and it does not stay."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys

import pytest

from sealwright_appliance.kernel_keys import KEYCTL_UNLINK, LOGON, SESSION_KEYRING, SYS_KEYCTL, offered_key
from sealwright_policies.errors import OperationError

SYS_REQUEST_KEY = 249
KEYCTL_READ = 11
KEY = bytes(range(64))


def finds(kind: bytes, name: str) -> int:
    """The serial of a key that this process finds, as the kernel does for dm-crypt; minus errno if there is none."""
    libc = ctypes.CDLL(None, use_errno=True)
    serial = libc.syscall(SYS_REQUEST_KEY, kind, name.encode(), None, 0)
    return serial if serial > 0 else -ctypes.get_errno()


def a_program_finds(name: str) -> bool:
    """Whether a program that is started now does."""
    looked = (
        "import ctypes, sys; libc = ctypes.CDLL(None);"
        f"sys.exit(libc.syscall({SYS_REQUEST_KEY}, b'logon', sys.argv[1].encode(), None, 0) < 0)"
    )
    return subprocess.run([sys.executable, "-I", "-c", looked, name], check=False).returncode == 0


def test_a_program_finds_the_key_as_long_as_it_is_offered() -> None:
    name = f"sealwright:test-{os.getpid()}"
    with offered_key(name, KEY):
        assert a_program_finds(name)
    assert not a_program_finds(name)
    assert finds(LOGON, name) == -errno.ENOKEY


def test_a_failure_leaves_no_key_behind() -> None:
    name = f"sealwright:failing-{os.getpid()}"
    with pytest.raises(ZeroDivisionError), offered_key(name, KEY):
        raise ZeroDivisionError
    assert finds(LOGON, name) == -errno.ENOKEY


def test_nobody_reads_the_key_back() -> None:
    """By the system call itself: the kernel does not know how to read one of this type, root or not."""
    name = f"sealwright:read-{os.getpid()}"
    libc = ctypes.CDLL(None, use_errno=True)
    with offered_key(name, KEY):
        serial = finds(LOGON, name)
        assert serial > 0
        buffer = ctypes.create_string_buffer(len(KEY))
        assert libc.syscall(SYS_KEYCTL, KEYCTL_READ, serial, buffer, len(KEY)) == -1
        assert ctypes.get_errno() == errno.EOPNOTSUPP
        assert buffer.raw == bytes(len(KEY))


def test_a_key_that_the_kernel_does_not_take_is_an_error() -> None:
    """Type ``logon`` wants a prefix in the name."""
    with pytest.raises(OperationError, match="refuses add_key: Invalid argument"), offered_key("noprefix", KEY):
        pass


def test_a_key_that_somebody_else_has_taken_away_is_an_error() -> None:
    """Then nobody knows where it went."""
    name = f"sealwright:taken-{os.getpid()}"
    libc = ctypes.CDLL(None, use_errno=True)
    with pytest.raises(OperationError, match="refuses keyctl"), offered_key(name, KEY):
        libc.syscall(SYS_KEYCTL, KEYCTL_UNLINK, finds(LOGON, name), SESSION_KEYRING)
