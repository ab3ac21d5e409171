"""More text than an engine can cut into tokens in time does not reach one, whatever it was asked through."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sealwright_appliance.serve.engine import Abilities
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.text_room import TOKEN_BYTES, UNCUT_BYTES, require_room, text_bytes
from sealwright_policies.outflow import OutflowPolicy
from sealwright_testing.gateway_scene import AUTHORIZED, scene

LARGE = 1_000_000
OPEN = OutflowPolicy(embeddings=True)
QUESTION = "What is metformin and when is it given? "


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def refused(request: dict[str, Any], *, context: int = LARGE, bpe: bool = True) -> ApiError:
    with pytest.raises(ApiError) as caught:
        require_room(request, Abilities(tools=True, width=8, context=context, bpe=bpe))
    return caught.value


@pytest.mark.parametrize(
    ("request_", "param", "sizes"),
    [
        ({"messages": chat("€!")}, "messages", [len("rolecontentuser") + 4]),
        ({"messages": [], "tools": [{"a": {"const": "好"}, "n": 7}]}, "messages", [len("aconstn") + 3]),
        ({"prompt": ["ab", "c"]}, "prompt", [2, 1]),
        ({"input": ["ab", "c"]}, "input", [2, 1]),
        ({"content": "abc", "add_special": True}, "prompt", [3]),
    ],
    ids=["chat", "tools", "texts", "embeddings", "count"],
)
def test_every_kind_of_request_is_measured(request_: dict[str, Any], param: str, sizes: list[int]) -> None:
    assert text_bytes(request_) == (param, sizes)


@pytest.mark.parametrize("kind", ["prompt", "input"])
def test_the_context_bounds_each_text_and_the_vocabulary_all_of_them(kind: str) -> None:
    text = "a" * 10 * TOKEN_BYTES
    require_room({kind: [text, text]}, Abilities(tools=False, width=8, context=10, bpe=True))
    error = refused({kind: [text + "a"]}, context=10)
    assert (error.status, error.code, error.param) == (400, "context_length_exceeded", kind)
    assert str(10 * TOKEN_BYTES) in error.message
    assert str(10 * TOKEN_BYTES + 1) in error.message
    half = "b" * (UNCUT_BYTES // 2)
    require_room({kind: [half, half]}, Abilities(tools=False, width=8, context=LARGE, bpe=False))
    assert str(UNCUT_BYTES) in refused({kind: [half, half, "b"]}, bpe=False).message
    require_room({kind: [half, half, "b"]}, Abilities(tools=False, width=8, context=LARGE, bpe=True))


ASKED = [
    ("/v1/chat/completions", {"messages": chat(QUESTION * 4000)}),
    ("/v1/chat/completions", {"messages": chat(QUESTION * 4000), "stream": True}),
    ("/v1/chat/completions", {"messages": [{"role": "tool", "tool_call_id": "1", "content": QUESTION * 4000}]}),
    ("/v1/completions", {"prompt": QUESTION * 4000}),
    ("/v1/completions", {"prompt": [QUESTION * 2000] * 2, "stream": True}),
    ("/v1/responses", {"input": QUESTION * 4000}),
    ("/v1/embeddings", {"input": [QUESTION * 2000] * 2}),
    ("/v1/tokenize", {"prompt": QUESTION * 4000}),
    ("/v1/tokenize", {"messages": chat(QUESTION * 4000)}),
]


@pytest.mark.parametrize(("path", "body"), ASKED)
def test_no_address_of_the_api_lets_more_through(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    async def run() -> None:
        async with scene(tmp_path, policy=OPEN) as box:
            box.engine.context, box.engine.bpe = LARGE, False
            reply = await box.client.post(path, json={"model": "medical"} | body, headers=AUTHORIZED)
            assert (reply.status_code, reply.json()["error"]["code"]) == (400, "context_length_exceeded")
            assert not box.engine.asked
        async with scene(tmp_path, policy=OPEN) as box:
            box.engine.context = LARGE
            assert (await box.chat(messages=chat(QUESTION * 4000))).is_success

    asyncio.run(run())
