"""The Responses API through OpenAI's own client and a real llama-server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.responses import ResponseFunctionToolCall

from sealwright_policies.outflow import BudgetScope, BudgetWindow, OutflowBudget, OutflowPolicy
from sealwright_testing.serving import ServingBox, serving_box

from .conftest import CONTEXT
from .test_tool_calls import COLOUR, require_paints

ASKED: dict[str, Any] = {"model": "random", "input": "hello", "temperature": 0, "max_output_tokens": 24}
PAINT = {"type": "function"} | COLOUR["function"]  # type: ignore[operator]
CALLED: dict[str, Any] = {
    "model": "able", "input": "which?", "tools": [PAINT], "tool_choice": {"type": "function", "name": "paint"},
    "temperature": 1, "max_output_tokens": 400, "parallel_tool_calls": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def box(able_box: ServingBox) -> ServingBox:
    """Whose client the tests have."""
    return able_box


def test_a_reply_is_that_of_the_same_chat(client: openai.OpenAI) -> None:
    """Instructions are a system turn; cut short it is incomplete; nothing is stored."""
    reply = client.responses.create(**ASKED, instructions="be brief")
    talk: Any = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
    chat = client.chat.completions.create(model="random", messages=talk, temperature=0, max_tokens=24)
    assert reply.output_text == chat.choices[0].message.content
    assert (reply.status, reply.object, reply.model) == ("incomplete", "response", "random")
    assert reply.incomplete_details is not None
    assert reply.incomplete_details.reason == "max_output_tokens"
    assert reply.usage is not None
    assert chat.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (chat.usage.prompt_tokens, 24)
    assert reply.model_extra is not None
    assert reply.model_extra["store"] is False


def test_a_stream_is_the_same_reply_in_the_events_of_the_client(client: openai.OpenAI) -> None:
    """Numbered; every item and part begins, grows and ends; the client's own helper puts it together."""
    events = list(client.responses.create(**ASKED, stream=True))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    ]  # fmt: skip
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    assert kinds[-4:] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.incomplete",
    ]  # fmt: skip
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == client.responses.create(**ASKED).output_text
    with client.responses.stream(**ASKED) as stream:
        assert "".join(event.delta for event in stream if event.type == "response.output_text.delta") == text


def test_functions_are_called_and_answered(client: openai.OpenAI) -> None:
    """What came is sent back as it came, with the result behind it."""
    reply = client.responses.create(**CALLED)
    calls = [item for item in reply.output if isinstance(item, ResponseFunctionToolCall)]
    assert reply.status == "completed"
    assert calls
    for call in calls:
        assert call.name == "paint"
        require_paints(call.arguments)
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "done"} for call in calls]
    question = {"role": "user", "content": "which?"}
    talk: Any = [question, *reply.output, *results]
    again = client.responses.create(**CALLED | {"input": talk, "tool_choice": "none"})
    assert reply.usage is not None
    assert again.usage is not None
    assert again.usage.input_tokens > reply.usage.input_tokens + 10


def test_a_streamed_call_grows_in_its_events(client: openai.OpenAI) -> None:
    events = list(client.responses.create(**CALLED, stream=True))
    grown: dict[int, str] = {}
    for event in events:
        if event.type == "response.function_call_arguments.delta":
            grown[event.output_index] = grown.get(event.output_index, "") + event.delta
    last = events[-1]
    assert last.type == "response.completed"
    done = {at: item.arguments for at, item in enumerate(last.response.output) if item.type == "function_call"}
    assert grown == done
    for said in done.values():
        assert json.loads(said)
    with client.responses.stream(**CALLED) as stream:
        assert any(item.type == "function_call" for item in stream.get_final_response().output)


def test_a_reply_follows_a_schema(client: openai.OpenAI) -> None:
    shape = {"type": "json_schema", "name": "paint", "schema": COLOUR["function"]["parameters"], "strict": True}  # type: ignore[index]
    asked = ASKED | {"max_output_tokens": 2000, "temperature": 1, "text": {"format": shape}}
    reply = client.responses.create(**asked)
    require_paints(reply.output_text)


def test_tokens_are_counted_as_openai_does(client: openai.OpenAI) -> None:
    counted = client.responses.input_tokens.count(model="random", input="hello")
    reply = client.responses.create(**ASKED)
    assert reply.usage is not None
    assert counted.input_tokens == reply.usage.input_tokens


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"tools": [{"type": "web_search"}]}, "tools.0"),
        ({"tools": [PAINT]}, "tools"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, None),
        ({"input": [{"type": "item_reference", "id": "canary-1"}]}, None),
        ({"input": "hello " * CONTEXT}, "messages"),
    ],
)
def test_what_is_not_there_is_a_400_that_says_so(client: openai.OpenAI, change: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**ASKED | change)
    assert "canary" not in caught.value.message
    if param is not None:
        assert caught.value.param == param


def test_budgets_are_those_of_chats(random_model: Path) -> None:
    budget = OutflowBudget(scope=BudgetScope.KEY, window=BudgetWindow.DAY, tokens=30)
    with serving_box({"random": random_model}, policy=OutflowPolicy(budgets=(budget,))) as box, box.openai() as client:
        client.responses.create(**ASKED)
        reply = client.responses.create(**ASKED)
        assert reply.usage is not None
        assert reply.usage.output_tokens == 6
        with pytest.raises(openai.RateLimitError):
            list(client.responses.create(**ASKED, stream=True))


def test_nothing_tells_what_others_have_asked(able_box: ServingBox) -> None:
    """The engine keeps prompts for all keys, and would say how much of one it had: it never leaves the box."""
    talk = [{"role": "user", "content": "a long question that somebody else has asked before " * 4}]
    common = {"max_tokens": 3, "temperature": 0}
    asked: dict[str, Any] = {
        "/v1/chat/completions": {"model": "random", "messages": talk} | common,
        "/v1/completions": {"model": "random", "prompt": talk[0]["content"]} | common,
        "/v1/responses": {"model": "random", "input": talk},
    }
    called = {"model": "able", "messages": talk, "tools": [COLOUR], "max_tokens": 50, "tool_choice": "required"}
    with able_box.http() as http:
        for path, body in [*asked.items(), ("/v1/chat/completions", called)] * 2:
            limit = {"max_output_tokens": 3} if path == "/v1/responses" else {}
            options = {} if path == "/v1/responses" else {"stream_options": {"include_usage": True}}
            whole = http.post(path, json=body | limit)
            streamed = http.post(path, json=body | limit | {"stream": True} | options)
            for reply in (whole, streamed):
                assert reply.status_code == 200
                for word in ("timings", "cache_n", "prompt_ms", "prompt_tokens_details"):
                    assert word not in reply.text
                assert '"cached_tokens":' not in reply.text.replace('"cached_tokens":0', "")
        with able_box.engines["random"].client() as engine:
            said = engine.post("/v1/chat/completions", json=asked["/v1/chat/completions"]).json()
        assert said["usage"]["prompt_tokens_details"]["cached_tokens"] > 20
