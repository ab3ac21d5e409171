"""What is looked up of a question, and under which words a passage is found.

SQLite's trigrams find any three characters, so parts of words as well, in every language. What is shorter they miss,
and most words of Chinese have two characters: so a second index has whole words, and all pairs of Chinese characters.
A change here is another schema (:mod:`.store`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

QUESTION_MOST = 4096
"""Characters of a question that are looked at."""
TERMS_MOST = 64
"""Of each index; a question is rarely longer."""
_CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u3040-\u30ff"
_WORDS = re.compile(f"[{_CJK}]+|[^\\W{_CJK}]+")
_IS_CJK = re.compile(f"[{_CJK}]")
GRAM = 3


def folded(text: str) -> str:
    """Full-width forms as the plain ones, capitals as small letters; white space stays."""
    return unicodedata.normalize("NFKC", text).casefold()


def words_of(text: str) -> str:
    """Whole words and pairs of Chinese characters of a passage, with spaces between."""
    return " ".join(term for run in _WORDS.findall(folded(text)) for term in _words(run))


def question_words(question: str) -> str:
    """A query of the index of words; empty if there is nothing to look up."""
    return _any(term for run in _WORDS.findall(folded(question[:QUESTION_MOST])) for term in _words(run))


def question_trigrams(question: str) -> str:
    """A query of the index of trigrams: words that are long enough, Chinese by three characters each."""
    found = []
    for run in _WORDS.findall(folded(question[:QUESTION_MOST])):
        if _IS_CJK.match(run):
            found += [run[at : at + GRAM] for at in range(len(run) - GRAM + 1)]
        elif len(run) >= GRAM:
            found.append(run)
    return _any(found)


def _words(run: str) -> list[str]:
    if not _IS_CJK.match(run) or len(run) < 2:
        return [run]
    return [run[at : at + 2] for at in range(len(run) - 1)]


def _any(terms: Iterable[str]) -> str:
    """A query of FTS5: any of these. They are letters and digits, so nothing has to be escaped between the quotes."""
    return " OR ".join(f'"{term}"' for term in list(dict.fromkeys(terms))[:TERMS_MOST])
