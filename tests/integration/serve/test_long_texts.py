"""Long texts and a vocabulary of SentencePiece, for which an engine needs the square of their length."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sealwright_appliance.serve.request_parts import BODY_LIMIT
from sealwright_appliance.serve.text_room import UNCUT_BYTES
from sealwright_testing.models.random_gguf import RandomShape, write_random_gguf
from sealwright_testing.serving import ServingBox, serving_box

QUESTION = "What is metformin and when is it given? "


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


@contextmanager
def standing_still(box: ServingBox) -> Iterator[None]:
    """The engine answers nobody; what the gateway needs of it, it knows."""
    with box.http() as http:
        assert http.post("/v1/tokenize", json={"model": "pieces", "prompt": QUESTION}).status_code == 200
    process = box.engines["pieces"].process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    yield
    process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("unit", [QUESTION, "€! "])
def test_a_body_of_full_size_never_reaches_an_engine(pieces: ServingBox, unit: str) -> None:
    """Whose answer is not waited for."""
    room = BODY_LIMIT - 200
    text = unit * (room // len(unit.encode()))
    with standing_still(pieces), pieces.http() as http:
        for path, body in bodies(text):
            content = json.dumps(body, ensure_ascii=False).encode()
            assert BODY_LIMIT - 1000 < len(content) <= BODY_LIMIT
            reply = http.post(path, content=content)
            assert (reply.status_code, reply.json()["error"]["code"]) == (400, "context_length_exceeded")
            assert str(UNCUT_BYTES) in reply.json()["error"]["message"]
    pieces.engines["pieces"].stop()


def test_the_longest_text_that_is_taken_is_cut(pieces: ServingBox) -> None:
    """Before the client gives up. It has too many tokens, says the engine, and ends when it is told to."""
    text = (QUESTION * UNCUT_BYTES)[: UNCUT_BYTES - len("rolecontentuser")]
    path, body = bodies(text)[0]
    with pieces.http() as http:
        reply = http.post(path, json=body)
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "context_length_exceeded")
        assert "tokens" in reply.json()["error"]["message"]
        body["messages"][0]["content"] += "!"
        assert str(UNCUT_BYTES + 1) in http.post(path, json=body).json()["error"]["message"]
    pieces.engines["pieces"].stop()
