"""What is remembered of prompts: keyed hashes of their pieces, in filters of fixed size. Nothing can be read back.

The key is drawn by the gateway at its start and is in its memory alone. Text is cut into words, and where
a script has no spaces into single characters.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

KEY_BYTES = 16
PHRASE = 4
"""A piece ends behind one word in so many, which its checksum says (a power of two)."""
PHRASE_LEAST, PHRASE_MOST = 3, 8
COMPARED = 16_384
"""Characters of a request whose pieces are compared, of the latest turns first. What is left out makes no difference
but to the length of what is new: a request that is new as a whole has a new word in any case."""
BACK = 512
"""Characters of the last message in which its last words are looked for."""
TAILS = (1, 2, 3)
"""Words without which a prompt is compared with others."""
SHORT = max(TAILS)
STEM_WORDS = 16
LONG = 96
"""From so many words, or characters of earlier turns, on a beginning is long."""
OWN_WORDS = 8
"""So many words of the last message are in it then, unless the message as a whole is the tail."""
FILTER_BITS = 19
"""Binary logarithm of the size of a filter."""
PLACES = 6
DIGEST = 16
"""Bytes; more than 19 bits for each place."""
PIECES_KNOWN = 2**16
"""Pieces of one generation: 8 bits each, of new ones one in 40 is taken for known."""
PROMPTS_KNOWN = 2**14
"""Prompts and beginnings of one generation: 32 bits each, of new ones one in 40 000."""
_PIECE = re.compile(r"[A-Za-z0-9]+|[^\sA-Za-z0-9]")


@dataclass(frozen=True, slots=True)
class PromptFeatures:
    """One prompt against those before it; numbers only."""

    new_words: int
    """In pieces that were not seen before, of all turns: the client writes them all, the model's too. One at least if
    the request as a whole was not."""
    sweeps: bool
    """New, and but for its last words the same as an earlier one behind a long beginning."""


class _Filter:
    """A Bloom filter in two generations: what is oldest is forgotten, and it never fills up."""

    def __init__(self, most: int) -> None:
        self._most, self._count = most, 0
        self._new, self._old = bytearray(2**FILTER_BITS // 8), bytearray(2**FILTER_BITS // 8)

    def add(self, digest: bytes) -> bool:
        """Remember; whether it was known."""
        places = _places(digest)
        is_new = not _holds(self._new, places)
        known = not is_new or _holds(self._old, places)
        if is_new:
            if self._count >= self._most:
                self._new, self._old, self._count = bytearray(len(self._new)), self._new, 0
            for place in places:
                self._new[place >> 3] |= 1 << (place & 7)
            self._count += 1
        return known

    def has(self, digest: bytes) -> bool:
        """Whether it was known."""
        places = _places(digest)
        return _holds(self._new, places) or _holds(self._old, places)


@dataclass(slots=True)
class PromptMemory:
    """What is remembered of the prompts of one key to one model: 256 KiB."""

    secret: bytes = field(repr=False)
    _pieces: _Filter = field(default_factory=lambda: _Filter(PIECES_KNOWN), repr=False)
    _prompts: _Filter = field(default_factory=lambda: _Filter(PROMPTS_KNOWN), repr=False)

    def compare(self, messages: Sequence[tuple[str, str]]) -> PromptFeatures:
        """Compare a conversation with what is remembered, and remember it.

        Args:
            messages: role and text of each turn.
        """
        role, last = messages[-1]
        left, new_words = COMPARED, 0
        for _, text in reversed(messages):
            if not self._prompts.add(self._digest([text])):
                new_words += self._words_of_new_pieces(text[:left])
                left -= min(left, len(text))
        is_new, is_stem_known = self._seen([*messages[:-1], (role, "")], last)
        return PromptFeatures(new_words=max(new_words, int(is_new)), sweeps=is_new and is_stem_known)

    def _words_of_new_pieces(self, text: str) -> int:
        return sum(len(piece) for piece in _phrases(_PIECE.findall(text)) if not self._pieces.add(self._digest(piece)))

    def _seen(self, before: Sequence[tuple[str, str]], last: str) -> tuple[bool, bool]:
        """Whether the prompt is new, and whether it is known but for its last words; remembers it."""
        head = hashlib.blake2b(key=self.secret, digest_size=DIGEST)
        length = 0
        for role, text in before:
            head.update(f"{role}\0{text}\0".encode("utf-8", "surrogatepass"))
            length += len(text)
        at = max(0, len(last) - BACK)
        ends = [match.end() for match in _PIECE.finditer(last, at)]
        whole, stems = self._after(head, last), set()
        for tail in TAILS:
            own = len(ends) - tail
            has_own_beginning = own >= STEM_WORDS or at > 0
            is_short_tail = own >= OWN_WORDS or (own >= 0 and len(ends) <= SHORT)
            if has_own_beginning or (length >= LONG and is_short_tail):
                stems.add(self._after(head, last[: ends[own - 1] if own > 0 else at]))
        is_new = not self._prompts.has(whole)
        known = [self._prompts.add(stem) for stem in stems]
        self._prompts.add(whole)
        return is_new, True in known

    @staticmethod
    def _after(head: hashlib.blake2b, text: str) -> bytes:
        made = head.copy()
        made.update(text.encode("utf-8", "surrogatepass"))
        return made.digest()

    def _digest(self, words: Sequence[str]) -> bytes:
        text = "\0".join(words).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self.secret, digest_size=DIGEST).digest()


def _places(digest: bytes) -> list[int]:
    number, mask = int.from_bytes(digest, "big"), 2**FILTER_BITS - 1
    return [number >> FILTER_BITS * at & mask for at in range(PLACES)]


def _holds(bits: bytearray, places: Sequence[int]) -> bool:
    return all(bits[place >> 3] >> (place & 7) & 1 for place in places)


def _phrases(words: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut where the words say so, so that what stands before a phrase does not change it."""
    begin = 0
    for at, word in enumerate(words, 1):
        length = at - begin
        ends_here = length >= PHRASE_LEAST and zlib.crc32(word.encode("utf-8", "surrogatepass")) % PHRASE == 0
        if ends_here or length == PHRASE_MOST or at == len(words):
            yield words[begin:at]
            begin = at
