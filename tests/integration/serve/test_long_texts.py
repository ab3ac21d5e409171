"""Long texts and a vocabulary of SentencePiece, for which an engine needs the square of their length."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealwright_appliance.serve.request_parts import BODY_LIMIT
from sealwright_appliance.serve.text_room import UNCUT_BYTES
from sealwright_testing.models.random_gguf import RandomShape, write_random_gguf
from sealwright_testing.serving import ServingBox, serving_box

QUESTION = "What is metformin and when is it given? "
AT_ONCE_S = 10.0
"""Longest time in which a refusal is one that no engine was asked for, on a busy machine."""

CUT_S = 60.0
"""Of a machine on which others run; 1.4 s of one processor."""


@pytest.fixture
def pieces(tmp_path: Path) -> Iterator[ServingBox]:
    """A gateway over a model whose vocabulary is SentencePiece's, and whose context holds more than it takes."""
    model = tmp_path / "pieces.gguf"
    shape = RandomShape(width=64, feed_forward=128, layers=1, heads=2, kv_heads=1, vocabulary=2000, context=8192)
    write_random_gguf(model, shape)
    with serving_box({"pieces": model}) as running:
        yield running


def bodies(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Requests with one text."""
    return [
        ("/v1/chat/completions", {"model": "pieces", "messages": [{"role": "user", "content": text}]}),
        ("/v1/completions", {"model": "pieces", "prompt": text}),
    ]


@pytest.mark.parametrize("unit", [QUESTION, "€!"])
def test_a_body_of_full_size_keeps_no_engine_busy(pieces: ServingBox, unit: str) -> None:
    """And the engine ends when it is told to."""
    room = BODY_LIMIT - 200
    text = unit * (room // len(unit.encode()))
    with pieces.http() as http:
        for path, body in bodies(text):
            content = json.dumps(body, ensure_ascii=False).encode()
            assert BODY_LIMIT - 1000 < len(content) <= BODY_LIMIT
            began = time.monotonic()
            reply = http.post(path, content=content)
            assert time.monotonic() - began < AT_ONCE_S
            assert (reply.status_code, reply.json()["error"]["code"]) == (400, "context_length_exceeded")
            assert str(UNCUT_BYTES) in reply.json()["error"]["message"]
    pieces.engines["pieces"].stop()


def test_the_longest_text_that_is_taken_is_cut_in_time(pieces: ServingBox) -> None:
    """It has too many tokens, says the engine, and ends when it is told to."""
    text = (QUESTION * UNCUT_BYTES)[: UNCUT_BYTES - len("rolecontentuser")]
    path, body = bodies(text)[0]
    with pieces.http() as http:
        began = time.monotonic()
        reply = http.post(path, json=body)
        assert time.monotonic() - began < CUT_S
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "context_length_exceeded")
        assert "tokens" in reply.json()["error"]["message"]
        body["messages"][0]["content"] += "!"
        assert str(UNCUT_BYTES + 1) in http.post(path, json=body).json()["error"]["message"]
    pieces.engines["pieces"].stop()
