"""Functions in chat requests: what is taken, bounded and passed on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sealwright_appliance.serve.chat import ChatRequest, parse_chat_request
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.json_schemas import DEPTH_MOST, NODES_MOST, PROPERTIES_MOST, REPEATED_MOST
from sealwright_appliance.serve.tools import require_template

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "of a town",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"town": "Bonn"}'}}
TALK = [
    {"role": "user", "content": "and in Bonn?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
]
ASKED = {"model": "medical", "messages": TALK, "tools": [WEATHER, CLOCK]}


def request(**change: Any) -> ChatRequest:
    return parse_chat_request(json.dumps(ASKED | change).encode())


def refusal(**change: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        request(**change)
    assert caught.value.status == 400
    return caught.value


def of_schema(schema: Any) -> ApiError:
    """The refusal of a function's schema, and of the same as a reply's."""
    function = {"type": "function", "function": {"name": "f", "parameters": schema}}
    wanted = {"type": "json_schema", "json_schema": {"name": "f", "schema": schema}}
    first, second = refusal(tools=[function]), refusal(tools=None, response_format=wanted)
    assert (first.param, second.param) == ("tools.0.function.parameters", "response_format.json_schema.schema")
    assert first.message.removeprefix(first.param or "") == second.message.removeprefix(second.param or "")
    return first


def test_the_engine_gets_turns_and_functions_whole() -> None:
    """A function without parameters has none, which the engine wants said."""
    asked = request(tool_choice="auto", parallel_tool_calls=True).for_engine(8)
    assert asked["messages"][1] == {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert asked["messages"][2] == {"role": "tool", "content": "rain", "tool_call_id": "call_1"}
    nothing = {"type": "object", "properties": {}}
    assert asked["tools"] == [WEATHER, {"type": "function", "function": {"name": "clock", "parameters": nothing}}]
    assert (asked["tool_choice"], asked["parallel_tool_calls"]) == ("auto", True)


def test_of_a_function_that_must_be_called_the_engine_is_told_alone() -> None:
    asked = request(tool_choice={"type": "function", "function": {"name": "weather"}}).for_engine(8)
    assert (asked["tools"], asked["tool_choice"]) == ([WEATHER], "required")


def test_replies_can_be_sent_back_as_they_came() -> None:
    """What the client's own library adds to a message is taken, and not shown to the model."""
    reply: dict[str, Any] = {"role": "assistant", "content": "hm", "refusal": None, "annotations": [], "audio": None,
             "function_call": None, "reasoning_content": "thinking", "tool_calls": None}  # fmt: skip
    assert request(messages=[reply]).for_engine(8)["messages"] == [{"role": "assistant", "content": "hm"}]


def require_able(asked: ChatRequest, *, able: bool) -> None:
    require_template(asked.tools or (), asked.messages, able=able)


def test_a_template_without_tools_says_so() -> None:
    """Else the model would never hear of them."""
    for change, param in (({}, "tools"), ({"tools": None}, "messages.1.role")):
        assert request(**change).needs_tools
        with pytest.raises(ApiError) as caught:
            require_able(request(**change), able=False)
        assert (caught.value.code, caught.value.param) == ("unsupported_parameter", param)
    require_able(request(), able=True)
    plain = request(messages=TALK[:1], tools=None)
    assert not plain.needs_tools
    require_able(plain, able=False)


def test_everything_that_the_model_reads_is_compared() -> None:
    """For the signs of copying: functions, calls and their results."""
    turns = request().turns()
    assert [role for role, _ in turns] == ["tools", "user", "assistant", "tool"]
    assert "of a town" in turns[0][1]
    assert turns[2][1].endswith('weather {"town": "Bonn"}')


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [WEATHER, WEATHER]}, "tools"),
        ({"tools": []}, "tools"),
        ({"tools": [CLOCK | {"type": "web_search"}]}, "tools.0.type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
        ({"tool_choice": "always"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice"),
        ({"tool_choice": "required", "tools": None}, "tool_choice"),
        ({"logprobs": True}, "logprobs"),
        ({"functions": []}, "functions"),
    ],
)
def test_tools_that_cannot_be_meant_are_refused(change: dict[str, Any], param: str) -> None:
    assert refusal(**change).param == param


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "{",
        "[]",
        "null",
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": 1' + "0" * 400 + "}",
        '"\\ud800"',
        '{"a": "\\ud800"}',
        '{"a":' * 300 + "1" + "}" * 300,
    ],
)
def test_arguments_are_a_json_object(arguments: str) -> None:
    """Otherwise the engine's parser fails where nobody expects it."""
    call = CALL | {"function": {"name": "weather", "arguments": arguments}}
    error = refusal(messages=[{"role": "assistant", "tool_calls": [call]}])
    assert error.param == "messages.0.tool_calls.0.function.arguments"


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth - 1):
        schema = {"items": schema}
    return schema


def test_a_text_without_a_break_is_none_in_functions_either() -> None:
    """In a description, in arguments, in a result."""
    long, call = "a" * 40_000, CALL | {"function": {"name": "weather", "arguments": '{"town": "' + "a" * 40_000 + '"}'}}
    described = CLOCK | {"function": {"name": "clock", "parameters": {"const": long}}}
    for change in (
        {"tools": [described]},
        {"messages": [{"role": "assistant", "tool_calls": [call]}]},
        {"messages": [{"role": "tool", "tool_call_id": "1", "content": long}]},
    ):
        assert refusal(**change).code == "text_unbroken"


def test_a_schema_is_bounded() -> None:
    """In depth, in parts, in bytes and in repetitions."""
    request(tools=[{"type": "function", "function": {"name": "f", "parameters": nested(DEPTH_MOST - 1)}}])
    assert str(DEPTH_MOST) in of_schema(nested(DEPTH_MOST)).message
    assert str(NODES_MOST) in of_schema({"enum": list(range(NODES_MOST))}).message
    assert "bytes" in of_schema({"const": "x" * 70_000}).message
    for name in ("minItems", "maxItems", "minLength", "maxLength"):
        assert name in of_schema({"items": {name: REPEATED_MOST + 1}}).message
        of_schema({"items": {name: -1}})
    of_schema({"minimum": 10**400})
    assert (
        "properties" in of_schema({"properties": {f"p{number}": {} for number in range(PROPERTIES_MOST + 1)}}).message
    )


@pytest.mark.parametrize("reference", ["https://elsewhere.example/schema", "file:///etc/passwd", "other.json#/a", ""])
def test_a_schema_refers_to_nothing_outside(reference: str) -> None:
    error = of_schema({"properties": {"a": {"$ref": reference}}})
    assert "$ref" in error.message
    assert "elsewhere" not in error.message


def test_numbers_that_are_none_are_no_schema() -> None:
    """Python's JSON parser takes them, and the engine's does not."""
    for value in ("NaN", "Infinity", "1e999"):
        body = json.dumps(ASKED | {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": 7}}}]})
        with pytest.raises(ApiError) as caught:
            parse_chat_request(body.replace("7", value).encode())
        assert caught.value.status == 400
