"""A parser, for fuzzing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sealwright_policies.errors import SealwrightError


@dataclass(frozen=True, slots=True)
class Parser:
    """A parser as a function of bytes, and inputs to begin with."""

    name: str
    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    raises: type[Exception] = SealwrightError
    """Of the gateway's own parser: OpenAI's kind of error."""


def of_text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    """A parser of text as one of bytes."""
    return lambda data: parse(data.decode("utf-8", "replace"))
