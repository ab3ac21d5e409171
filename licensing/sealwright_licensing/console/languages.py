"""The languages of the console: one catalogue each, no text elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path

_CATALOGUES = Path(__file__).parent / "messages"
LANGUAGE_COOKIE = "__Host-sealwright-language"


class Language(StrEnum):
    """By its tag (BCP 47), which is also the name of its catalogue."""

    ENGLISH = "en"
    CHINESE = "zh-Hans"


@cache
def catalogue(language: Language) -> Mapping[str, str]:
    """All texts of a language by their keys."""
    loaded: dict[str, str] = json.loads((_CATALOGUES / f"{language}.json").read_text("utf-8"))
    return loaded


def say(language: Language, key: str, **values: object) -> str:
    """A text, with values in its places."""
    return catalogue(language)[key].format(**values)


def word(language: Language, kind: str, value: object) -> str:
    """The word for a value of an open set; the value itself where the catalogue has none."""
    return catalogue(language).get(f"{kind}.{value}", str(value))


def values(kind: str) -> list[str]:
    """Of a set: those that have a word, in the order of the catalogue."""
    prefix = f"{kind}."
    return [key.removeprefix(prefix) for key in catalogue(Language.ENGLISH) if key.startswith(prefix)]


def cure(language: Language, code: str) -> str:
    """What to do about an error."""
    texts = catalogue(language)
    return texts.get(f"cure.{code}", texts["cure.else"])


def chosen_language(cookie: str | None, accepted: str) -> Language:
    """The language that somebody has chosen, or else the one that his browser likes best.

    Args:
        accepted: Accept-Language (RFC 9110, 12.5.4).
    """
    if cookie in set(Language):
        return Language(cookie)
    ranked = sorted(_ranges(accepted), key=lambda one: -one[1])
    for tag, weight in ranked:
        primary = tag.partition("-")[0]
        if weight > 0 and primary in ("en", "zh"):
            return Language.CHINESE if primary == "zh" else Language.ENGLISH
    return Language.ENGLISH


def _ranges(accepted: str) -> list[tuple[str, float]]:
    """Tags and weights; what cannot be read counts as not given."""
    found = []
    for part in accepted.lower().split(",")[:20]:
        tag, _, weight = part.strip().partition(";q=")
        try:
            found.append((tag.strip(), float(weight or 1)))
        except ValueError:
            continue
    return found
