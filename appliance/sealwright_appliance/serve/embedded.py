"""Vectors of texts as they come from an engine, and what they cost."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass

NUMBERS_A_TOKEN = 16
"""So many numbers are charged as one token of a reply."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """What an engine has made of some texts."""

    vectors: Sequence[Sequence[float]]
    prompt_tokens: int


def charge(width: int) -> int:
    """Tokens of a budget for one vector of so many numbers."""
    return max(1, -(-width // NUMBERS_A_TOKEN))


def unpacked(text: str) -> tuple[float, ...]:
    """A vector as engines and OpenAI write it: base64 of 32-bit numbers, the lowest byte first.

    Raises:
        ValueError: it is none.
    """
    content = base64.b64decode(text, validate=True)
    if not content or len(content) % 4:
        raise ValueError("no vector")
    return struct.unpack(f"<{len(content) // 4}f", content)


def packed(vector: Sequence[float]) -> str:
    """The same, written."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
