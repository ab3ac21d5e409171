"""What is checked of a catalogue of texts and of the templates that show them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from string import Formatter

_OUR_NAME = "Sealwright"


def require_same(english: Mapping[str, str], chinese: Mapping[str, str]) -> None:
    """Both say everything, with the same places for values."""
    assert set(english) == set(chinese)
    assert all(text.strip() for texts in (english, chinese) for text in texts.values())
    assert {key: _places(text) for key, text in english.items()} == {
        key: _places(text) for key, text in chinese.items()
    }


def not_chinese(chinese: Mapping[str, str]) -> set[str]:
    """Keys of texts without a Chinese character."""
    return {key for key, text in chinese.items() if not re.search("[一-鿿]", text)}


def own_words(template: Path) -> list[str]:
    """Words that stand in a template itself: between tags, or in attributes that are shown or read out."""
    text = re.sub(r"\{[{%#].*?[}%#]\}", " ", template.read_text(), flags=re.DOTALL)
    shown = re.findall(r"\b(?:title|alt|aria-label|placeholder)=\"([^\"]*)\"", text)
    shown.append(re.sub(r"<[^>]*>", " ", text))
    return re.findall(r"[^\W\d_]+", " ".join(shown).replace(_OUR_NAME, ""))


def _places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}
