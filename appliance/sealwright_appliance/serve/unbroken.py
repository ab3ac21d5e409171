"""Texts without a break, which engines cannot cut: refused before one sees them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sealwright_appliance.serve.errors import ApiError

LONGEST_RUN = 32_768
"""Characters of one text without a break. Engines cut a text there before they look for tokens, and the search in a
piece takes the square of its length: one of 760 000 letters kept llama-server busy past its own end."""
_PUNCTUATION = r"!-/:-@\[-`{-~\u2010-\u2027\u3001-\u3011\uff01-\uff0f\uff1a-\uff20"
_RUN = re.compile(rf"[^\s{_PUNCTUATION}]+|[{_PUNCTUATION}]+|\s+")
"""Of one kind: a word, punctuation marks, or white space."""


def require_breaks(texts: Iterable[str], param: str) -> None:
    """Refuse a text without a break.

    Args:
        texts: everything that the model reads.
        param: where they come from, for the error.

    Raises:
        ApiError: 400.
    """
    if any(has_long_run(text) for text in texts):
        raise ApiError(
            400,
            "text_unbroken",
            f"{param}: over {LONGEST_RUN} characters without a space or a punctuation mark.",
            param=param,
        )


def has_long_run(text: str, longest: int = LONGEST_RUN) -> bool:
    """Whether over ``longest`` characters of one kind follow each other; in time linear in the text.

    Such a run has a place that is a multiple of ``longest``, so only the runs at those places are measured.
    """
    backwards = text[::-1] if len(text) > longest else ""
    return any(
        _reach(text, place) + _reach(backwards, len(text) - 1 - place) - 1 > longest
        for place in range(0, len(backwards), longest)
    )


def _reach(text: str, place: int) -> int:
    """Characters of the run from a place on, to its right."""
    found = _RUN.match(text, place)
    return found.end() - place if found else 0
