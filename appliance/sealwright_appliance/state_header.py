"""The LUKS2 header of the state volume: made in memory, pinned by its digest, opened by a copy.

LUKS2 headers are not authenticated, and changed ones have broken comparable systems (CVE-2025-59054). The box reads the
header once, compares all of it with the sealed digest, and opens the volume by that copy.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from sealwright_appliance import volumes
from sealwright_appliance.files import overwrite, read_at, write_durably
from sealwright_appliance.run import run
from sealwright_policies.errors import OperationError

SECTOR_SIZE = 512
"""Bytes that a disk writes whole or not at all."""


class StateVolumeError(OperationError):
    """The state volume does not open, for the reason given. Nothing was changed."""


def is_blank(device: Path) -> bool:
    """Whether nothing has ever been written before the data; every place of a LUKS2 header lies there."""
    return not any(read_at(device, 0, volumes.DATA_OFFSET))


def read_header(device: Path) -> bytes:
    """The pinned part before the data."""
    return read_at(device, 0, volumes.HEADER_SIZE)


def make_header(file: Path, passphrase: bytes, recovery_key: str) -> bytes:
    """Make a header with two passphrases in a file that is not the disk.

    Args:
        file: a path on a tmpfs; removed again.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:
        stream.truncate(2 * volumes.DATA_OFFSET)
    try:
        run(volumes.format_luks(file), secrets=[passphrase])
        run(volumes.add_luks_passphrase(file), secrets=[passphrase, recovery_key.encode("ascii")])
        return read_header(file)
    finally:
        file.unlink()


def complete_header(device: Path, header: bytes, header_sha256: bytes) -> None:
    """Write a header that the power kept from the disk (policies/spec/binding.md, 3).

    It is written over nothing but zeros and sectors of itself, so no volume in use can be lost by it.

    Args:
        header: as the binding record kept it.
        header_sha256: as the TPM unsealed it.

    Raises:
        StateVolumeError: the header is another one, or the disk holds something else.
    """
    found = read_header(device)
    if hashlib.sha256(header).digest() != header_sha256 or not is_torn_write(found, header):
        raise StateVolumeError(
            "The first boot was cut off, and the state volume was changed since: its header cannot be completed.",
            cure="Install the box anew.",
        )
    if found != header:
        overwrite(device, 0, header)


def is_torn_write(found: bytes, whole: bytes) -> bool:
    """Whether every sector is zero still or written already."""
    return len(found) == len(whole) and all(
        found[start : start + SECTOR_SIZE] in (bytes(SECTOR_SIZE), whole[start : start + SECTOR_SIZE])
        for start in range(0, len(whole), SECTOR_SIZE)
    )


def checked_header(header: bytes, header_sha256: bytes, copy: Path) -> Path:
    """Compare the header with the sealed digest and return a copy to open the volume by.

    Args:
        copy: a path on a tmpfs.

    Raises:
        StateVolumeError: the header was changed, or asks for something else than this box ever makes.
    """
    if not any(header):
        raise StateVolumeError(
            "The header of the state volume is gone.", cure="Restore the disk from a copy, or install the box anew."
        )
    if hashlib.sha256(header).digest() != header_sha256:
        raise StateVolumeError(
            "The header of the state volume is not the one that this box wrote.",
            cure="Somebody or something changed the disk; restore it from a copy.",
        )
    write_durably(copy, header)
    check_luks_metadata(run(volumes.dump_luks_metadata(copy)))
    return copy


def check_luks_metadata(text: str) -> None:
    """Demand one segment of AES-XTS over the whole device and no requirement such as re-encryption.

    Raises:
        StateVolumeError: anything else.
    """
    try:
        metadata = json.loads(text)
        segments = list(metadata["segments"].values())
        requirements = metadata["config"].get("requirements")
        tokens = metadata["tokens"]
        form = [(s["type"], s["encryption"], s["sector_size"], s["size"]) for s in segments]
        plain = [sorted(s) == ["encryption", "iv_tweak", "offset", "sector_size", "size", "type"] for s in segments]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StateVolumeError("The header of the state volume is not readable.") from None
    wanted = [("crypt", volumes.STATE_CIPHER, volumes.STATE_SECTOR_SIZE, "dynamic")]
    if form != wanted or not all(plain) or requirements or tokens:
        raise StateVolumeError("The header of the state volume asks for something that this box never makes.")
