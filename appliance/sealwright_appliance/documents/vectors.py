"""Vectors as they are kept: one signed byte for each number, scaled so that the largest fills it.

The cosine of two vectors does not change with their lengths, so each has a scale of its own, which is not kept.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from array import array
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator

from sealwright_policies.errors import FormatError
from sealwright_policies.wire.encoding import Document, Sha256Hex

NUMBERS_MOST = 4096
"""Of one vector."""
TEXT_MOST = -(-NUMBERS_MOST // 3) * 4
LARGEST = 127


def quantised(vector: Sequence[float]) -> bytes:
    """A vector in bytes; one of zeros stays so, and is near to nothing.

    Raises:
        FormatError: there is nothing of it, or too much.
    """
    if not 0 < len(vector) <= NUMBERS_MOST:
        raise FormatError(f"A vector has 1 to {NUMBERS_MOST} numbers, not {len(vector)}.")
    scale = LARGEST / (max(map(abs, vector)) or 1.0)
    return array("b", [round(number * scale) for number in vector]).tobytes()


def text_digest(text: str) -> str:
    """Of which text a vector is: numbers of passages are given again once they are free."""
    return hashlib.sha256(text.encode()).hexdigest()


def vector_text(content: bytes) -> str:
    """A vector as messages hold it."""
    return base64.b64encode(content).decode("ascii")


def vector_bytes(text: str) -> bytes:
    """The same, read."""
    return base64.b64decode(text, validate=True)


def _is_vector(text: str) -> str:
    try:
        size = len(vector_bytes(text)) if len(text) <= TEXT_MOST else 0
    except (binascii.Error, ValueError):
        size = 0
    if not 0 < size <= NUMBERS_MOST:
        raise ValueError("no vector")
    return text


VectorText = Annotated[str, AfterValidator(_is_vector)]


class QuestionVector(Document):
    """Of a question, by which model."""

    model: Sha256Hex
    vector: VectorText
