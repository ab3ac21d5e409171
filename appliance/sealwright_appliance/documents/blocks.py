"""Text as a document's reader finds it: paragraphs with their places, cleaned and bounded."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sealwright_appliance.documents.refusals import DocumentCode, DocumentError

TEXT_BYTES_MOST = 4 * 1024 * 1024
"""Of one document's text, in UTF-8."""
BLOCKS_MOST = 200_000
_NOT_SHOWN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\uffff\ud800-\uf8ff]"
)
"""Controls, marks that turn the direction of writing or cannot be seen, halves of characters, private use."""
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph."""

    text: str
    """With single spaces, and never empty."""
    page: int | None
    """From 1; None where a format has no pages."""
    paragraph: int
    """From 1; within its page, if there are pages."""


class Blocks:
    """Collects paragraphs."""

    def __init__(self) -> None:
        self.found: list[Block] = []
        self._room = TEXT_BYTES_MOST
        self._page: int | None = None
        self._paragraph = 0

    def begin_page(self, page: int) -> None:
        """What comes is on this page."""
        self._page, self._paragraph = page, 0

    def add(self, text: str) -> None:
        """Add a paragraph; one of white space alone is none.

        Raises:
            DocumentError: there is too much.
        """
        shown = _SPACES.sub(" ", _NOT_SHOWN.sub("", text)).strip()
        if not shown:
            return
        self._room -= len(shown.encode())
        self._paragraph += 1
        if self._room < 0 or len(self.found) >= BLOCKS_MOST:
            raise DocumentError(DocumentCode.TOO_MUCH_TEXT)
        self.found.append(Block(shown, self._page, self._paragraph))

    def whole(self) -> list[Block]:
        """All of them.

        Raises:
            DocumentError: there are none.
        """
        if not self.found:
            raise DocumentError(DocumentCode.NO_TEXT)
        return self.found
