"""A bounded look at a GGUF file: is it one, is it whole, what does it call itself, of which sizes is it made.

GGUF versions 2 and 3, little-endian (ggml/docs/gguf.md). Reads the header, metadata and tensor table, never the
weights. It keeps a build from sealing an HTML page or half a download; it does not prove that an engine can load it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from sealwright_policies.errors import FormatError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_METADATA = 65_536
"""Most key-value pairs and, below, tensors and dimensions (GGML_MAX_DIMS is 4)."""
MAX_TENSORS = 1_048_576
MAX_DIMENSIONS = 4
MATRIX = 2
MAX_HEADER = 256 * 1024 * 1024
"""Bytes of the longest header; token lists of the largest vocabularies take some tens of MiB."""
MAX_KEY = 65_535
TOKENS = "tokenizer.ggml.tokens"
MAX_TEXT = 16 * 1024 * 1024

_SCALAR_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_UINT32, _INT32, _STRING, _ARRAY = 4, 5, 8, 9
_LAYERS_MOST = 4096
"""Elements of an array of which the largest is of interest: one number for each layer."""
_DEFAULT_ALIGNMENT = 32


@dataclass(frozen=True, slots=True)
class Gguf:
    """What the header says."""

    version: int
    tensor_count: int
    architecture: str
    name: str
    size: int
    """Bytes of the file."""
    largest: int
    """Bytes of its largest tensor."""
    numbers: Mapping[str, int]
    """Sizes, by their keys without the architecture's name: ``block_count``; of an array with a number for each layer
    the largest; of the array ``tokenizer.ggml.tokens`` how many there are."""
    matrices: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Width in and out of tensors with two dimensions, by name."""


class _Header:
    """Reads the header and counts the bytes."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self.stream, self.path, self.offset = stream, path, 0

    def take(self, size: int) -> bytes:
        self.offset += size
        if self.offset > MAX_HEADER:
            raise FormatError(f"{self.path}: the GGUF header is longer than {MAX_HEADER} bytes.")
        data = self.stream.read(size)
        if len(data) != size:
            raise FormatError(f"{self.path}: the GGUF header is cut short at byte {self.offset - size + len(data)}.")
        return data

    def number(self, layout: str) -> int:
        value: int = struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))[0]
        return value

    def count(self, what: str, limit: int) -> int:
        value = self.number("Q")
        if value > limit:
            raise FormatError(f"{self.path}: GGUF header: {value} {what}, at most {limit} are allowed.")
        return value

    def text(self, limit: int) -> str:
        return self.take(self.count("bytes of text", limit)).decode("utf-8", "replace")


def read_gguf(path: Path) -> Gguf:
    """Check a model file.

    Raises:
        FormatError: not GGUF, of another version, malformed, or cut short.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        header = _Header(stream, path)
        magic = stream.read(4)
        if magic != MAGIC:
            raise FormatError(f"{path}: not a GGUF file: it begins with {magic!r}, not {MAGIC!r}.")
        header.offset = 4
        version = header.number("I")
        if version not in VERSIONS:
            raise FormatError(f"{path}: GGUF version {version}; versions 2 and 3, little-endian, are supported.")
        tensors = header.count("tensors", MAX_TENSORS)
        if tensors == 0:
            raise FormatError(f"{path}: this GGUF file holds no tensors.")
        metadata = dict(_read_pair(header) for _ in range(header.count("metadata pairs", MAX_METADATA)))
        table = [_read_tensor(header) for _ in range(tensors)]
        offsets = sorted(offset for _, _, offset in table)
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment == 0 or alignment % 8:
        raise FormatError(f"{path}: GGUF alignment {alignment!r} is not a multiple of 8.")
    data_start = -(-header.offset // alignment) * alignment
    last = data_start + offsets[-1]
    if last >= size:
        raise FormatError(
            f"{path}: the GGUF file is cut short: its last tensor begins at byte {last}, and the file has {size} bytes."
        )
    architecture = _text(metadata, "general.architecture")
    numbers = {key.removeprefix(f"{architecture}."): value for key, value in metadata.items() if isinstance(value, int)}
    largest = max(after - before for before, after in pairwise([*offsets, size - data_start]))
    matrices = {name: (sizes[0], sizes[1]) for name, sizes, _ in table if len(sizes) == MATRIX}
    return Gguf(version, tensors, architecture, _text(metadata, "general.name"), size, largest, numbers, matrices)


def _text(metadata: dict[str, str | int | None], key: str) -> str:
    value = metadata.get(key)
    return value if isinstance(value, str) else ""


def _read_pair(header: _Header) -> tuple[str, str | int | None]:
    """One key and its value; values of no interest here are skipped and given as None."""
    key = header.text(MAX_KEY)
    kind = header.number("I")
    if kind == _STRING:
        return key, header.text(MAX_TEXT)
    if kind == _UINT32:
        return key, header.number("I")
    if kind == _ARRAY:
        return key, _array_number(header, key)
    _skip_scalars(header, kind, 1)
    return key, None


def _array_number(header: _Header, key: str) -> int | None:
    """Pass over an array; the largest number of a short one of integers, the length of the vocabulary."""
    kind = header.number("I")
    count = header.count("array elements", MAX_HEADER)
    if kind in (_UINT32, _INT32) and 0 < count <= _LAYERS_MOST:
        numbers: tuple[int, ...] = struct.unpack(f"<{count}{'I' if kind == _UINT32 else 'i'}", header.take(4 * count))
        return max(numbers)
    _skip_elements(header, kind, count)
    return count if key == TOKENS else None


def _skip_elements(header: _Header, kind: int, count: int) -> None:
    if kind == _STRING:
        for _ in range(count):
            header.take(header.count("bytes of text", MAX_TEXT))
    else:
        _skip_scalars(header, kind, count)


def _skip_scalars(header: _Header, kind: int, count: int) -> None:
    if kind not in _SCALAR_SIZES:
        raise FormatError(f"{header.path}: GGUF header: no value type {kind}.")
    header.take(_SCALAR_SIZES[kind] * count)


def _read_tensor(header: _Header) -> tuple[str, tuple[int, ...], int]:
    """One entry of the tensor table: name, sizes, offset in the data section in bytes."""
    name = header.text(MAX_KEY)
    dimensions = header.number("I")
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise FormatError(f"{header.path}: GGUF header: a tensor with {dimensions} dimensions.")
    sizes = struct.unpack(f"<{dimensions}Q", header.take(8 * dimensions))
    header.take(4)
    return name, sizes, header.number("Q")
