"""Headers of a state volume as whoever has the disk would write them (LUKS2 On-Disk Format 1.1.3, 2)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from sealwright_appliance.volumes import DATA_OFFSET, format_luks
from sealwright_testing.tools_root import ToolsRoot

KNOWN_KEY = b"known to whoever made it"
AREA = 16384
"""Bytes of one binary header with its JSON; there are two, one behind the other."""
JSON_OFFSET = 4096
CHECKSUM = slice(0x1C0, 0x200)


def volume_of_ones_own(folder: Path) -> bytes:
    """The head of a volume as the box itself makes it, under a key that its maker knows."""
    volume, key = folder / "volume", folder / "key"
    key.write_bytes(KNOWN_KEY)
    with volume.open("wb") as file:
        file.truncate(2 * DATA_OFFSET)
    argv: list[str | Path] = [word.replace("{secret0}", str(key)) for word in format_luks(volume)]
    ToolsRoot.find().run_inside(*argv, binds=[folder])
    return volume.read_bytes()[:DATA_OFFSET]


def opens(head: bytes, key: bytes, folder: Path) -> bool:
    """Whether cryptsetup finds a key slot for a key; nothing is mapped."""
    volume, file = folder / "tried", folder / "tried-key"
    volume.write_bytes(head + bytes(DATA_OFFSET))
    file.write_bytes(key)
    call: list[str | Path] = ["cryptsetup", "open", "--test-passphrase", "--key-file", file, volume]
    try:
        ToolsRoot.find().run_inside(*call, binds=[folder])
    except RuntimeError:
        return False
    return True


def without_encryption(head: bytes) -> bytes:
    """The same header, both copies, with a data segment that is not encrypted at all."""
    copies = head[:AREA], head[AREA : 2 * AREA]
    return b"".join(_without_encryption(copy) for copy in copies) + head[2 * AREA :]


def _without_encryption(area: bytes) -> bytes:
    document = json.loads(area[JSON_OFFSET:].rstrip(b"\0"))
    for segment in document["segments"].values():
        segment["encryption"] = "cipher_null-ecb"
    text = json.dumps(document, separators=(",", ":")).encode()
    changed = bytearray(area[:JSON_OFFSET] + text.ljust(AREA - JSON_OFFSET, b"\0"))
    changed[CHECKSUM] = bytes(CHECKSUM.stop - CHECKSUM.start)
    digest = hashlib.sha256(changed).digest()
    changed[CHECKSUM] = digest.ljust(CHECKSUM.stop - CHECKSUM.start, b"\0")
    return bytes(changed)
