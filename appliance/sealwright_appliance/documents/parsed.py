"""What a parser says of a file: a refusal, or its paragraphs. No pydantic: it is half of a start."""

from __future__ import annotations

import json
from typing import Any

from sealwright_appliance.documents.blocks import BLOCKS_MOST, TEXT_BYTES_MOST, Block, Blocks
from sealwright_appliance.documents.refusals import DocumentCode, DocumentError

PARSED_LIMIT = 2 * TEXT_BYTES_MOST + 32 * BLOCKS_MOST
"""Bytes: text of which every character is escaped, and a frame for each paragraph."""


def parse_parsed(content: bytes) -> list[Block]:
    """What a parser says.

    It has read a file of strangers, so nothing of it is believed: text is cleaned and bounded anew.

    Raises:
        DocumentError: what it refuses the file for, or that it does not answer as it should.
    """
    try:
        said: Any = json.loads(content)
        if isinstance(said, str):
            raise DocumentError(DocumentCode(said))
        blocks = Blocks()
        last: int | None = None
        for page, text in said:
            if type(page) is not int or not isinstance(text, str) or page < 0:
                raise DocumentError(DocumentCode.DAMAGED)
            if page and page != last:
                blocks.begin_page(page)
            last = page
            blocks.add(text)
        return blocks.whole()
    except (ValueError, TypeError, RecursionError):
        raise DocumentError(DocumentCode.DAMAGED) from None


def parsed_bytes(blocks: list[Block]) -> bytes:
    """What a parser says of a file that it could read: a list of pages, 0 where there are none, and paragraphs."""
    return json.dumps([[block.page or 0, block.text] for block in blocks], ensure_ascii=False).encode()
