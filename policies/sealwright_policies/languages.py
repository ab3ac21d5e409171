"""The languages of pages: which one somebody gets, and the catalogues that hold all their texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path

LANGUAGE_COOKIE = "__Host-sealwright-language"
MOST_RANGES = 20


class Language(StrEnum):
    """By its tag (BCP 47), which is also the name of its catalogue."""

    ENGLISH = "en"
    CHINESE = "zh-Hans"


@cache
def read_catalogue(folder: Path, language: Language) -> Mapping[str, str]:
    """All texts of a language by their keys, from ``LANGUAGE.json`` in the folder of catalogues."""
    loaded: dict[str, str] = json.loads((folder / f"{language}.json").read_text("utf-8"))
    return loaded


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
    for part in accepted.lower().split(",")[:MOST_RANGES]:
        tag, _, weight = part.strip().partition(";q=")
        try:
            found.append((tag.strip(), float(weight or 1)))
        except ValueError:
            continue
    return found
