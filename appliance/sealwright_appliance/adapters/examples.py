"""The examples on which an adapter is trained: chats a line each, as OpenAI's fine-tuning has them.

They come from whoever administrates the box, and are read by a program that sees the weights. So what is passed on is
written anew from what was understood (policies/spec/own-adapters.md, 2).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sealwright_appliance.adapters.refusals import AdapterCode, AdapterError
from sealwright_policies.errors import FormatError
from sealwright_policies.wire.encoding import Document, document_bytes, parse_json

LEAST, MOST = 10, 5000
"""Examples; of ten one is held out."""
BYTES_MOST = 4 * 1024 * 1024
"""Of all lines together."""
LINE_MOST = 64 * 1024
MESSAGES_MOST = 64
HELD_OUT = 10
"""Every so manieth example is not learned, but judged by."""


class ExampleMessage(Document):
    """A turn."""

    role: Literal["system", "user", "assistant"]
    content: Annotated[str, Field(min_length=1, max_length=LINE_MOST)]


class Example(Document):
    """A line."""

    messages: Annotated[list[ExampleMessage], Field(min_length=2, max_length=MESSAGES_MOST)]


def parse_examples(text: bytes) -> list[Example]:
    """Read all examples.

    Raises:
        AdapterError: too few, too many, too long, or a line is no conversation that ends with the assistant.
    """
    if len(text) > BYTES_MOST:
        raise AdapterError(AdapterCode.TOO_LARGE)
    lines = [(number, line) for number, line in enumerate(text.split(b"\n"), start=1) if line.strip()]
    if len(lines) > MOST:
        raise AdapterError(AdapterCode.TOO_MANY)
    examples = [_example(line, number) for number, line in lines]
    if len(examples) < LEAST:
        raise AdapterError(AdapterCode.TOO_FEW)
    return examples


def _example(line: bytes, number: int) -> Example:
    try:
        example = parse_json(Example, line, limit=LINE_MOST)
        "".join(message.content for message in example.messages).encode()  # no half of a character
    except (FormatError, UnicodeEncodeError):
        raise AdapterError(AdapterCode.EXAMPLES, number) from None
    if example.messages[-1].role != "assistant":
        raise AdapterError(AdapterCode.EXAMPLES, number)
    return example


def examples_bytes(examples: list[Example]) -> bytes:
    """The same, as they are kept and handed to the trainer."""
    return b"".join(document_bytes(example) + b"\n" for example in examples)
