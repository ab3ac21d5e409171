"""Paragraphs become passages: what is found, shown to a model and cited."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sealwright_appliance.documents.blocks import Block

PASSAGE_BYTES = 900
"""Of a passage at most, in UTF-8: some 900 letters or 300 Chinese characters, in tokens about as much of either."""
OVERLAP_BYTES = 90
"""What the pieces of a paragraph that is cut repeat, so that no phrase is lost in a cut."""
_SENTENCE = re.compile(r"(?<=[。！？；])|(?<=[.!?;])\s")


@dataclass(frozen=True, slots=True)
class Passage:
    """Some paragraphs of one page, or a piece of one."""

    text: str
    page: int | None
    paragraph: int
    """The first of them."""


def passages(blocks: Sequence[Block]) -> list[Passage]:
    """Cut and join, in the order of the document."""
    found: list[Passage] = []
    held: list[Block] = []
    size = 0
    for block in blocks:
        length = len(block.text.encode()) + 1
        if held and (block.page != held[0].page or size + length > PASSAGE_BYTES):
            found.append(_joined(held))
            held, size = [], 0
        if length > PASSAGE_BYTES:
            found += [Passage(piece, block.page, block.paragraph) for piece in _pieces(block.text)]
        else:
            held.append(block)
            size += length
    return found + ([_joined(held)] if held else [])


def _joined(blocks: Sequence[Block]) -> Passage:
    return Passage("\n".join(block.text for block in blocks), blocks[0].page, blocks[0].paragraph)


def _pieces(text: str) -> Iterator[str]:
    """Pieces of a long paragraph: whole sentences, where they are short enough."""
    held = ""
    for sentence in (part for whole in _SENTENCE.split(text) for part in _cut(whole)):
        if held and len(held.encode()) + len(sentence.encode()) + 1 > PASSAGE_BYTES:
            yield held
            held = _end(held)
            if len(held.encode()) + len(sentence.encode()) + 1 > PASSAGE_BYTES:
                held = ""
        held = f"{held} {sentence}".strip() if held.isascii() else held + sentence
    if held:
        yield held


def _cut(sentence: str) -> Iterator[str]:
    """A sentence that is too long for a passage, wherever it has to be."""
    content, at = sentence.encode(), 0
    while len(content) - at > PASSAGE_BYTES:
        piece = content[at : at + PASSAGE_BYTES].decode(errors="ignore")
        yield piece
        at += len(piece.encode()) - len(_end(piece).encode())
    yield content[at:].decode()


def _end(text: str) -> str:
    return text.encode()[-OVERLAP_BYTES:].decode(errors="ignore")
