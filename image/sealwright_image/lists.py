"""The text lists of image/mkosi: words, one or more to a line, with comments from ``#`` at the start of a line."""

from __future__ import annotations


def parse_list(text: str) -> tuple[str, ...]:
    """All words in order."""
    return tuple(word for line in text.splitlines() if not line.startswith("#") for word in line.split())
