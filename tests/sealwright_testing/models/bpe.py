"""Byte-level byte-pair encoding as GPT-2 does it: training, encoding, decoding.

Gives the very token ids that llama.cpp gives for ``tokenizer.ggml.model = gpt2`` with ``tokenizer.ggml.pre = gpt-2``:
text is cut into words by Unicode classes (letters, numbers, white space, the rest; GPT-2's regular expression), each
word's UTF-8 bytes are written as printable characters, and pairs are merged in the order in which training found them.
Standard library only: neither ``regex`` nor ``tokenizers`` is needed, in the training root or outside.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from operator import itemgetter

# Unicode's White_Space property; str.isspace() has four control characters more.
_WHITE_SPACE = frozenset("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | set(
    map(chr, range(0x2000, 0x200B))
)
_CONTRACTION = re.compile(r"'(?:s|t|re|ve|m|ll|d)")
# GPT-2's expression over one class letter per character: L letter, N number, P other, W white space, blank itself.
_WORD = re.compile(r" ?L+| ?N+| ?P+|[ W]+(?![LNP])|[ W]+")


def _printable_bytes() -> tuple[str, ...]:
    """GPT-2's alphabet: printable Latin-1 bytes stand for themselves, the others for characters from U+0100 on."""
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    shifted = iter(range(0x100, 0x200))
    return tuple(chr(byte) if byte in plain else chr(next(shifted)) for byte in range(256))


ALPHABET = _printable_bytes()
_BYTE_OF = {character: byte for byte, character in enumerate(ALPHABET)}


@lru_cache(maxsize=4096)
def _class_letter(character: str) -> str:
    if character in _WHITE_SPACE:
        return " " if character == " " else "W"
    category = unicodedata.category(character)[0]
    return category if category in "LN" else "P"


def split_words(text: str) -> list[str]:
    """Cut a text into the words inside which pairs may merge; joined they are the text again."""
    classes = "".join(map(_class_letter, text))
    words, position = [], 0
    while position < len(text):
        match = _CONTRACTION.match(text, position) or _WORD.match(classes, position)
        assert match is not None, "every class letter begins a word"
        words.append(text[position : match.end()])
        position = match.end()
    return words


def _spell(word: str) -> tuple[str, ...]:
    return tuple(ALPHABET[byte] for byte in word.encode("utf-8"))


def _merge(symbols: Sequence[str], pair: tuple[str, str]) -> tuple[str, ...]:
    merged, position = [], 0
    while position < len(symbols):
        if tuple(symbols[position : position + 2]) == pair:
            merged.append(pair[0] + pair[1])
            position += 2
        else:
            merged.append(symbols[position])
            position += 1
    return tuple(merged)


def train_merges(texts: Iterable[str], count: int) -> list[tuple[str, str]]:
    """Find up to ``count`` merges: again and again the most frequent pair of neighbours, ties in code-point order."""
    frequency = Counter(word for text in texts for word in split_words(text))
    words = [_spell(word) for word in frequency]
    weights = list(frequency.values())
    pairs: Counter[tuple[str, str]] = Counter()
    places: defaultdict[tuple[str, str], set[int]] = defaultdict(set)

    def account(index: int, sign: int) -> None:
        for pair in pairwise(words[index]):
            pairs[pair] += sign * weights[index]
            places[pair].add(index)
            if not pairs[pair]:
                del pairs[pair]

    for index in range(len(words)):
        account(index, 1)
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        best, frequency_of_best = max(pairs.items(), key=itemgetter(1, 0), default=(("", ""), 0))
        if frequency_of_best < 2:
            break
        merges.append(best)
        for index in places.pop(best):
            account(index, -1)
            words[index] = _merge(words[index], best)
            account(index, 1)
    return merges


class Tokenizer:
    """A vocabulary: special tokens first, then the 256 bytes, then what the merges make."""

    def __init__(self, specials: Sequence[str], merges: Sequence[tuple[str, str]]) -> None:
        self.specials = tuple(specials)
        self.merges = tuple(merges)
        # Two merges may make the same token; it has one id.
        self.tokens = tuple(dict.fromkeys((*self.specials, *ALPHABET, *(left + right for left, right in merges))))
        self._ids = {token: index for index, token in enumerate(self.tokens)}
        self._ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self._known_words: dict[str, tuple[int, ...]] = {}

    def id_of(self, token: str) -> int:
        """The id of a token by its spelling, for special tokens."""
        return self._ids[token]

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text; the names of special tokens mean nothing in it."""
        ids: list[int] = []
        for word in split_words(text):
            known = self._known_words.get(word)
            if known is None:
                known = self._known_words[word] = self._encode_word(word)
            ids += known
        return ids

    def _encode_word(self, word: str) -> tuple[int, ...]:
        symbols = list(_spell(word))
        while len(symbols) > 1:
            ranks = [self._ranks.get(pair, len(self.merges)) for pair in pairwise(symbols)]
            best = min(ranks)
            if best == len(self.merges):
                break
            left = ranks.index(best)
            symbols[left : left + 2] = [symbols[left] + symbols[left + 1]]
        return tuple(self._ids[symbol] for symbol in symbols)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids; special tokens are left out, broken UTF-8 becomes U+FFFD."""
        first_byte = len(self.specials)
        spelled = "".join(self.tokens[index] for index in ids if index >= first_byte)
        return bytes(_BYTE_OF[character] for character in spelled).decode("utf-8", errors="replace")
