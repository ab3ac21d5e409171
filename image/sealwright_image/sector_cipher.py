"""AES-256-XTS over sectors as dm-crypt does it, at the speed of libcrypto.

dm-crypt's ``aes-xts-plain64`` with 4096-byte sectors and without ``iv_large_sectors``: each 4096-byte sector is one
data unit, and its tweak is the number of its first 512-byte sector, 128-bit little-endian.

The cryptography package sets up a new context for every sector, which costs ten times the encryption itself. Here
Python's own libcrypto is called through ctypes: one context, and per sector a new tweak and one update.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import mmap

from sealwright_image.shares import VolumeKey
from sealwright_policies.errors import OperationError

SECTOR = 4096
"""Bytes of an encryption sector."""
IV_UNIT = 512
"""Bytes that one step of the plain64 counter stands for."""

_POINTER, _INT = ctypes.c_void_p, ctypes.c_int


def _load_libcrypto() -> ctypes.PyDLL:
    """libcrypto 3, which Python's hashlib is linked to."""
    name = ctypes.util.find_library("crypto") or "libcrypto.so.3"
    try:
        # PyDLL: the calls are too short to be worth giving up the interpreter lock; workers are processes.
        library = ctypes.PyDLL(name)
    except OSError as error:
        raise OperationError("libcrypto is not installed.", cure="Install libssl3.") from error
    library.EVP_CIPHER_CTX_new.restype = _POINTER
    library.EVP_CIPHER_CTX_free.argtypes = [_POINTER]
    library.EVP_aes_256_xts.restype = _POINTER
    library.EVP_EncryptInit_ex.argtypes = [_POINTER, _POINTER, _POINTER, ctypes.c_char_p, ctypes.c_char_p]
    library.EVP_EncryptUpdate.argtypes = [_POINTER, _POINTER, _POINTER, _POINTER, _INT]
    return library


class SectorCipher:
    """Encrypts runs of whole sectors with one volume key."""

    def __init__(self, key: VolumeKey) -> None:
        self._library = _load_libcrypto()
        self._context = _POINTER(self._library.EVP_CIPHER_CTX_new())
        cipher = _POINTER(self._library.EVP_aes_256_xts())
        if self._library.EVP_EncryptInit_ex(self._context, cipher, None, key.value, bytes(16)) != 1:
            raise OperationError("libcrypto refused the volume key.", cure="Build again: keys are drawn anew.")

    def __del__(self) -> None:
        if hasattr(self, "_context"):
            self._library.EVP_CIPHER_CTX_free(self._context)

    def encrypt(self, source: mmap.mmap, target: mmap.mmap, size: int, offset: int) -> None:
        """Encrypt ``size`` bytes of ``source`` into ``target``.

        Args:
            source, target: anonymous maps of at least ``size`` bytes.
            size: a multiple of the sector.
            offset: bytes from the start of the partition to the first one here; a multiple of the sector.
        """
        init, update, context = self._library.EVP_EncryptInit_ex, self._library.EVP_EncryptUpdate, self._context
        reading = ctypes.addressof(ctypes.c_char.from_buffer(source))
        writing = ctypes.addressof(ctypes.c_char.from_buffer(target))
        length = ctypes.byref(_INT())
        step, number = SECTOR // IV_UNIT, offset // IV_UNIT
        good = 0
        for position in range(0, size, SECTOR):
            good += init(context, None, None, None, number.to_bytes(16, "little"))
            good += update(context, writing + position, length, reading + position, SECTOR)
            number += step
        if good != 2 * (size // SECTOR):
            raise OperationError("libcrypto failed to encrypt.", cure="Check the build host's memory and libcrypto.")
