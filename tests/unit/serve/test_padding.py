"""Each piece of a reply has a size that is the same for many contents, and its content is untouched."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from sealwright_appliance.serve.padding import padded_document, padded_events

TEXTS = st.lists(st.text(max_size=300), min_size=1, max_size=4)


def events_of(texts: list[str]) -> bytes:
    return b"".join(b"data: " + json.dumps(text).encode() + b"\n\n" for text in texts)


def read(events: bytes) -> list[str]:
    """As OpenAI's client reads them."""
    return [json.loads(event.data) for event in SSEDecoder().iter_bytes(iter([events]))]


@given(TEXTS, st.sampled_from([256, 512, 1024]))
def test_every_event_has_a_multiple_of_the_step_and_its_data(texts: list[str], step: int) -> None:
    padded = padded_events(events_of(texts), step)
    sizes = [len(event) + 2 for event in padded.split(b"\n\n")[:-1]]
    assert len(sizes) == len(texts)
    assert all(size % step == 0 for size in sizes)
    assert read(padded) == texts


@pytest.mark.parametrize("length", range(0, 200, 7))
def test_tokens_of_any_usual_length_look_alike(length: int) -> None:
    assert len(padded_events(events_of(["x" * length]), 256)) == 256


def test_without_a_step_nothing_changes() -> None:
    assert padded_events(b"data: 1\n\n", 0) == b"data: 1\n\n"
    assert padded_document(b"{}", 0) == b"{}"


def test_a_document_is_the_same_behind_its_padding() -> None:
    padded = padded_document(b'{"a": 1}', 256)
    assert len(padded) == 256
    assert json.loads(padded) == {"a": 1}
