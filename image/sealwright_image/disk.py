"""The disk image: a sparse file with a GPT and partitions on whole MiB.

The table is written last, when every partition has its size and content. All UUIDs are given, so the table follows from
its entries. Types are those of the Discoverable Partitions Specification where it has one.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sealwright_image.payload_partition import MIB, whole_mib
from sealwright_image.run import Tools
from sealwright_policies.errors import FormatError

SECTOR = 512
"""Bytes of a logical block of the disk."""
FIRST_OFFSET = MIB
ESP_TYPE = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
ROOT_TYPE = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
VERITY_TYPE = "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5"
VERITY_SIGNATURE_TYPE = "41092b05-9fc8-4523-994f-2def0408b176"
DATA_TYPE = "0fc63daf-8483-4772-8e79-3d69d8477de4"
"""Linux data: nothing mounts it by itself."""
READ_ONLY = "GUID:60"
NO_AUTO = "GUID:63"


@dataclass(frozen=True, slots=True)
class Partition:
    """One entry of the table."""

    label: str
    type: str
    uuid: str
    offset: int
    """Bytes from the start of the disk, whole MiB."""
    size: int
    """Bytes, whole MiB."""
    attributes: str = ""


class Layout:
    """Places partitions one after the other on a growing disk image."""

    def __init__(self, disk: Path) -> None:
        self.disk = disk
        self.partitions: list[Partition] = []
        disk.touch()

    @property
    def end(self) -> int:
        """Where the next partition begins, bytes."""
        last = self.partitions[-1] if self.partitions else None
        return last.offset + last.size if last else FIRST_OFFSET

    def reserve(self, label: str, type_: str, identity: str, size: int, attributes: str = "") -> Partition:
        """Add an entry after the last one; its content stays as it is, zeros if nothing was written."""
        partition = Partition(label, type_, identity, self.end, whole_mib(size), attributes)
        self.partitions.append(partition)
        os.truncate(self.disk, self.end)
        return partition

    def add_file(self, label: str, type_: str, identity: str, content: Path, attributes: str = "") -> Partition:
        """Add an entry with the content of a file."""
        partition = self.reserve(label, type_, identity, content.stat().st_size, attributes)
        copy_sparse(content, self.disk, partition.offset)
        return partition

    def write_table(self, tools: Tools, disk_identity: uuid.UUID) -> None:
        """Write both copies of the GPT around the partitions."""
        os.truncate(self.disk, self.end + MIB)
        script = table_script(self.partitions, disk_identity)
        command = ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--wipe=never", "--wipe-partitions=never"]
        tools.run([*command, self.disk], binds=[self.disk.parent], stdin=script.encode("utf-8"))


def table_script(partitions: Sequence[Partition], disk_identity: uuid.UUID) -> str:
    """The table as sfdisk reads it."""
    lines = ["label: gpt", f"label-id: {disk_identity}", "unit: sectors", f"sector-size: {SECTOR}", ""]
    for entry in partitions:
        attributes = f', attrs="{entry.attributes}"' if entry.attributes else ""
        lines.append(
            f"start={entry.offset // SECTOR}, size={entry.size // SECTOR}, type={entry.type}, uuid={entry.uuid},"
            f' name="{entry.label}"{attributes}'
        )
    return "\n".join(lines) + "\n"


def read_table(tools: Tools, disk: Path) -> list[Partition]:
    """The table as it stands on a disk image.

    Raises:
        FormatError: sfdisk's answer has another form.
        OperationError: there is no readable table.
    """
    answer = tools.run(["sfdisk", "--json", disk], binds=[disk.parent])
    try:
        table: dict[str, Any] = json.loads(answer)["partitiontable"]
        return [
            Partition(
                label=entry["name"],
                type=entry["type"].lower(),
                uuid=entry["uuid"].lower(),
                offset=entry["start"] * SECTOR,
                size=entry["size"] * SECTOR,
                attributes=entry.get("attrs", ""),
            )
            for entry in table["partitions"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{disk}: sfdisk shows no GPT with names: {error}") from error


def find_partition(table: Iterable[Partition], label: str) -> Partition:
    """The entry of this name.

    Raises:
        FormatError: there is none.
    """
    for entry in table:
        if entry.label == label:
            return entry
    raise FormatError(f"The disk has no partition {label}.")


def root_identities(root_hash: str) -> tuple[str, str]:
    """UUIDs of root and root-verity: the halves of the root hash, by which systemd-veritysetup finds them."""
    raw = bytes.fromhex(root_hash)
    return str(uuid.UUID(bytes=raw[:16])), str(uuid.UUID(bytes=raw[16:]))


def copy_sparse(source: Path, target: Path, offset: int) -> None:
    """Copy a file into another at an offset, leaving its holes as holes."""
    with source.open("rb") as reading, target.open("r+b", buffering=0) as writing:
        for start, end in _data_ranges(reading.fileno(), source.stat().st_size):
            writing.seek(offset + start)
            done = start
            while done < end:
                done += os.sendfile(writing.fileno(), reading.fileno(), done, end - done)


def _data_ranges(descriptor: int, size: int) -> Iterable[tuple[int, int]]:
    position = 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            return
        position = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, position
