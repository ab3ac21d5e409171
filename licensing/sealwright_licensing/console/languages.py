"""The console's texts: one catalogue for each language, no text elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sealwright_policies.languages import Language, read_catalogue

_CATALOGUES = Path(__file__).parent / "messages"


def catalogue(language: Language) -> Mapping[str, str]:
    """All texts of a language by their keys."""
    return read_catalogue(_CATALOGUES, language)


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
