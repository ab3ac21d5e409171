"""What ends an engine, and what does not: the longest text without a break, and what the gateway refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from sealwright_appliance.paths import Paths
from sealwright_appliance.serve.chat import parse_chat_request
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.unbroken import LONGEST_RUN, has_long_run
from sealwright_appliance.status import PayloadState, PayloadStatus
from sealwright_testing.engine_process import EngineProcess
from sealwright_testing.models.random_gguf import TOOL_TEMPLATE, RandomShape, write_random_gguf

PAYLOAD = PayloadStatus(
    payload_id="random", kind="model", domain="random", file_name="model.gguf", state=PayloadState.OPEN
)
CUT_BY_A_REGULAR_EXPRESSION = ("gpt-4o", "tekken", "deepseek-llm", "deepseek-v3")
"""Names of tokenizers for which llama.cpp has no code of its own."""
TINY = RandomShape(width=64, feed_forward=128, layers=1, heads=2, kv_heads=1, vocabulary=300)
KINDS = ("a", "A", "7", "!", " ", "\n", "好", "😀", "e\u0301", "€!", "！€", "€.\u0301")


Place = tuple[Paths, Path]


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A box's places, under a name that leaves room for that of a socket, and where the model would be."""
    paths = Paths(root=tmp_path_factory.mktemp("e"), gateway_group=None, agent_user=None)
    model = paths.payloads / "random/model.gguf"
    model.parent.mkdir(parents=True)
    return paths, model


@pytest.mark.parametrize("tokenizer", CUT_BY_A_REGULAR_EXPRESSION)
def test_the_longest_text_without_a_break_does_not_end_an_engine(place: Place, tokenizer: str) -> None:
    """Two runs in a row may be one piece. With 32 768 characters each of these engines ends by SIGSEGV."""
    paths, model = place
    write_random_gguf(model, dataclasses.replace(TINY, cut=tokenizer))
    runs = [(kind * LONGEST_RUN)[:LONGEST_RUN] for kind in KINDS]
    assert not any(map(has_long_run, runs))
    engine = EngineProcess(paths, PAYLOAD)
    with engine, engine.client() as client:
        for one in runs:
            for other in (*runs, "."):
                reply = client.post("/tokenize", json={"content": f"What is {one}{other}?"})
                assert reply.status_code == httpx.codes.OK, (one[:2], other[:2])


def escaped(times: int) -> dict[str, Any]:
    """A call whose argument is letters without a break, and has a break every six characters as it is sent."""
    function = {"name": "paint", "arguments": '{"a": "' + r"\u0061" * times + '"}'}
    call = {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "type": "function", "function": function}]}
    return {"messages": [call, {"role": "tool", "tool_call_id": "1", "content": "painted"}]}


def circle() -> dict[str, Any]:
    """A schema that llama.cpp follows until its stack is full."""
    schema = {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/a"}}}
    shape = {"type": "json_schema", "json_schema": {"schema": schema}}
    return {"messages": [{"role": "user", "content": "paint"}], "response_format": shape}


@pytest.mark.parametrize("asked", [escaped(40_000), circle()], ids=["escapes", "a circle"])
def test_what_ends_an_engine_is_refused_before_one_sees_it(place: Place, asked: dict[str, Any]) -> None:
    """Sent to the engine itself, it ends it; so what the gateway refuses is refused for a reason."""
    paths, model = place
    write_random_gguf(model, dataclasses.replace(TINY, cut="gpt-4o", template=TOOL_TEMPLATE))
    engine = EngineProcess(paths, PAYLOAD)
    with pytest.raises(ApiError):
        parse_chat_request(json.dumps({"model": "m"} | asked).encode())
    allowed = parse_chat_request(json.dumps({"model": "m"} | escaped(LONGEST_RUN)).encode()).for_count()
    with engine, engine.client() as client:
        assert client.post("/apply-template", json=allowed).json()["prompt"].count("a" * LONGEST_RUN) == 1
        assert client.post("/v1/chat/completions", json=allowed | {"max_tokens": 1}).status_code in {200, 400}
        with pytest.raises(httpx.TransportError):
            client.post("/v1/chat/completions", json=asked | {"max_tokens": 1})
        assert engine.process is not None
        assert engine.process.wait(30) < 0
        engine.kill()
