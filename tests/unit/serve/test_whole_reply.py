"""Whole replies are put together from streamed ones."""

from __future__ import annotations

import json
from typing import Any

from sealwright_appliance.serve.whole_reply import WholeReply

HEAD = {"id": "chatcmpl-1", "created": 7, "model": "medical", "system_fingerprint": "f"}


def event(*choices: dict[str, Any], usage: dict[str, int] | None = None) -> bytes:
    chunk = HEAD | {"object": "chat.completion.chunk", "choices": list(choices)} | ({"usage": usage} if usage else {})
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def part(index: int, reason: str | None = None, **delta: str | None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": reason}


def whole(*blocks: bytes) -> dict[str, Any]:
    reply = WholeReply()
    for block in blocks:
        reply.add(block)
    document: dict[str, Any] = json.loads(reply.document())
    return document


def test_text_reason_and_usage_are_those_of_the_stream() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    reply = whole(
        event(part(0, role="assistant", content=None)) + event(part(0, content="高")),
        b": ping\n\n" + event(part(0, content="血压\n\n")),
        event(part(0, "stop")) + event(usage=usage) + b"data: [DONE]\n\n",
    )
    message = {"role": "assistant", "content": "高血压\n\n"}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    assert reply == HEAD | {"object": "chat.completion", "choices": [choice], "usage": usage}


def test_choices_are_told_apart_and_their_tokens_added() -> None:
    """They share one prompt."""
    reply = whole(
        event(part(1, content="b")),
        event(part(0, content="a")),
        event(part(1, "stop")) + event(usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}),
        event(part(0, "length")) + event(usage={"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}),
    )
    assert [(c["message"]["content"], c["finish_reason"]) for c in reply["choices"]] == [("a", "length"), ("b", "stop")]
    assert reply["usage"] == {"prompt_tokens": 3, "completion_tokens": 6, "total_tokens": 9}


def test_what_a_reasoning_model_thinks_stays_apart() -> None:
    reply = whole(event(part(0, reasoning_content="hm")), event(part(0, reasoning_content=" so", content="yes")))
    assert reply["choices"][0]["message"] == {"role": "assistant", "content": "yes", "reasoning_content": "hm so"}


def test_a_call_is_put_together_from_its_pieces() -> None:
    """The first has the name; nothing was said besides."""

    def piece(index: int, arguments: str, **more: Any) -> dict[str, Any]:
        name = {"name": more.pop("name")} if "name" in more else {}
        call = {"index": index, "function": {"arguments": arguments} | name} | more
        return {"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}

    reply = whole(
        event(piece(0, "{", name="paint", id="1", type="function")) + event(piece(0, '"a":1}')),
        event(piece(1, "{}", name="clock", id="2", type="function")) + event(part(0, "tool_calls")),
    )
    (choice,) = reply["choices"]
    assert choice["finish_reason"] == "tool_calls"
    calls = [("1", "paint", '{"a":1}'), ("2", "clock", "{}")]
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": one, "type": "function", "function": {"name": name, "arguments": said}} for one, name, said in calls
        ],
    }
