"""The adapter to vLLM: what is asked of it, and what it says, rightly, wrongly or not at all. A real one: tests/gpu."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sealwright_appliance.engine_commands import vllm_command, vllm_environment
from sealwright_appliance.engine_vllm import Vllm
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.meter import Meter, Tally
from sealwright_appliance.serve.vllm_events import DONE, VllmEvents

WINDOW = 64
MODELS = {"data": [{"id": "m", "max_model_len": WINDOW}]}
HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
Said = dict[str, tuple[int, bytes]]
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}


def usage(prompt: int, made: int) -> dict[str, Any]:
    """As vLLM 0.26 says it."""
    numbers = {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}
    return {"usage": numbers | {"prompt_tokens_details": {"cached_tokens": 3}}}


def part(text: str, made: int, reason: str | None = None, **more: Any) -> dict[str, Any]:
    """One event of a chat."""
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": reason, "token_ids": [7]}
    return HEAD | {"choices": [choice | more], "prompt_token_ids": [1]} | usage(5, made)


def event(document: object) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


LAST = event(HEAD | {"choices": []} | usage(5, 3))
REPLY = event(part("a", 1)) + event(part("bc", 3, "stop", stop_reason="c")) + LAST + DONE


def tally() -> Tally:
    return Meter().tally("m", "ward 3")


@pytest.fixture
def short_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose path leaves room for a socket name (108 bytes)."""
    return tmp_path_factory.mktemp("v")


@asynccontextmanager
async def talkative(folder: Path, said: Said, asked: list[dict[str, Any]]) -> AsyncIterator[Vllm]:
    """An engine that says this, by path; a stream comes in one chunk."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
        body = await reader.readexactly(length)
        if body:
            asked.append(json.loads(body))
        status, text = said[head.split(" ")[1]]
        if text.startswith(b"data: "):
            writer.write(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(text), text)
            )
        else:
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(text), text))
        writer.close()

    async with await asyncio.start_unix_server(answer, folder / "e.sock"):
        yield Vllm("m", folder / "e.sock")


def saying(tokens: int, reply: bytes = REPLY, status: int = 200) -> Said:
    """A vLLM whose prompts all have so many tokens."""
    return {
        "/v1/models": (200, json.dumps(MODELS).encode()),
        "/tokenize": (200, json.dumps({"count": tokens, "tokens": [1] * tokens}).encode()),
        "/v1/chat/completions": (status, reply),
        "/v1/completions": (status, reply),
    }


def ask(
    folder: Path, request: dict[str, Any], said: Said, counted: Tally | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What vLLM was asked at last, and what comes of it."""
    asked: list[dict[str, Any]] = []

    async def run() -> bytes:
        async with talkative(folder, said, asked) as engine:
            return await engine.whole(request, counted or tally())

    reply = json.loads(asyncio.run(run()))
    return asked[-1], reply


def refused(folder: Path, request: dict[str, Any], said: Said) -> ApiError:
    with pytest.raises(ApiError) as caught:
        ask(folder, request, said)
    return caught.value


@pytest.mark.parametrize(("wanted", "asked"), [(10, 10), (1_000_000, WINDOW - 5), (None, WINDOW - 5)])
def test_no_more_is_asked_for_than_the_context_leaves(short_tmp: Path, wanted: int | None, asked: int) -> None:
    """vLLM would refuse it; llama-server ends the reply there."""
    request = CHAT | ({} if wanted is None else {"max_tokens": wanted})
    assert ask(short_tmp, request, saying(5))[0]["max_tokens"] == asked


def test_what_is_kept_of_prompts_is_kept_by_key(short_tmp: Path) -> None:
    """Or how soon a reply begins would tell one key what another has asked."""
    assert ask(short_tmp, CHAT, saying(5))[0]["cache_salt"] == "ward 3"


def test_a_schema_gets_the_name_that_vllm_wants(short_tmp: Path) -> None:
    shape = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
    asked, _ = ask(short_tmp, CHAT | {"response_format": shape}, saying(5))
    assert asked["response_format"]["json_schema"] == {"name": "reply", "schema": {"type": "object"}}


def test_a_reply_has_nothing_that_is_not_the_clients(short_tmp: Path) -> None:
    counted = tally()
    _, reply = ask(short_tmp, CHAT, saying(5), counted)
    assert reply["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": "abc"},
        "finish_reason": "stop",
        "logprobs": None,
    }
    assert reply["usage"] == {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    assert not {"token_ids", "prompt_token_ids", "cached_tokens", "stop_reason"} & set(json.dumps(reply).split('"'))
    assert counted.completion_tokens == 3


def test_a_prompt_that_fills_the_context_is_refused_with_numbers(short_tmp: Path) -> None:
    error = refused(short_tmp, CHAT, saying(WINDOW))
    assert (error.status, error.code, error.param) == (400, "context_length_exceeded", "messages")
    assert error.message == "The request has 64 tokens, the model's context holds 64."


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (b'{"error":{"message":"canary"}}', 400, "invalid_request"),
        (b"canary", 500, "engine_unavailable"),
        (event({"error": {"message": "canary", "code": 400}}) + DONE, 200, "invalid_request"),
        (event({"error": {"message": "canary", "code": 500}}) + DONE, 200, "engine_unavailable"),
        (event({"error": "canary"}) + DONE, 200, "engine_unavailable"),
        (event(part("a", 1)), 200, "engine_unavailable"),
        (event(part("a", 1, "abort")) + DONE, 200, "engine_unavailable"),
        (event([]) + DONE, 200, "engine_unavailable"),
        (event(HEAD | {"choices": []}) + DONE, 200, "engine_unavailable"),
        (event(part("a", 1) | {"usage": None}) + DONE, 200, "engine_unavailable"),
        (b"data: canary\n\n" + DONE, 200, "engine_unavailable"),
        (b"data: " + b"[" * 100_000 + b"\n\n" + DONE, 200, "engine_unavailable"),
    ],
    ids=["request", "server", "late", "fails", "text", "no end", "aborted", "list", "usage", "null", "junk", "deep"],
)
def test_what_goes_wrong_gets_our_words(short_tmp: Path, reply: bytes, status: int, code: str) -> None:
    error = refused(short_tmp, CHAT, saying(5, reply, status))
    assert error.code == code
    assert "canary" not in error.message


def test_no_engine_can_be_tried_again(short_tmp: Path) -> None:
    async def run() -> None:
        engine = Vllm("m", short_tmp / "e.sock")
        assert not await engine.ready()
        await engine.whole(CHAT, tally())

    with pytest.raises(ApiError) as caught:
        asyncio.run(run())
    assert caught.value.retry_after_s


def test_texts_have_the_likeliest_alternatives_and_rounded() -> None:
    """vLLM names the token itself first, and besides those asked for."""
    numbers = {
        "tokens": ["x"],
        "token_logprobs": [-9.1234],
        "top_logprobs": [{"x": -9.1234, "y": -0.5678, "z": -1.5}],
        "text_offset": [0],
    }
    head = HEAD | {"object": "text_completion"}
    choice = {"index": 0, "text": "x", "logprobs": numbers, "finish_reason": None}
    shown = VllmEvents({"prompt": ["a"], "logprobs": 1}, tally()).shown(
        event(head | {"choices": [choice]} | usage(1, 1))
    )
    found = json.loads(shown.removeprefix(b"data: "))["choices"][0]["logprobs"]
    assert (found["token_logprobs"], found["top_logprobs"]) == ([-9.12], [{"y": -0.57}])


def test_it_listens_on_its_socket_alone_and_fetches_nothing() -> None:
    line = vllm_command("m", Path("/models/m"), Path("/run/e.sock"), context=0, memory_share=0.45)
    assert line[:7] == ["vllm", "serve", "/models/m", "--uds", "/run/e.sock", "--served-model-name", "m"]
    assert not {"--host", "--port", "--api-key", "--max-model-len"} & set(line)
    assert line[line.index("--gpu-memory-utilization") + 1] == "0.45"
    assert vllm_environment(Path("/scratch"))["HF_HUB_OFFLINE"] == "1"
