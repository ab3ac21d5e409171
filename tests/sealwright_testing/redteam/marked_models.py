"""Models with a string in their metadata that is nowhere else: where it is found, weights have got to."""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from pathlib import Path

from sealwright_testing.vendor import Model

MAGIC = b"GGUF"
HEAD = struct.Struct("<4sIQQ")
"""Magic, version, numbers of tensors and of metadata entries (ggml, docs/gguf.md)."""
STRING = 8
"""Type of an entry's value."""
ALIGNMENT = 32
"""Of tensors, where the file names no other; ours do not."""
KEY = b"general.planted"


def mark_of(model: str) -> str:
    """The string of a model, by its payload id: always the same, so that images of the same models are the same."""
    return f"canary-weights-{hashlib.sha256(model.encode()).hexdigest()}"


def marked(model: Model, folder: Path) -> Model:
    """The same model in a file with its mark."""
    path = folder / model.path.name
    path.write_bytes(with_string(model.path.read_bytes(), mark_of(model.payload_id).encode()))
    return dataclasses.replace(model, path=path)


def with_string(content: bytes, value: bytes) -> bytes:
    """A GGUF file with one more entry, in front of the others and of an aligned size, so that tensors stay aligned."""
    magic, version, tensors, entries = HEAD.unpack_from(content)
    assert magic == MAGIC
    size = 8 + len(KEY) + 4 + 8 + len(value)
    value += b" " * (-size % ALIGNMENT)
    entry = struct.pack("<Q", len(KEY)) + KEY + struct.pack("<IQ", STRING, len(value)) + value
    return HEAD.pack(magic, version, tensors, entries + 1) + entry + content[HEAD.size :]
