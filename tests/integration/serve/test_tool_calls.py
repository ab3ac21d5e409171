"""Functions through OpenAI's own client and a real llama-server, whose grammar leaves random weights little choice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from sealwright_testing.running_box import wait_until
from sealwright_testing.serving import ServingBox, serving_box

HELLO = {"role": "user", "content": "which?"}
COLOUR = {
    "type": "function",
    "function": {
        "name": "paint",
        "description": "Paints in a colour.",
        "parameters": {
            "type": "object",
            "properties": {"colour": {"enum": ["red", "blue"]}, "coats": {"enum": [1, 2]}},
            "required": ["colour", "coats"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "description": "Tells the time."}}
ASKED: dict[str, Any] = {
    "model": "able", "messages": [HELLO], "tools": [COLOUR, CLOCK], "tool_choice": "required", "temperature": 1,
    "seed": 5, "max_tokens": 400, "parallel_tool_calls": False,
}  # fmt: skip
PAINT = {"type": "function", "function": {"name": "paint"}}


@pytest.fixture(scope="module")
def box(able_box: ServingBox) -> ServingBox:
    """Whose client the tests have."""
    return able_box


def require_paints(arguments: str) -> None:
    asked = json.loads(arguments)
    assert asked["colour"] in {"red", "blue"}
    assert asked["coats"] in {1, 2}


def test_a_call_that_must_be_made_is_made(client: openai.OpenAI) -> None:
    """The named function, with arguments of its schema."""
    choice = client.chat.completions.create(**ASKED | {"tool_choice": PAINT}).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    for call in choice.message.tool_calls:
        assert call.type == "function"
        assert call.id
        assert call.function.name == "paint"
        require_paints(call.function.arguments)


def test_required_calls_one_of_them(client: openai.OpenAI) -> None:
    calls = client.chat.completions.create(**ASKED).choices[0].message.tool_calls
    assert calls is not None
    assert {call.function.name for call in calls if call.type == "function"} <= {"paint", "clock"}


def test_a_stream_says_the_same_call(client: openai.OpenAI) -> None:
    """Name once, arguments in pieces; usage last."""
    asked = ASKED | {"tool_choice": PAINT}
    whole = client.chat.completions.create(**asked).choices[0].message.tool_calls
    assert whole is not None
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    pieces = [part for chunk in chunks for c in chunk.choices for part in c.delta.tool_calls or ()]
    said = ["" for _ in whole]
    for part in pieces:
        assert part.function is not None
        said[part.index] += part.function.arguments or ""
    assert [part.function.name for part in pieces if part.function and part.function.name] == ["paint"] * len(whole)
    assert [json.loads(one) for one in said] == [
        json.loads(call.function.arguments) for call in whole if call.type == "function"
    ]
    assert [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason] == ["tool_calls"]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0


def test_the_clients_own_stream_helper_reads_it(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(**ASKED | {"tool_choice": PAINT}) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls is not None
    require_paints(message.tool_calls[0].function.arguments)


class Paint(BaseModel):
    """As programs write it."""

    colour: str
    coats: int


def test_a_conversation_goes_on_behind_a_call(client: openai.OpenAI) -> None:
    """The message as the client has it, and the result; the model reads both."""
    message = client.chat.completions.create(**ASKED | {"tool_choice": PAINT}).choices[0].message
    assert message.tool_calls is not None
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "painted"}
    talk: list[Any] = [HELLO, message, result]
    asked = ASKED | {"tool_choice": "none", "max_tokens": 5}
    short, longer = (client.chat.completions.create(**asked | {"messages": talk[:n]}) for n in (1, 3))
    assert short.usage is not None
    assert longer.usage is not None
    assert longer.usage.prompt_tokens > short.usage.prompt_tokens + 10


def test_parse_makes_the_call_the_programs_own_class(client: openai.OpenAI) -> None:
    tool = openai.pydantic_function_tool(Paint, name="paint")
    tool["function"]["parameters"] = COLOUR["function"]["parameters"]  # type: ignore[index]
    reply = client.chat.completions.parse(**ASKED | {"tools": [tool], "tool_choice": PAINT})
    calls = reply.choices[0].message.tool_calls
    assert calls is not None
    assert isinstance(calls[0].function.parsed_arguments, Paint)


def test_several_choices_each_call(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(**ASKED | {"tool_choice": PAINT, "n": 3})
    for choice in reply.choices:
        assert choice.message.tool_calls is not None
        assert choice.message.tool_calls[0].type == "function"
        require_paints(choice.message.tool_calls[0].function.arguments)


def test_a_model_without_a_template_for_tools_says_so(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="knows no tools") as caught:
        client.chat.completions.create(**ASKED | {"model": "random"})
    assert caught.value.param == "tools"


def test_tokens_of_a_call_are_counted_as_they_come(able_model: Path) -> None:
    """One that breaks off has no usage, and the first event alone has all tokens of the beginning of a call."""
    free = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    tool = {"type": "function", "function": {"name": "write", "parameters": free}}
    asked = ASKED | {"tools": [tool], "stream": True, "max_tokens": 4000, "temperature": 1.5}
    told = 0
    with serving_box({"able": able_model}) as box:
        with box.http() as client, client.stream("POST", "/v1/chat/completions", json=asked) as reply:
            for line in reply.iter_lines():
                told += '"arguments"' in line
                if told > 60:
                    break
        wait_until(lambda: box.engines["able"].metric("requests_processing") == 0)
        box.gateway.terminate()
        box.gateway.wait(30)
        (row,) = box.meter.journal().rows
        assert told < row.completion_tokens <= box.engines["able"].metric("tokens_predicted_total")
