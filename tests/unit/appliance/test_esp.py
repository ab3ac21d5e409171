"""The ESP's one file, out of bytes that the owner of the disk may have made."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwright_appliance.esp import read_esp_file
from sealwright_policies.appraisal.reference_values import MANIFEST_ON_ESP
from sealwright_policies.errors import FormatError, OperationError
from sealwright_testing.fat32 import RESERVED, SECTOR, fat32_volume

CONTENT = bytes(range(256)) * 9
VOLUME = fat32_volume((MANIFEST_ON_ESP, CONTENT))
FAT = RESERVED * SECTOR
FIRST_CLUSTER = 5
"""Of the file: behind root, EFI and sealwright."""
LIMIT = 4096


def read(volume: bytes, folder: Path, path: str = MANIFEST_ON_ESP, limit: int = LIMIT) -> bytes | None:
    """Read a volume's file."""
    device = folder / "esp"
    device.write_bytes(volume)
    return read_esp_file(device, path, limit)


def patched(offset: int, content: bytes) -> bytes:
    """The volume with some bytes changed."""
    return VOLUME[:offset] + content + VOLUME[offset + len(content) :]


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 4096])
def test_a_file_is_read_whole(tmp_path: Path, size: int) -> None:
    content = bytes(range(1, 256)) * 17
    assert read(fat32_volume((MANIFEST_ON_ESP, content[:size])), tmp_path) == content[:size]


@pytest.mark.parametrize(
    "path", ["EFI/sealwright/other.json", "EFI/other/manifest.json", "EFI/sealwright", "EFI/sealwright/manifest.json/x"]
)
def test_what_is_not_there_is_none(tmp_path: Path, path: str) -> None:
    assert read(VOLUME, tmp_path, path) is None


def test_a_partition_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="cannot be read"):
        read_esp_file(tmp_path / "none", MANIFEST_ON_ESP, LIMIT)


def test_a_long_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="longer than 100 bytes"):
        read(VOLUME, tmp_path, limit=100)


@pytest.mark.parametrize("following", [FIRST_CLUSTER, 0, 1, 0x0FFFFFF7, 10_000])
def test_a_chain_that_runs_in_circles_or_off_the_volume_ends(tmp_path: Path, following: int) -> None:
    with pytest.raises(FormatError, match="cluster chain"):
        read(patched(FAT + 4 * FIRST_CLUSTER, struct.pack("<I", following)), tmp_path)


def test_a_folder_that_runs_in_circles_ends(tmp_path: Path) -> None:
    """The root's chain leads back to itself, and every name is passed over."""
    circle = bytearray(patched(FAT + 4 * 2, struct.pack("<I", 2)))
    root = len(VOLUME) - len(CONTENT.ljust(-(-len(CONTENT) // SECTOR) * SECTOR)) - 3 * SECTOR
    circle[root : root + SECTOR] = b"\xe5" * SECTOR
    with pytest.raises(FormatError, match="too long"):
        read(bytes(circle), tmp_path)


def test_a_chain_that_ends_early_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="ends early"):
        read(patched(FAT + 4 * FIRST_CLUSTER, struct.pack("<I", 0x0FFFFFFF)), tmp_path)


def test_a_volume_cut_off_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="larger than its partition"):
        read(VOLUME[: -2 * SECTOR], tmp_path)


@pytest.mark.parametrize(
    ("offset", "content"),
    [
        (11, struct.pack("<H", 4096)),  # sector size
        (13, b"\x00"),  # sectors in a cluster
        (13, b"\x03"),
        (14, b"\x00\x00"),  # reserved sectors
        (16, b"\x01"),  # FATs
        (17, b"\x00\x02"),  # root entries: FAT16
        (22, b"\x01\x00"),  # size of a FAT16
        (32, bytes(4)),  # sectors
        (32, b"\xff\xff\xff\xff"),  # more clusters than the FAT has
        (36, b"\xff\xff\xff\xff"),  # size of the FAT
        (40, b"\x80\x00"),  # FATs not mirrored
        (42, b"\x01\x00"),  # version
        (510, b"\x00\x00"),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, offset: int, content: bytes) -> None:
    with pytest.raises(FormatError, match="FAT"):
        read(patched(offset, content), tmp_path)


def test_a_long_name_of_another_entry_counts_for_nothing(tmp_path: Path) -> None:
    """Its checksum does not fit: the file has its short name alone."""
    start = VOLUME.index("manif".encode("utf-16-le")) - 1
    volume = patched(start + 13, bytes([VOLUME[start + 13] ^ 1]))
    assert read(volume, tmp_path) is None
    assert read(volume, tmp_path, "EFI/sealwright/MANIFE~1.JSO") == CONTENT


@settings(max_examples=500, deadline=None)
@given(
    changes=st.lists(
        st.tuples(
            st.one_of(
                st.integers(0, 63),
                st.integers(FAT, FAT + 63),
                st.integers(FAT + 2 * SECTOR, FAT + 5 * SECTOR),
                st.integers(0, len(VOLUME) - 1),
            ),
            st.integers(0, 255),
        ),
        max_size=12,
    ),
    size=st.integers(0, len(VOLUME)),
)
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], size: int
) -> None:
    """Bounded, and with our own error alone."""
    volume = bytearray(VOLUME)
    for offset, value in changes:
        volume[offset] = value
    try:
        content = read(bytes(volume[: size or None]), tmp_path_factory.getbasetemp())
    except FormatError:
        return
    assert content is None or len(content) <= LIMIT


@settings(max_examples=200, deadline=None)
@given(volume=st.binary(max_size=4096))
def test_noise_is_refused(tmp_path_factory: pytest.TempPathFactory, volume: bytes) -> None:
    with pytest.raises(FormatError):
        read(volume, tmp_path_factory.getbasetemp())
