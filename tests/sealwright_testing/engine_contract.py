"""What every engine behind the Protocol does (:mod:`sealwright_appliance.serve.engine`), whatever runs the model.

The model has random weights, no functions, a context of :data:`CONTEXT` tokens, and greedy replies that do not end.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

import pytest

from sealwright_appliance.serve.engine import Engine
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.meter import Meter, Tally

CONTEXT = 512
TEXT = "What is metformin? 什么是利率？"
WAIT_S = 20.0
T = TypeVar("T")


class EngineUnderTest(Protocol):
    """An engine's process, and what the gateway talks to it through."""

    @property
    def engine(self) -> Engine:
        """The gateway's side."""
        ...

    def start(self) -> None:
        """Start it and wait until the model is loaded."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...

    def running(self) -> int:
        """Requests that it works on, by its own word."""
        ...


def chat(**asked: Any) -> dict[str, Any]:
    """A greedy request as the gateway hands it on."""
    return {"messages": [{"role": "user", "content": TEXT}], "temperature": 0, "max_tokens": 8} | asked


def new_tally() -> Tally:
    """Of one request."""
    return Meter().tally("model", "key")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run it to its end, in the longest time that a test takes."""

    async def bounded() -> T:
        async with asyncio.timeout(120):
            return await work

    return asyncio.run(bounded())


def whole(engine: Engine, request: dict[str, Any], tally: Tally | None = None) -> dict[str, Any]:
    """A whole reply."""
    reply: dict[str, Any] = json.loads(run(engine.whole(request, tally or new_tally())))
    return reply


def streamed(engine: Engine, request: dict[str, Any], tally: Tally | None = None) -> list[dict[str, Any]]:
    """The events of a streamed one, which must end as OpenAI's do."""

    async def collect() -> bytes:
        return b"".join([part async for part in engine.stream(request | {"stream": True}, tally or new_tally())])

    *events, end, rest = run(collect()).split(b"\n\n")
    assert (end, rest) == (b"data: [DONE]", b"")
    return [json.loads(event.removeprefix(b"data: ")) for event in events]


def said(events: list[dict[str, Any]]) -> str:
    """The text of streamed choices."""
    return "".join(one["delta"].get("content") or "" for event in events for one in event["choices"])


def refused(work: Callable[[], object]) -> ApiError:
    """How a request is refused."""
    with pytest.raises(ApiError) as caught:
        work()
    return caught.value


def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens by itself."""
    ends = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.05)


class EngineContract:
    """The tests; a class that inherits them has a fixture ``under_test``."""

    def test_it_is_ready_and_says_what_the_model_can(self, under_test: EngineUnderTest) -> None:
        abilities = run(under_test.engine.abilities())
        assert run(under_test.engine.ready())
        assert (abilities.context, abilities.tools) == (CONTEXT, False)

    def test_a_whole_reply_is_openais_and_is_counted(self, under_test: EngineUnderTest) -> None:
        tally = new_tally()
        reply = whole(under_test.engine, chat(), tally)
        [choice] = reply["choices"]
        usage = reply["usage"]
        assert (reply["object"], choice["finish_reason"]) == ("chat.completion", "length")
        assert choice["message"]["content"]
        assert (usage["completion_tokens"], usage["total_tokens"]) == (8, 8 + usage["prompt_tokens"])
        with tally:
            counts = tally.take()
        assert (counts.prompt_tokens, counts.completion_tokens) == (usage["prompt_tokens"], 8)

    def test_a_stream_says_the_same_and_its_usage_only_if_asked(self, under_test: EngineUnderTest) -> None:
        text = whole(under_test.engine, chat())["choices"][0]["message"]["content"]
        plain = streamed(under_test.engine, chat())
        told = streamed(under_test.engine, chat(stream_options={"include_usage": True}))
        assert said(plain) == said(told) == text
        assert not any(event.get("usage") for event in plain)
        assert [event["usage"]["completion_tokens"] for event in told if event.get("usage")] == [8]
        assert told[-1]["choices"] == []

    def test_what_has_come_is_counted_before_the_end(self, under_test: EngineUnderTest) -> None:
        async def counted_so_far() -> tuple[int, int]:
            tally = new_tally()
            events = under_test.engine.stream(chat(max_tokens=64, stream=True), tally)
            async with aclosing(events):
                async for _ in events:
                    if tally.completion_tokens >= 4:
                        break
            with tally:
                return tally.completion_tokens, tally.take().prompt_tokens

        completion, prompt = run(counted_so_far())
        assert 4 <= completion < 64
        assert prompt > 0

    def test_several_choices(self, under_test: EngineUnderTest) -> None:
        reply = whole(under_test.engine, chat(n=3, temperature=1.0, seed=5))
        assert [one["index"] for one in reply["choices"]] == [0, 1, 2]
        assert len({one["message"]["content"] for one in reply["choices"]}) > 1
        assert 3 <= reply["usage"]["completion_tokens"] <= 24

    def test_a_stop_ends_a_reply_and_is_not_in_it(self, under_test: EngineUnderTest) -> None:
        text = whole(under_test.engine, chat(max_tokens=32))["choices"][0]["message"]["content"]
        stop = text[len(text) // 2 :][:3]
        [choice] = whole(under_test.engine, chat(max_tokens=32, stop=[stop]))["choices"]
        assert choice["finish_reason"] == "stop"
        assert choice["message"]["content"] == text[: text.index(stop)]

    def test_a_seed_repeats_a_reply(self, under_test: EngineUnderTest) -> None:
        one, same, other = (
            whole(under_test.engine, chat(temperature=1.0, seed=seed, max_tokens=16))["choices"][0]["message"]
            for seed in (7, 7, 8)
        )
        assert one == same
        assert one != other

    def test_a_reply_follows_its_schema(self, under_test: EngineUnderTest) -> None:
        schema = {
            "type": "object",
            "properties": {"dose": {"enum": ["low", "high"]}, "daily": {"type": "boolean"}},
            "required": ["dose", "daily"],
            "additionalProperties": False,
        }
        shape = {"type": "json_schema", "json_schema": {"schema": schema}}
        [choice] = whole(under_test.engine, chat(response_format=shape, max_tokens=64))["choices"]
        reply = json.loads(choice["message"]["content"])
        assert reply.keys() == {"dose", "daily"}
        assert reply["dose"] in {"low", "high"}
        assert isinstance(reply["daily"], bool)

    def test_texts_are_gone_on_with(self, under_test: EngineUnderTest) -> None:
        request = {"prompt": [TEXT, "hello"], "temperature": 0, "max_tokens": 4}
        reply = whole(under_test.engine, request)
        assert [one["index"] for one in reply["choices"]] == [0, 1]
        assert all(one["text"] for one in reply["choices"])
        assert reply["usage"]["completion_tokens"] == 8

    @pytest.mark.parametrize("top", [0, 2])
    def test_log_probabilities_of_chats(self, under_test: EngineUnderTest, top: int) -> None:
        [choice] = whole(under_test.engine, chat(logprobs=True, top_logprobs=top))["choices"]
        content = choice["logprobs"]["content"]
        assert [len(one["top_logprobs"]) for one in content] == [top] * 8
        assert all(one["logprob"] == round(one["logprob"], 2) <= 0 for one in content)
        assert all(one.keys() == {"token", "logprob", "bytes", "top_logprobs"} for one in content)

    @pytest.mark.parametrize("top", [0, 2])
    def test_log_probabilities_of_texts(self, under_test: EngineUnderTest, top: int) -> None:
        request = {"prompt": [TEXT], "temperature": 0, "max_tokens": 4, "logprobs": top}
        numbers = whole(under_test.engine, request)["choices"][0]["logprobs"]
        assert [len(one) for one in numbers["top_logprobs"]] == [top] * 4
        assert len(numbers["tokens"]) == len(numbers["text_offset"]) == 4
        assert all(one == round(one, 2) <= 0 for one in numbers["token_logprobs"])

    def test_tokens_are_those_of_the_reply(self, under_test: EngineUnderTest) -> None:
        engine = under_test.engine
        text = run(engine.count({"content": TEXT, "add_special": True}, new_tally()))
        assert text == whole(engine, {"prompt": [TEXT], "max_tokens": 1})["usage"]["prompt_tokens"]
        turns = {"messages": chat()["messages"]}
        assert run(engine.count(turns, new_tally())) == whole(engine, chat())["usage"]["prompt_tokens"]

    @pytest.mark.parametrize("param", ["messages", "prompt"])
    def test_what_does_not_fit_is_refused_with_numbers(self, under_test: EngineUnderTest, param: str) -> None:
        long = "word, " * CONTEXT
        request = {"prompt": [long], "max_tokens": 1} if param == "prompt" else chat()
        if param == "messages":
            request["messages"] = [{"role": "user", "content": long}]
        counted = {"content": long, "add_special": True} if param == "prompt" else {"messages": request["messages"]}
        tokens = run(under_test.engine.count(counted, new_tally()))
        error = refused(lambda: whole(under_test.engine, request))
        assert (error.status, error.code, error.param) == (400, "context_length_exceeded", param)
        assert str(tokens) in error.message
        assert str(CONTEXT) in error.message

    def test_a_reply_ends_with_the_context(self, under_test: EngineUnderTest) -> None:
        reply = whole(under_test.engine, chat(max_tokens=1_000_000))
        assert reply["choices"][0]["finish_reason"] == "length"
        assert CONTEXT - 2 <= reply["usage"]["total_tokens"] <= CONTEXT + 1

    def test_what_is_no_request_is_refused(self, under_test: EngineUnderTest) -> None:
        shape = {"type": "json_schema", "json_schema": {"schema": {"type": "no such type"}}}
        error = refused(lambda: whole(under_test.engine, chat(response_format=shape)))
        assert (error.status, error.code) == (400, "invalid_request"), error.body()

    def test_a_model_that_talks_gives_no_vectors(self, under_test: EngineUnderTest) -> None:
        error = refused(lambda: run(under_test.engine.embed({"input": [TEXT]}, new_tally())))
        assert (error.status, error.code) == (400, "unsupported_model")

    def test_who_leaves_frees_the_engine(self, under_test: EngineUnderTest) -> None:
        async def leave() -> None:
            events = under_test.engine.stream(chat(max_tokens=400, stream=True), new_tally())
            async with aclosing(events):
                async for _ in events:
                    break

        run(leave())
        until(lambda: under_test.running() == 0)
        assert whole(under_test.engine, chat())["usage"]["completion_tokens"] == 8

    def test_several_at_once(self, under_test: EngineUnderTest) -> None:
        async def together() -> list[bytes]:
            return await asyncio.gather(*(under_test.engine.whole(chat(), new_tally()) for _ in range(4)))

        assert [json.loads(one)["usage"]["completion_tokens"] for one in run(together())] == [8] * 4

    def test_its_death_is_an_error_that_can_be_tried_again(self, under_test: EngineUnderTest) -> None:
        async def killed_under_way() -> None:
            events = under_test.engine.stream(chat(max_tokens=400, stream=True), new_tally())
            async with aclosing(events):
                async for _ in events:
                    under_test.kill()

        async def ask() -> bytes:
            return await under_test.engine.whole(chat(), new_tally())

        for asked in (killed_under_way, ask):
            error = refused(lambda asked=asked: run(asked()))  # type: ignore[misc]
            assert (error.status, error.code) == (503, "engine_unavailable")
            assert error.retry_after_s
        assert not run(under_test.engine.ready())
        under_test.start()
        assert run(under_test.engine.ready())
        assert whole(under_test.engine, chat())["usage"]["completion_tokens"] == 8
