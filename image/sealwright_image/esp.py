"""The EFI system partition: a FAT file system made from files alone, the same bytes for the same input."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from sealwright_image.output import flush
from sealwright_image.run import Tools

UKI_ON_ESP = "EFI/BOOT/BOOTX64.EFI"
"""The removable-media path: firmware boots it without a boot entry."""
LABEL = "ESP"
VOLUME_ID = "5EA1D0C5"
SECTOR = 512
"""Bytes. OVMF may not read a FAT with larger logical sectors from such a disk."""
MINIMUM = 64 * 1024 * 1024
"""Bytes; mkfs.fat makes a proper FAT32 only above about 33 MiB."""
SPARE = 16 * 1024 * 1024
"""Bytes beside the files: the file system's own tables, and room for approvals written later."""
MIB = 1024 * 1024


def esp_size(file_sizes: int) -> int:
    """Bytes of a partition that holds the old and the new of every file during an update."""
    needed = 2 * file_sizes + SPARE
    return max(MINIMUM, -(-needed // MIB) * MIB)


def mkfs_argv(output: Path) -> list[str]:
    """mkfs.fat with everything fixed that it would otherwise draw or take from the clock."""
    return ["mkfs.fat", "-F", "32", "-S", str(SECTOR), "-n", LABEL, "-i", VOLUME_ID, "--invariant", str(output)]


def folders(names: Mapping[str, Path]) -> list[str]:
    """All parent folders of the files, parents first."""
    found = {str(parent) for name in names for parent in PurePosixPath(name).parents if str(parent) != "."}
    return sorted(found)


def build_esp(files: Mapping[str, Path], tools: Tools, output: Path, epoch: int) -> None:
    """Write a FAT32 file system that holds ``files`` (path on the ESP → file) to ``output``."""
    size = esp_size(sum(path.stat().st_size for path in files.values()))
    with output.open("wb") as stream:
        stream.truncate(size)
    binds = sorted({path.parent for path in (*files.values(), output)})
    # mtools takes creation times from SOURCE_DATE_EPOCH.
    environment = {"SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC", "MTOOLS_SKIP_CHECK": "1"}
    tools.run(mkfs_argv(output), binds=binds, environment=environment)
    tools.run(
        ["mmd", "-i", output, *(f"::{folder}" for folder in folders(files))], binds=binds, environment=environment
    )
    for name, path in sorted(files.items()):
        tools.run(["mcopy", "-i", output, path, f"::{name}"], binds=binds, environment=environment)


def put_on_esp(disk: Path, offset: int, name: str, content: Path, tools: Tools) -> None:
    """Write one file to the ESP of a finished disk image, unless it is there with this content.

    Args:
        disk: the image.
        offset: of the ESP, bytes.
        name: path on the ESP, in a folder that exists.
        content: the file.
        tools: the tools root.
    """
    image = f"{disk}@@{offset}"
    binds = sorted({disk.parent, content.parent})
    if name in esp_files(disk, offset, tools) and read_from_esp(disk, offset, name, tools) == content.read_bytes():
        return
    tools.run(["mcopy", "-o", "-i", image, content, f"::{name}"], binds=binds)
    flush(disk)


def esp_files(disk: Path, offset: int, tools: Tools) -> set[str]:
    """Paths of all files on the ESP of a disk image."""
    listing = tools.run(["mdir", "-b", "-s", "-i", f"{disk}@@{offset}", "::"], binds=[disk.parent])
    lines = listing.decode("utf-8", "replace").splitlines()
    return {line.removeprefix("::/") for line in lines if line and not line.endswith("/")}


def read_from_esp(disk: Path, offset: int, name: str, tools: Tools) -> bytes:
    """A file on the ESP of a disk image."""
    return tools.run(["mtype", "-i", f"{disk}@@{offset}", f"::{name}"], binds=[disk.parent])
