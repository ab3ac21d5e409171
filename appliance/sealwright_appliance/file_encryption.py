"""Folders of an ext4 that the kernel encrypts, each under a key of its own (fscrypt, policies of version 2).

Contents are AES-256-XTS, names AES-256-CBC-CTS. Without the key a folder shows names that nobody can read, and takes
nothing. The kernel forgets a key when the file system is unmounted. Numbers and structures: linux/fscrypt.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sealwright_policies.errors import OperationError

KEY_SIZE = 64
"""Bytes (FSCRYPT_MAX_KEY_SIZE)."""
SET_POLICY, ADD_KEY, GET_POLICY, GET_NONCE = 0x800C6613, 0xC0506617, 0xC0096616, 0x8010661B
"""FS_IOC_SET_ENCRYPTION_POLICY, FS_IOC_ADD_ENCRYPTION_KEY, FS_IOC_GET_ENCRYPTION_POLICY_EX,
FS_IOC_GET_ENCRYPTION_NONCE."""
NONCE_SIZE = 16
_KEY = struct.Struct("=II32sII32s")
"""fscrypt_add_key_arg: type, reserved, identifier, size, key id, reserved; the key follows."""
_POLICY = struct.Struct("=BBBB4s16s")
"""fscrypt_policy_v2: version, contents, names, flags, reserved, identifier of the key."""
_BY_IDENTIFIER = 2
_AES_256_XTS, _AES_256_CTS, _PAD_32 = 1, 4, 3


def add_key(mount_point: Path, key: bytes) -> bytes:
    """Give the kernel a key for the folders of a file system; the identifier that it has of it, 16 bytes.

    Raises:
        OperationError: the file system cannot encrypt folders, or the kernel refuses.
    """
    argument = bytearray(_KEY.pack(_BY_IDENTIFIER, 0, b"", len(key), 0, b"") + key)
    _ask(mount_point, ADD_KEY, argument)
    return bytes(argument[8:24])


def identifier_of(key: bytes) -> bytes:
    """What the kernel will call a key, 16 bytes (fscrypt_init_hkdf and HKDF_CONTEXT_KEY_IDENTIFIER in fs/crypto)."""
    return HKDF(algorithm=SHA512(), length=16, salt=None, info=b"fscrypt\0\x01").derive(key)


def encrypt(folder: Path, identifier: bytes) -> None:
    """Have an empty folder, and all that will be in it, encrypted under a key.

    Raises:
        OperationError: it is not empty, is encrypted under another key, or the kernel refuses.
    """
    policy = _POLICY.pack(2, _AES_256_XTS, _AES_256_CTS, _PAD_32, b"", identifier)
    _ask(folder, SET_POLICY, bytearray(policy))


def encrypted_under(folder: Path) -> bytes | None:
    """Identifier of the key of a folder; None if it is not encrypted, or not in this way.

    Raises:
        OperationError: the disk refuses.
    """
    policy = _policy_of(folder)
    if policy is None:
        return None
    version, contents, names, flags, _, identifier = _POLICY.unpack(policy)
    expected = (2, _AES_256_XTS, _AES_256_CTS, _PAD_32)
    return identifier if (version, contents, names, flags) == expected else None


def is_plain(folder: Path) -> bool:
    """Whether a folder is not encrypted, in no way. Raises as :func:`encrypted_under`."""
    return _policy_of(folder) is None


def nonce_of(file: Path) -> bytes:
    """What the kernel derives a file's own key from, 16 bytes: no other content decrypts under it. Empty if the file
    is not encrypted.

    Raises:
        OperationError: there is no such file, or the disk refuses.
    """
    argument = bytearray(NONCE_SIZE)
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OperationError(f"{file} is not a file.")
            fcntl.ioctl(descriptor, GET_NONCE, argument)
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP, errno.ENOTTY):
                raise
            return b""
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OperationError(f"{file} cannot be read: {error.strerror}.") from error
    return bytes(argument)


def is_encrypted(file: Path) -> bool:
    """Whether a file is encrypted, in whatever way and under whatever key. Raises as :func:`nonce_of`."""
    try:
        return nonce_of(file) != b""
    except OperationError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOKEY, errno.ENOPKG):
            return True
        raise


def _policy_of(folder: Path) -> bytes | None:
    argument = bytearray(struct.pack("=Q", _POLICY.size) + bytes(_POLICY.size))
    try:
        _ask(folder, GET_POLICY, argument)
    except OperationError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return None
        raise
    return bytes(argument[8:])


def _ask(folder: Path, request: int, argument: bytearray) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, request, argument)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OperationError(f"{folder} cannot be encrypted by itself: {error.strerror}.") from error
