"""The byte-level tokenizer; that llama.cpp splits the same way is checked against llama-server (``parity``)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_testing.models import bpe

_TEXTS = ["the thin man thinks", "then the other thing", "高血压是什么？", "高血压怎么办？", "it's 140/90 mmHg"]
_TOKENIZER = bpe.Tokenizer(("<|bos|>", "<|eos|>"), bpe.train_merges(_TEXTS * 3, 60))
# Any text that UTF-8 can carry: lone surrogates cannot come over the API.
_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(_TEXT)
def test_decoding_undoes_encoding(text: str) -> None:
    """Any text comes back unchanged, whatever its script."""
    assert _TOKENIZER.decode(_TOKENIZER.encode(text)) == text


@given(_TEXT)
def test_words_are_a_partition_of_the_text(text: str) -> None:
    """Cutting loses and adds nothing, and no word is empty."""
    words = bpe.split_words(text)
    assert "".join(words) == text
    assert all(words)


@given(_TEXT)
def test_plain_text_never_gives_a_special_token(text: str) -> None:
    """A customer cannot write a control token by spelling its name."""
    assert all(index >= len(_TOKENIZER.specials) for index in _TOKENIZER.encode(text + "<|eos|>"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("it's we've I'LL", ["it", "'s", " we", "'ve", " I", "'", "LL"]),
        ("a  b", ["a", " ", " b"]),
        ("end  ", ["end", "  "]),
        ("x\n\ny", ["x", "\n", "\n", "y"]),
        ("140/90 mmHg", ["140", "/", "90", " mm" + "Hg"]),
        ("高血压？ 不", ["高血压", "？", " 不"]),
        ("½ Ⅻ", ["½", " Ⅻ"]),
        ("e\u0301", ["e", "\u0301"]),
        ("a\x1cb", ["a", "\x1c", "b"]),
    ],
)
def test_words_are_cut_as_by_gpt2(text: str, words: list[str]) -> None:
    """Contractions in small letters, one leading blank, letters, numbers and the rest apart; marks are no letters."""
    assert bpe.split_words(text) == words


def test_merges_take_the_most_frequent_pair_first() -> None:
    """``th`` before anything rarer, and the same result on every run."""
    merges = bpe.train_merges(["th th th", "xy"], 10)
    assert merges[0] == ("t", "h")
    assert ("x", "y") not in merges
    assert merges == bpe.train_merges(["th th th", "xy"], 10)


def test_every_token_has_one_id() -> None:
    """Two merges that make the same token must not give it two ids."""
    tokenizer = bpe.Tokenizer((), [("a", "b"), ("ab", "c"), ("b", "c"), ("a", "bc")])
    assert len(set(tokenizer.tokens)) == len(tokenizer.tokens) == 256 + 3
    assert tokenizer.decode(tokenizer.encode("abc")) == "abc"


def test_frequent_words_become_short() -> None:
    """Merging works at all: a trained word takes fewer tokens than bytes."""
    assert len(_TOKENIZER.encode("the")) < 3
    assert len(_TOKENIZER.encode("高血压")) < 9
