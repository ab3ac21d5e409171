"""Strings that must not leave a box, the forms in which they would, and the search for them."""

from __future__ import annotations

import base64
import mmap
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote_from_bytes

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

WINDOW = 48
"""Bytes of a model file that stand for it: too many to be there by chance."""
DISTINCT = 24
"""A window with fewer different bytes may be padding."""


def forms(canary: bytes) -> frozenset[bytes]:
    """A canary as it is, in hex, in base64 wherever it begins, in UTF-16 and in a URL."""
    found = {canary, canary.hex().encode(), canary.hex().upper().encode(), quote_from_bytes(canary).encode()}
    for skipped in range(3):
        # Digits at both ends depend on the neighbours.
        whole = base64.b64encode(bytes(skipped) + canary)
        found.add(whole[4:-4] if skipped else whole[:-4])
    if canary.isascii():
        found.add(canary.decode("ascii").encode("utf-16-le"))
    return frozenset(found)


def key_forms(pem: str) -> frozenset[bytes]:
    """A private key on P-256: its number, and the lines of its file that are not every key's."""
    key = load_pem_private_key(pem.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    number = key.private_numbers().private_value.to_bytes(32)
    return forms(number).union(*(forms(line.encode()) for line in pem.splitlines()[2:-1]))


def weight_windows(model: Path, count: int = 4) -> dict[str, bytes]:
    """Pieces of a model file: of its metadata, which come first, and of tensors, spread over the rest."""
    content = model.read_bytes()
    places = [4096 * number for number in range(2, 4)] + [len(content) * n // (count + 1) for n in range(1, count + 1)]
    windows = {f"{model.name}@{place}": content[place : place + WINDOW] for place in places}
    return {name: window for name, window in windows.items() if len(set(window)) >= DISTINCT}


def found_in(path: Path, wanted: Mapping[str, frozenset[bytes]]) -> set[str]:
    """Names of the canaries that stand in a file, or in any file below a folder, in one of their forms."""
    if path.is_dir():
        return {name for file in path.rglob("*") if file.is_file() for name in found_in(file, wanted)}
    if not path.stat().st_size:
        return set()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return {name for name, looks in wanted.items() if any(data.find(look) >= 0 for look in looks)}
