"""Functions in chat requests: what is taken, bounded and passed on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sealwright_appliance.serve.chat import ChatRequest, parse_chat_request
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.json_schemas import DEPTH_MOST, NODES_MOST, PROPERTIES_MOST, REPEATED_MOST, SCHEMA_BYTES
from sealwright_appliance.serve.responses import parse_response_request
from sealwright_appliance.serve.text_room import text_bytes
from sealwright_appliance.serve.token_count import parse_count_request
from sealwright_appliance.serve.tools import require_template
from sealwright_appliance.serve.unbroken import LONGEST_RUN

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


def called(arguments: str) -> list[dict[str, Any]]:
    call = CALL | {"function": {"name": "weather", "arguments": arguments}}
    return [{"role": "assistant", "tool_calls": [call]}]


HIDDEN_CALLS = {
    "a value in escapes": '{"a": "' + r"\u0061" * 40_000 + '"}',
    "a name in escapes": '{"' + r"\u0061" * 40_000 + '": 1}',
    "line ends": r'{"a": ["' + r"\n" * 40_000 + '"]}',
    "marks of empty lists": '{"a": [' + "[], " * 20_000 + "1]}",
}


@pytest.mark.parametrize("arguments", HIDDEN_CALLS.values(), ids=list(HIDDEN_CALLS))
def test_a_text_without_a_break_is_found_behind_escapes_and_spaces(arguments: str) -> None:
    """The engine decodes arguments; each of these has a break every few characters before that."""
    assert refusal(messages=called(arguments)).code == "text_unbroken"
    counted = {"model": "medical", "messages": called(arguments)}
    with pytest.raises(ApiError, match="characters"):
        parse_count_request(json.dumps(counted).encode())
    item = {"type": "function_call", "call_id": "1", "name": "weather", "arguments": arguments}
    with pytest.raises(ApiError) as caught:
        parse_response_request(json.dumps({"model": "medical", "input": [item]}).encode())
    assert (caught.value.code, caught.value.param) == ("text_unbroken", "input")


def test_a_text_without_a_break_is_found_in_functions_as_the_engine_holds_them() -> None:
    """Line ends are two characters of two kinds in JSON, and one in a template that shows a description."""
    function = {"name": "clock", "description": "\n" * (LONGEST_RUN + 1)}
    hidden = [{"description": "\t" * 32_000}, {" " * 9_000: 1}, {"enum": [""] * 2_000}]
    for where in (function, *({"name": "clock", "parameters": parameters} for parameters in hidden)):
        error = refusal(tools=[{"type": "function", "function": where}])
        assert (error.code, error.param) == ("text_unbroken", "tools")
    shape = {"type": "json_schema", "json_schema": {"schema": {"description": "\n" * (LONGEST_RUN + 1)}}}
    assert refusal(tools=None, response_format=shape).param == "response_format"
    request(tools=[{"type": "function", "function": function | {"description": "\n" * LONGEST_RUN}}])


def test_the_name_of_a_tool_is_bounded_and_compared() -> None:
    """It is shown to the model."""
    turn = {"role": "tool", "tool_call_id": "1", "content": "rain", "name": "n" * 256}
    asked = request(messages=[turn])
    assert asked.turns()[1] == ("tool", "n" * 256 + "\nrain")
    assert asked.for_engine(8)["messages"][0]["name"] == "n" * 256
    assert refusal(messages=[turn | {"name": "n" * 257}]).param == "messages.0.name"


def test_the_engine_gets_arguments_as_they_were_measured() -> None:
    """So one parser decides which of two values of a name counts, and the bound of text counts what is there."""
    messages = called(r'{"a":"\u0062", "a": "\u597d", "n": [1,2]}')
    (sent,) = request(messages=messages).for_engine(8)["messages"]
    assert sent["tool_calls"][0]["function"]["arguments"] == '{"a": "好", "n": [1, 2]}'
    short, long = (request(messages=called(text)).for_engine(8) for text in ('{"a": "b"}', r'{"a": "\u0062"}'))
    assert text_bytes(short) == text_bytes(long)


def wide(name: str, *objects: int) -> dict[str, Any]:
    """A function with objects of so many properties."""
    inner = {"anyOf": [{"properties": {f"p{number}": True for number in range(count)}} for count in objects]}
    return {"type": "function", "function": {"name": name, "parameters": inner}}


def test_all_schemas_of_a_request_are_bounded_together() -> None:
    """The engine's work grows with the square of an object's properties, its memory with their sum."""
    request(tools=[wide("f", PROPERTIES_MOST), wide("g", PROPERTIES_MOST)])
    for tools in (
        [wide(str(at), PROPERTIES_MOST) for at in range(3)],
        [wide("f", PROPERTIES_MOST, PROPERTIES_MOST, 1)],
    ):
        assert "squares" in refusal(tools=tools).message
    reply = {"type": "json_schema", "json_schema": {"schema": wide("f", 1)["function"]["parameters"]}}
    asked = {"tools": [wide("f", PROPERTIES_MOST, PROPERTIES_MOST)], "response_format": reply}
    assert "squares" in refusal(**asked).message
    half = [
        {"type": "function", "function": {"name": f"f{at}", "parameters": {"enum": [7] * (NODES_MOST // 2)}}}
        for at in (1, 2)
    ]
    request(tools=half[:1])
    assert str(NODES_MOST) in refusal(tools=half).message
    text = "ab " * (SCHEMA_BYTES // 6)
    half = [{"type": "function", "function": {"name": f"f{at}", "parameters": {"const": text}}} for at in (1, 2)]
    request(tools=half[:1])
    assert "bytes" in refusal(tools=half).message


def test_what_all_of_joins_is_one_object() -> None:
    """llama.cpp makes one of its parts, and follows references there without looking for a circle."""
    one = {"properties": {"a": True, "b": True}}
    for parts in (
        [one] * 129,
        [{"anyOf": [one] * 129}],
        [{"$ref": "#/$defs/x"}] * 129,
        {str(at): one for at in range(129)},
    ):
        assert (
            "properties"
            in of_schema({"allOf": parts, "$defs": {"x": {"$ref": "#/$defs/list/0"}, "list": [one]}}).message
        )
    request(tools=[{"type": "function", "function": {"name": "f", "parameters": {"allOf": [one] * 128}}}])
    circles = {"x": {"$ref": "#/$defs/y"}, "y": {"$ref": "#/$defs/x"}, "z": {"$ref": "#/$defs/z"}}
    for name in circles:
        assert "steps" in of_schema({"allOf": [{"$ref": f"#/$defs/{name}"}], "$defs": circles}).message
    for nowhere in ("#/$defs/u", "#/list/+0", "#/list/7"):
        assert "steps" in of_schema({"allOf": [{"$ref": nowhere}], "list": [one]}).message
    tree = {"$defs": {"t": {"properties": {"t": {"allOf": [{"$ref": "#/$defs/t"}]}}}}, "$ref": "#/$defs/t"}
    request(tools=[{"type": "function", "function": {"name": "f", "parameters": tree}}])


def test_a_reference_means_one_thing_in_all_functions() -> None:
    """llama.cpp has one table of them: a circle of one function would be followed in ``allOf`` of another."""
    circle = {"$defs": {"a": {"$ref": "#/$defs/a"}}}
    joined = {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"properties": {}}}}
    asked = [
        {"type": "function", "function": {"name": f"f{at}", "parameters": one}}
        for at, one in enumerate((circle, joined))
    ]
    assert "$ref" in refusal(tools=asked).message
    request(tools=asked[:1])
    request(tools=[asked[1], {"type": "function", "function": {"name": "g", "parameters": joined}}])


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
