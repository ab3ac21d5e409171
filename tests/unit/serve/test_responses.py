"""The Responses API: its requests become chats, and the events of chats become its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from sealwright_appliance.serve.chat import ChatRequest
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.messages import CALLS_MOST
from sealwright_appliance.serve.response_events import ResponseReply
from sealwright_appliance.serve.responses import ITEMS_MOST, ResponseRequest, parse_response_request

ASKED: dict[str, Any] = {"model": "medical", "input": "hello"}
CALL = {"type": "function_call", "call_id": "1", "name": "clock", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "1", "output": "noon"}
TOOL = {"type": "function", "name": "clock", "parameters": {"type": "object"}, "strict": True}


def parsed(**change: Any) -> tuple[ResponseRequest, ChatRequest]:
    return parse_response_request(json.dumps(ASKED | change).encode())


def turns(**change: Any) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = parsed(**change)[1].for_engine(8)["messages"]
    return messages


def refusal(**change: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parsed(**change)
    assert caught.value.status == 400
    return caught.value


def test_items_become_turns() -> None:
    """Instructions first; calls that follow each other or a turn of the model are one turn with it."""
    said = {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
            "content": [{"type": "output_text", "text": "let me see", "annotations": [], "logprobs": []}]}  # fmt: skip
    parts = [{"type": "input_text", "text": "what "}, {"type": "input_text", "text": "time?"}]
    talk = [{"role": "user", "content": parts}, said, CALL, CALL | {"call_id": "2"}, RESULT]
    call = {"type": "function", "function": {"name": "clock", "arguments": "{}"}}
    assert turns(input=talk, instructions="be brief") == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "what time?"},
        {"role": "assistant", "content": "let me see", "tool_calls": [{"id": "1"} | call, {"id": "2"} | call]},
        {"role": "tool", "content": "noon", "tool_call_id": "1"},
    ]


def test_options_become_those_of_chats() -> None:
    shape = {"type": "json_schema", "name": "x", "schema": {"type": "object"}, "strict": True}
    asked = parsed(tools=[TOOL], tool_choice={"type": "function", "name": "clock"}, temperature=0.73, user="x",
                   store=False, include=[], text={"format": shape}, max_output_tokens=5)[1]  # fmt: skip
    assert asked.for_engine(5) == {
        "model": "medical", "messages": [{"role": "user", "content": "hello"}], "temperature": 0.7, "stream": True,
        "stream_options": {"include_usage": True}, "max_tokens": 5, "tool_choice": "required",
        "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
        "tools": [{"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}],
    }  # fmt: skip
    assert parsed(tools=[])[1].tools is None


@pytest.mark.parametrize("name", ["previous_response_id", "conversation", "prompt"])
def test_what_openai_keeps_is_not_here(name: str) -> None:
    error = refusal(**{name: "canary"})
    assert (error.code, error.param) == ("unsupported_parameter", name)
    assert "canary" not in error.message


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"input": []}, "input"),
        ({"input": [RESULT] * (ITEMS_MOST + 1)}, "input"),
        ({"input": [CALL] * (CALLS_MOST + 1)}, "input"),
        ({"input": [CALL | {"arguments": "canary"}]}, "input"),
        ({"input": [{"type": "canary"}]}, "input.0"),
        ({"input": [{"type": 7}]}, "input.0"),
        ({"input": [7]}, "input.0"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "canary"}]}]}, None),
        ({"input": "a" * 40_000}, "input"),
        ({"tools": [TOOL, TOOL]}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "tools.0"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema", "schema": {"$ref": "canary"}}}}, None),
        ({"temperature": 3}, "temperature"),
        ({"logit_bias": {}}, "logit_bias"),
    ],
)
def test_what_cannot_be_meant_is_a_400(change: dict[str, Any], param: str | None) -> None:
    error = refusal(**change)
    assert "canary" not in json.dumps(error.body())
    if param is not None:
        assert error.param == param


def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
    return event({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})


def event(document: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


USAGE = event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}})
DONE = b"data: [DONE]\n\n"


def told(*blocks: bytes, **change: Any) -> list[dict[str, Any]]:
    """Events, each named as its document says."""

    async def engine() -> AsyncGenerator[bytes, None]:
        for block in blocks:
            yield block

    async def run() -> bytes:
        return b"".join([block async for block in ResponseReply(parsed(**change)[0]).stream(engine())])

    found = []
    for one in asyncio.run(run()).split(b"\n\n")[:-1]:
        name, data = one.split(b"\n")
        found.append(json.loads(data.removeprefix(b"data: ")))
        assert name == b"event: " + found[-1]["type"].encode()
    assert [one["sequence_number"] for one in found] == list(range(len(found)))
    return found


def test_text_and_calls_are_items_of_their_own() -> None:
    call = {"index": 0, "id": "c1", "function": {"name": "clock", "arguments": "{"}}
    more = {"index": 0, "function": {"arguments": "}"}}
    other = {"index": 1, "id": "c2", "function": {"name": "clock"}}
    events = told(
        chunk({"role": "assistant", "content": None}),
        chunk({"content": "let "}) + chunk({"content": "me"}),
        chunk({"tool_calls": [call]}),
        chunk({"tool_calls": [more]}) + chunk({"tool_calls": [other]}),
        chunk({}, "tool_calls") + USAGE + DONE,
        instructions="x",
        tools=[TOOL],
    )
    kinds = [one["type"].removeprefix("response.") for one in events]
    assert kinds == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "output_item.added",
        "function_call_arguments.delta", "function_call_arguments.delta", "function_call_arguments.done",
        "output_item.done", "output_item.added", "function_call_arguments.done", "output_item.done", "completed",
    ]  # fmt: skip
    reply = events[-1]["response"]
    assert (reply["status"], reply["store"], reply["instructions"]) == ("completed", False, "x")
    assert [(item["type"], item["status"]) for item in reply["output"]] == [
        ("message", "completed"), ("function_call", "completed"), ("function_call", "completed"),
    ]  # fmt: skip
    assert [(item.get("call_id"), item.get("arguments")) for item in reply["output"][1:]] == [("c1", "{}"), ("c2", "")]
    assert reply["output"][0]["content"][0]["text"] == "let me"
    assert (reply["usage"]["input_tokens"], reply["usage"]["output_tokens"]) == (7, 3)
    assert [item["id"] for item in reply["output"]] == [
        one["item"]["id"] for one in events if one["type"] == "response.output_item.added"
    ]


def test_a_reply_that_is_cut_short_is_incomplete() -> None:
    reply = told(chunk({"content": "x"}), chunk({}, "length") + USAGE, DONE)[-1]["response"]
    assert (reply["status"], reply["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert reply["output"][0]["status"] == "incomplete"


def test_a_reply_of_nothing_is_one() -> None:
    reply = told(chunk({"role": "assistant", "content": None}), chunk({}, "stop") + USAGE + DONE)[-1]["response"]
    assert (reply["status"], reply["output"]) == ("completed", [])
