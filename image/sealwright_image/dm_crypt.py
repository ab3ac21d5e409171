"""Writes a plain dm-crypt partition into a disk image without device-mapper, in constant memory.

One process per processor encrypts every n-th chunk straight to its place; the parent hashes the ciphertext behind them.
The key stays in memory: the workers are forked and inherit it.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sealwright_image.sector_cipher import SECTOR, SectorCipher
from sealwright_image.shares import VolumeKey
from sealwright_policies.appraisal.reference_values import DmCrypt
from sealwright_policies.errors import OperationError

DM_CRYPT = DmCrypt(cipher="aes-xts-plain64", key_bits=512, sector_size=4096)
CHUNK = 4 * 1024 * 1024
"""Bytes that a worker reads, encrypts and writes at a time."""
MAX_WORKERS = 8
"""More do not help: the parent's SHA-256 is the limit long before."""
_DONE = 0
"""What a worker reports for a finished chunk; anything else is an errno."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Where plaintext comes from and ciphertext goes."""

    source: Path
    target: Path
    target_offset: int
    """Bytes."""
    size: int
    """Bytes, a multiple of the sector."""

    def chunks(self, first: int, step: int) -> range:
        """Offsets in the partition of every ``step``-th chunk."""
        return range(first * CHUNK, self.size, step * CHUNK)


def encrypt_extent(
    extent: Extent, key: VolumeKey, *, workers: int | None = None, advance: Callable[[int], object] = lambda _: None
) -> str:
    """Encrypt a partition into place and return the SHA-256 of its ciphertext, hex.

    Args:
        extent: ``target`` exists; its other bytes stay as they are.
        key: the volume key.
        workers: processes; by default one per processor.
        advance: called with the bytes of every chunk that is on its way to the disk and hashed.

    Raises:
        OperationError: reading or writing failed, e.g. no space.
    """
    if extent.size % SECTOR:
        raise OperationError(f"{extent.source}: {extent.size} bytes are not whole {SECTOR}-byte sectors.")
    count = workers or min(len(os.sched_getaffinity(0)), MAX_WORKERS)
    context = multiprocessing.get_context("fork")
    pipes = [os.pipe() for _ in range(count)]
    processes = [
        context.Process(target=_work, args=(extent, key, number, pipes), daemon=True) for number in range(count)
    ]
    try:
        for process in processes:
            process.start()
        for _, writer in pipes:
            os.close(writer)
        digest = _hash_behind(extent, [reader for reader, _ in pipes], advance)
    finally:
        for reader, _ in pipes:
            os.close(reader)
        for process in processes:
            process.join()
    return digest


def _hash_behind(extent: Extent, reports: Sequence[int], advance: Callable[[int], object]) -> str:
    """Follow the workers chunk by chunk: hash what they wrote."""
    digest = hashlib.sha256()
    with extent.target.open("rb", buffering=0) as disk, mmap.mmap(-1, CHUNK) as buffer, memoryview(buffer) as view:
        for number, offset in enumerate(extent.chunks(0, 1)):
            report = os.read(reports[number % len(reports)], 1)
            if report != bytes([_DONE]):
                reason = os.strerror(report[0]) if report else "a worker process died"
                raise OperationError(f"{extent.target}: the partition cannot be written: {reason}.")
            size = min(CHUNK, extent.size - offset)
            os.preadv(disk.fileno(), [view[:size]], extent.target_offset + offset)
            digest.update(view[:size])
            advance(size)
    return digest.hexdigest()


def _work(extent: Extent, key: VolumeKey, number: int, pipes: Sequence[tuple[int, int]]) -> None:
    """One worker process: every n-th chunk, each reported by one byte."""
    report = pipes[number][1]
    # Only the parent may hold the reading ends, and each worker only its own writing end: then either side notices
    # when the other is gone, and no worker outlives a killed build.
    for reader, writer in pipes:
        os.close(reader)
        if writer != report:
            os.close(writer)
    with contextlib.suppress(BrokenPipeError):
        try:
            _encrypt_chunks(extent, key, extent.chunks(number, len(pipes)), report)
        except BrokenPipeError:
            raise
        except OSError as error:
            os.write(report, bytes([error.errno or 5]))


def _encrypt_chunks(extent: Extent, key: VolumeKey, chunks: range, report: int) -> None:
    cipher = SectorCipher(key)
    plain, encrypted = mmap.mmap(-1, CHUNK), mmap.mmap(-1, CHUNK)
    with extent.source.open("rb", buffering=0) as source, extent.target.open("r+b", buffering=0) as disk:
        for offset in chunks:
            size = min(CHUNK, extent.size - offset)
            read = os.preadv(source.fileno(), [memoryview(plain)[:size]], offset)
            if read != size:
                raise OSError(5, "the plaintext is shorter than the partition")
            cipher.encrypt(plain, encrypted, size, offset)
            written = os.pwrite(disk.fileno(), memoryview(encrypted)[:size], extent.target_offset + offset)
            if written != size:
                raise OSError(28, os.strerror(28))
            os.write(report, bytes([_DONE]))
