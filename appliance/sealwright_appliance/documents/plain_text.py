"""Plain text and Markdown, which is kept as it is written."""

from __future__ import annotations

import re

from sealwright_appliance.documents.blocks import Block, Blocks
from sealwright_appliance.documents.refusals import DocumentCode, DocumentError

BETWEEN = re.compile(r"\n[^\S\n]*\n")
"""Paragraphs."""


def parse_plain_text(content: bytes) -> list[Block]:
    """Paragraphs, which blank lines part.

    Raises:
        DocumentError: it is not UTF-8, or has no text or too much.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DocumentError(DocumentCode.NOT_UTF8) from None
    if "\0" in text:
        raise DocumentError(DocumentCode.OTHER_CONTENT)
    blocks = Blocks()
    for paragraph in BETWEEN.split(text.replace("\r\n", "\n").replace("\r", "\n")):
        blocks.add(paragraph)
    return blocks.whole()
