"""An adapter's numbers: what a trainer says, and the GGUF file that an engine reads.

A trainer sends matrices and no file. The file is written here, so nothing of it but the numbers is the trainer's:
names, shapes and sizes are those of the model, which the build has read, or the adapter is refused
(policies/spec/own-adapters.md, 5).
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from sealwright_policies.engines import LayerShapes, Width
from sealwright_policies.errors import FormatError
from sealwright_policies.wire.encoding import Document

RANK_MOST = 64
ALPHA_MOST = 1024.0
MATRICES_MOST = 4096
"""Layers of a model that are changed."""
WEIGHTS_MOST = 64 * 1024 * 1024
"""Bytes of all numbers."""
FLOAT = 4
_ALIGNMENT = 32
_STRING, _FLOAT32, _UINT32 = 8, 6, 4
"""Types of GGUF's metadata (ggml/docs/gguf.md); of tensors F32 is 0."""


class LearnedMatrix(Document):
    """What is learned beside one matrix of a model: ``a`` of (rank, width_in), then ``b`` of (width_out, rank)."""

    name: Annotated[str, Field(max_length=64)]
    """As in the model's file, without ``.weight``: ``blk.0.attn_q``."""
    width_in: Width
    width_out: Width
    rank: Annotated[int, Field(ge=1, le=RANK_MOST)]


class LearnedAdapter(Document):
    """What comes before the numbers, in whose order they follow: 32 bits each, little-endian."""

    alpha: Annotated[float, Field(gt=0, le=ALPHA_MOST, allow_inf_nan=False)]
    matrices: Annotated[list[LearnedMatrix], Field(min_length=1, max_length=MATRICES_MOST)]


def weights_size(adapter: LearnedAdapter, base: LayerShapes) -> int:
    """Bytes of numbers that have to follow.

    Raises:
        FormatError: it is not for this model, or too large.
    """
    names = [one.name for one in adapter.matrices]
    if len(set(names)) != len(names):
        raise FormatError("The adapter has a matrix twice.")
    size = sum(FLOAT * one.rank * sum(_shape(one, base)) for one in adapter.matrices)
    if size > WEIGHTS_MOST:
        raise FormatError(f"The adapter has {size} bytes, at most {WEIGHTS_MOST} are allowed.")
    return size


def _shape(one: LearnedMatrix, base: LayerShapes) -> tuple[int, int]:
    """Width in and out of the matrix that is changed."""
    block, _, layer = one.name.removeprefix("blk.").partition(".")
    known = base.layers.get(layer)
    is_block = block.isascii() and block.isdecimal() and str(int(block[:6])) == block
    if not one.name.startswith("blk.") or known is None or not is_block or int(block) >= base.blocks:
        raise FormatError("The adapter changes what its model has not.")
    if known != (one.width_in, one.width_out):
        raise FormatError("The adapter was trained for a model of other sizes.")
    if one.rank > min(known):
        raise FormatError("The adapter's rank is higher than its model's matrices.")
    return known


def adapter_file(adapter: LearnedAdapter, numbers: bytes, base: LayerShapes) -> bytes:
    """The GGUF file (version 3) of an adapter.

    Raises:
        FormatError: it is not for this model, has more or fewer numbers than it says, or one is not finite.
    """
    if len(numbers) != weights_size(adapter, base):
        raise FormatError("The adapter has another number of bytes than it says.")
    if not all(map(math.isfinite, array("f", numbers))):  # the box is little-endian
        raise FormatError("A number of the adapter is not finite.")
    header, data, offset, at = [], [], 0, 0
    for one in adapter.matrices:
        width_in, width_out = _shape(one, base)
        for end, (inner, outer) in (("a", (width_in, one.rank)), ("b", (one.rank, width_out))):
            size = FLOAT * inner * outer
            header.append(_text(f"{one.name}.weight.lora_{end}") + struct.pack("<IQQIQ", 2, inner, outer, 0, offset))
            data.append(_padded(numbers[at : at + size]))
            at, offset = at + size, offset + len(data[-1])
    pairs: Mapping[str, bytes] = {
        "general.architecture": struct.pack("<I", _STRING) + _text(base.architecture),
        "general.type": struct.pack("<I", _STRING) + _text("adapter"),
        "general.alignment": struct.pack("<II", _UINT32, _ALIGNMENT),
        "adapter.type": struct.pack("<I", _STRING) + _text("lora"),
        "adapter.lora.alpha": struct.pack("<If", _FLOAT32, adapter.alpha),
    }
    head = b"GGUF" + struct.pack("<IQQ", 3, len(header), len(pairs))
    head += b"".join(_text(key) + value for key, value in pairs.items()) + b"".join(header)
    return b"".join([_padded(head), *data])


def _text(text: str) -> bytes:
    content = text.encode()
    return struct.pack("<Q", len(content)) + content


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % _ALIGNMENT)
