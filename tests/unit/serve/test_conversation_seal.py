"""What is kept is sealed under an API key: no other opens it, nor takes it for another part or conversation."""

from __future__ import annotations

import pytest

from sealwright_appliance.serve.conversation_seal import CONTENT, TITLE, ConversationSeal
from sealwright_policies.errors import FormatError

KEY, OTHER = "sw-" + "A" * 43, "sw-" + "B" * 43
ID, ID2 = "1a" * 16, "1b" * 16
TEXT = "高血压 and metformin".encode()


def test_the_same_key_opens_what_it_has_sealed() -> None:
    sealed = ConversationSeal(KEY).seal(ID, CONTENT, TEXT)
    assert TEXT not in sealed
    assert ConversationSeal(KEY).open(ID, CONTENT, sealed) == TEXT
    assert ConversationSeal(KEY).seal(ID, CONTENT, TEXT) != sealed


@pytest.mark.parametrize(("key", "name", "part"), [(OTHER, ID, CONTENT), (KEY, ID2, CONTENT), (KEY, ID, TITLE)])
def test_nothing_else_does(key: str, name: str, part: bytes) -> None:
    sealed = ConversationSeal(KEY).seal(ID, CONTENT, TEXT)
    with pytest.raises(FormatError):
        ConversationSeal(key).open(name, part, sealed)


def test_what_was_changed_or_cut_is_refused() -> None:
    sealed = ConversationSeal(KEY).seal(ID, CONTENT, TEXT)
    for changed in (b"", sealed[:5], sealed[:12], sealed[:-1], sealed + b"x", bytes([sealed[0] ^ 1]) + sealed[1:]):
        with pytest.raises(FormatError):
            ConversationSeal(KEY).open(ID, CONTENT, changed)


def test_by_its_owner_nobody_finds_a_key() -> None:
    """Neither the key itself nor the hash that the box knows it by leads there; values of the specification."""
    assert ConversationSeal(KEY).owner == "14abb11e6d134c19d8c48479d6b472f0099b1ef5a3c0e9dc9d5393b777fa67d6"
    assert ConversationSeal(OTHER).owner != ConversationSeal(KEY).owner
