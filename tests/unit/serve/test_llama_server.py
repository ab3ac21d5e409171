"""The adapter to llama-server: what an engine says wrongly or not at all never reaches a client as if it were right."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealwright_appliance.engine_llama_server import LlamaServer
from sealwright_appliance.serve.chat_events import TIMED, ChatEvents
from sealwright_appliance.serve.embedded import Embedded, packed
from sealwright_appliance.serve.engine import Abilities
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.meter import Meter, Tally
from sealwright_appliance.serve.text_events import TextEvents

EVENTS = b'data: {"choices":[1]}\n\ndata: {"choices":[2]}\n\n'
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"code":500,"message":"canary /path"}}\n\n'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def passed_on(directory: Path, *writes: bytes, came: list[bytes] | None = None) -> bytes:
    """What comes out of an engine that writes this and closes; in ``came`` also when it ends with an error."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for data in writes:
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    return await _collect(directory, answer, [] if came is None else came)


async def _collect(
    directory: Path,
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    came: list[bytes],
) -> bytes:
    async with await asyncio.start_unix_server(answer, directory / "e.sock"):
        engine = LlamaServer("e", directory / "e.sock")
        async for block in engine.stream({"messages": []}, Meter().tally("e", "ward")):
            came.append(block)
        return b"".join(came)


@pytest.fixture
def short_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose path leaves room for a socket name (108 bytes)."""
    return tmp_path_factory.mktemp("s")


@pytest.mark.parametrize("cut", range(1, len(EVENTS + DONE)))
def test_events_pass_whatever_the_pieces_they_come_in(short_tmp: Path, cut: int) -> None:
    whole = EVENTS + DONE
    pieces = HEAD, chunk(whole[:cut]), chunk(whole[cut:]), b"0\r\n\r\n"
    assert asyncio.run(passed_on(short_tmp, *pieces)) == whole


@pytest.mark.parametrize("cut", range(len(ERROR)))
def test_an_engines_error_is_never_passed_on(short_tmp: Path, cut: int) -> None:
    """Its text may hold anything; wherever it is cut in two."""
    pieces = HEAD, chunk(EVENTS + ERROR[:cut]) if cut else chunk(EVENTS), chunk(ERROR[cut:]), b"0\r\n\r\n"
    came: list[bytes] = []
    with pytest.raises(ApiError) as caught:
        asyncio.run(passed_on(short_tmp, *pieces, came=came))
    assert caught.value.code == "engine_unavailable"
    assert b"canary" not in b"".join(came)


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b""])
def test_a_stream_without_its_end_is_an_error(short_tmp: Path, end: bytes) -> None:
    """Ended in order, as by an engine that is stopped, or cut off."""
    with pytest.raises(ApiError):
        asyncio.run(passed_on(short_tmp, HEAD, chunk(EVENTS), end))


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (
            b'{"error":{"type":"exceed_context_size_error","n_prompt_tokens":9,"n_ctx":8}}',
            400,
            "context_length_exceeded",
        ),
        (b'{"error":{"type":"invalid_request_error","message":"canary"}}', 400, "invalid_request"),
        (b"canary", 503, "engine_unavailable"),
        (b"[]", 503, "engine_unavailable"),
        (b"", 503, "engine_unavailable"),
    ],
    ids=["context", "request", "text", "list", "nothing"],
)
def test_refusals_get_our_words(short_tmp: Path, body: bytes, status: int, code: str) -> None:
    reply = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with pytest.raises(ApiError) as caught:
        asyncio.run(passed_on(short_tmp, reply))
    assert (caught.value.status, caught.value.code) == (status, code)
    assert "canary" not in caught.value.message


def test_no_engine_is_a_503(short_tmp: Path) -> None:
    async def ask() -> None:
        engine = LlamaServer("e", short_tmp / "e.sock")
        assert not await engine.ready()
        await engine.whole({"messages": []}, Meter().tally("e", "ward"))

    with pytest.raises(ApiError) as caught:
        asyncio.run(ask())
    assert caught.value.retry_after_s is not None


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        HEAD + b"zz\r\n",
        HEAD + b"-1\r\n",
        HEAD + b"fffffffff\r\n",
        HEAD + b"1\r\naa\r\n",
    ],
    ids=["nothing", "half a head", "old", "status", "long head", "no number", "negative", "huge", "length"],
)
def test_what_is_no_http_is_a_503(short_tmp: Path, reply: bytes) -> None:
    """Whatever an engine that went wrong writes."""
    with pytest.raises(ApiError) as caught:
        asyncio.run(passed_on(short_tmp, reply))
    assert caught.value.code == "engine_unavailable"


def test_with_tools_tokens_are_what_the_engine_says_they_are() -> None:
    """Events that hold several, or none of their own; each choice for itself, and the usage at the end."""
    tally = Meter().tally("e", "ward")
    events = ChatEvents({"tools": [{}], "n": 2}, tally)
    assert events.asked == TIMED

    def told(choice: int, tokens: int) -> bytes:
        part = {"index": choice, "delta": {"content": "x"}, "finish_reason": None}
        return b"data: " + json.dumps({"choices": [part], "timings": {"predicted_n": tokens}}).encode() + b"\n\n"

    events.shown(told(0, 3) + told(1, 4))
    events.shown(told(0, 9))
    assert tally.completion_tokens == 13
    usage = {"prompt_tokens": 2, "completion_tokens": 20}
    chunk = json.dumps({"choices": [], "usage": usage, "timings": {"predicted_n": 20}}, separators=(",", ":"))
    assert events.shown(b"data: " + chunk.encode() + b"\n\n") == b""
    assert tally.completion_tokens == 20


PROPS = {
    "chat_template_caps": {"supports_tools": True, "supports_tool_calls": True},
    "default_generation_settings": {"n_ctx": 64},
}
MODELS = {"data": [{"meta": {"n_embd": 8, "vocab_type": 2}}]}
PIECES = {"data": [{"meta": {"n_embd": 8, "vocab_type": 1}}]}
NO_CALLS = PROPS | {"chat_template_caps": {"supports_tools": True, "supports_tool_calls": False}}
ABLE = Abilities(tools=True, width=8, context=64, bpe=True)
Said = dict[bytes, tuple[int, object]]


@asynccontextmanager
async def talkative(directory: Path, said: Said, asked: list[bytes]) -> AsyncIterator[LlamaServer]:
    """An engine that says this, by the beginnings of requests."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b" HTTP")[0])
        status, document = said[asked[-1]]
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
        writer.close()

    async with await asyncio.start_unix_server(answer, directory / "e.sock"):
        yield LlamaServer("e", directory / "e.sock")


@pytest.mark.parametrize(
    ("props", "models", "found"),
    [
        ((200, PROPS), (200, MODELS), ABLE),
        ((200, NO_CALLS), (200, MODELS), replace(ABLE, tools=False)),
        ((200, PROPS), (200, PIECES), replace(ABLE, bpe=False)),
        ((200, PROPS), (200, {"data": [{"meta": {"n_embd": 8}}]}), None),
        ((503, PROPS), (200, MODELS), None),
        ((200, {}), (200, MODELS), None),
        ((200, []), (200, MODELS), None),
        ((200, b"canary"), (200, MODELS), None),
        ((200, PROPS), (200, {"data": []}), None),
    ],
)
def test_what_a_model_can_is_asked_of_its_engine(
    short_tmp: Path, props: tuple[int, object], models: tuple[int, object], found: Abilities | None
) -> None:
    """One that says nothing sensible is one that does not answer."""
    asked: list[bytes] = []

    async def run() -> Abilities:
        async with talkative(short_tmp, {b"GET /props": props, b"GET /v1/models": models}, asked) as engine:
            return await engine.abilities()

    if found is None:
        with pytest.raises(ApiError) as caught:
            asyncio.run(run())
        assert caught.value.code == "engine_unavailable"
    else:
        assert asyncio.run(run()) == found
        assert len(asked) == 2


def vectors(*numbers: tuple[float, ...], tokens: object = 5) -> dict[str, object]:
    data = [{"index": at, "embedding": packed(one)} for at, one in enumerate(numbers)]
    return {"data": data[::-1], "usage": {"prompt_tokens": tokens}}


def embed(directory: Path, status: int, said: object, tally: Tally | None = None) -> Embedded:
    async def run() -> Embedded:
        async with talkative(directory, {b"POST /v1/embeddings": (status, said)}, []) as engine:
            return await engine.embed({"input": ["x", "y"]}, tally or Meter().tally("e", "ward"))

    return asyncio.run(run())


def test_vectors_come_in_the_order_of_their_texts_and_are_charged(short_tmp: Path) -> None:
    tally = Meter().tally("e", "ward")
    first, second = (0.5,) * 17, (0.25,) * 17
    assert embed(short_tmp, 200, vectors(first, second), tally) == Embedded([first, second], 5)
    assert (tally.outflow_tokens, tally.completion_tokens) == (4, 0)


@pytest.mark.parametrize(
    ("status", "said", "code"),
    [
        (200, vectors((0.5,)), "engine_unavailable"),
        (200, vectors((float("nan"),), (1.0,)), "engine_unavailable"),
        (200, vectors((0.5,), (1.0,), tokens="canary"), "engine_unavailable"),
        (200, {"data": [{"index": 0, "embedding": "canary"}] * 2}, "engine_unavailable"),
        (200, {"data": [{"index": 0, "embedding": ""}] * 2}, "engine_unavailable"),
        (200, b"canary", "engine_unavailable"),
        (501, {"error": {"type": "not_supported_error", "message": "canary"}}, "unsupported_model"),
        (400, {"error": {"type": "invalid_request_error", "message": "canary"}}, "invalid_request"),
        (500, {"error": {"type": "server_error", "message": "canary"}}, "engine_unavailable"),
        (
            500,
            {"error": {"type": "server_error", "message": "input (801 tokens) is too large to process. increase the "
             "physical batch size (current batch size: 512)"}},
            "context_length_exceeded",
        ),
    ],
)  # fmt: skip
def test_what_are_no_vectors_is_told_in_our_words(short_tmp: Path, status: int, said: object, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        embed(short_tmp, status, said)
    assert caught.value.code == code
    assert "canary" not in caught.value.message
    assert code != "context_length_exceeded" or "801" in caught.value.message


@pytest.mark.parametrize(
    ("request_of", "said"),
    [({"content": "x"}, {"tokens": [1, 2, 3]}), ({"messages": []}, {"input_tokens": 3, "object": "x"})],
)
def test_tokens_are_counted_and_their_ids_stay(short_tmp: Path, request_of: Any, said: object) -> None:
    async def run(answered: object) -> int:
        path = b"POST /tokenize" if "content" in request_of else b"POST /v1/chat/completions/input_tokens"
        async with talkative(short_tmp, {path: (200, answered)}, []) as engine:
            return await engine.count(request_of, Meter().tally("e", "ward"))

    assert asyncio.run(run(said)) == 3
    with pytest.raises(ApiError):
        asyncio.run(run({"tokens": 3, "input_tokens": "canary"}))


def test_what_the_engine_had_kept_of_a_prompt_is_not_told(short_tmp: Path) -> None:
    """In no event: others have asked it."""
    details = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 8}}
    usage = {"choices": [], "usage": details, "timings": {"cache_n": 8, "predicted_n": 1}}
    token = {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}], "timings": {"cache_n": 8}}
    last = {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}], "usage": details, "timings": {"cache_n": 8}}

    def compact(document: dict[str, Any]) -> bytes:
        return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"

    shows = {"stream_options": {"include_usage": True}}
    chat, text = (
        ChatEvents(shows, Meter().tally("e", "w")),
        TextEvents(shows | {"prompt": ["x"]}, Meter().tally("e", "w")),
    )
    for shown in (chat.shown(compact(token)), chat.shown(compact(usage)), text.shown(compact(last))):
        assert shown
        for word in (b"cache", b"timings", b"details"):
            assert word not in shown
