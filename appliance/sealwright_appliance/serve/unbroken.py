"""Texts without a break, which end an engine: refused before one sees them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sealwright_appliance.serve.errors import ApiError

LONGEST_RUN = 4096
"""Characters of one kind that may follow each other. For the tokenizers of GPT-4o, Mistral, DeepSeek and others
llama.cpp cuts a text with std::regex, which calls itself for each character of a piece: 32 000 letters overran
llama-server's stack and ended it, 16 000 did not. Two neighbouring runs may be one piece."""
_PUNCTUATION = r"!-/:-@\[-`{-~\u2010-\u2027\u3001-\u3011\uff01-\uff0f\uff1a-\uff20"
_RUNS = (
    re.compile(rf"[^\s{_PUNCTUATION}]+|[{_PUNCTUATION}]+|\s+"),
    re.compile(r"(?:[^\w\s]|_)+"),
)
"""Of one kind: a word, punctuation marks, or white space; and signs of all sorts, marks and symbols mixed, of which
those tokenizers make one piece too (``[^\\s\\p{L}\\p{N}]+``)."""


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
            f"{param}: over {LONGEST_RUN} characters of one kind in a row: of words, of signs, or white space.",
            param=param,
        )


def has_long_run(text: str, longest: int = LONGEST_RUN) -> bool:
    """Whether over ``longest`` characters of one kind follow each other; in time linear in the text.

    Such a run has a place that is a multiple of ``longest``, so only the runs at those places are measured.
    """
    backwards = text[::-1] if len(text) > longest else ""
    return any(
        _reach(run, text, place) + _reach(run, backwards, len(text) - 1 - place) - 1 > longest
        for place in range(0, len(backwards), longest)
        for run in _RUNS
    )


def _reach(run: re.Pattern[str], text: str, place: int) -> int:
    """Characters of the run from a place on, to its right."""
    found = run.match(text, place)
    return found.end() - place if found else 0
