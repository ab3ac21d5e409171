"""Clients that leave, read slowly or come in crowds, and engines that die: nobody keeps a place, nothing piles up.

What an engine still does is read from llama-server's own metrics.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import httpx
import openai
import pytest

from sealwright_testing.serving import ServingBox

from .conftest import CONTEXT

LONG = CONTEXT - 1000
"""Tokens of a reply that nobody waits for; it would go on for many seconds."""
HELLO = [{"role": "user", "content": "hello"}]
CROWD = 20
WAIT_S = 60.0
MOST_BUFFERED = 8 * 1024 * 1024
"""Bytes of one stream that may be under way: buffers of two sockets, of TLS, of the gateway."""


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that is bound to come."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)


def running(box: ServingBox) -> float:
    """Requests in the engine's slots or waiting for one."""
    engine = box.engines["random"]
    return engine.metric("requests_processing") + engine.metric("requests_deferred")


def said(box: ServingBox) -> float:
    """Tokens that the engine has made for finished and abandoned replies."""
    return box.engines["random"].metric("tokens_predicted_total")


def long_request(**options: Any) -> dict[str, Any]:
    """A reply of LONG tokens."""
    return {"model": "random", "messages": HELLO, "temperature": 0, "max_tokens": LONG} | options


@contextmanager
def raw_request(box: ServingBox, body: dict[str, Any]) -> Iterator[ssl.SSLSocket]:
    """A request on a socket of its own, to be cut off at will; nothing is read."""
    content = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: box\r\nAuthorization: Bearer {box.api_key}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    plain = socket.create_connection(("127.0.0.1", box.port), timeout=WAIT_S)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with box.trust.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
        secure.sendall(head.encode() + content)
        yield secure


@pytest.fixture(autouse=True)
def quiet(box: ServingBox) -> Iterator[None]:
    """Every test leaves an idle engine: this is half of what is tested here."""
    yield
    wait_until(lambda: running(box) == 0)


def test_an_aborted_stream_stops_the_generation(client: openai.OpenAI, box: ServingBox) -> None:
    """The client closes after a few tokens; the engine does not make the others."""
    before = said(box)
    chunks = client.chat.completions.create(**long_request(stream=True))
    for _ in range(3):
        next(chunks)
    chunks.close()
    wait_until(lambda: running(box) == 0)
    assert said(box) - before < LONG


def test_a_client_that_leaves_a_whole_reply_stops_it(box: ServingBox) -> None:
    """Nothing is being sent, so only watching the connection shows it."""
    before = said(box)
    with raw_request(box, long_request()):
        wait_until(lambda: running(box) == 1)
    wait_until(lambda: running(box) == 0)
    assert said(box) - before < LONG


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_leaves_while_it_waits_gives_its_turn_back(box: ServingBox, streamed: bool) -> None:
    """All slots are taken; a fifth request, of which nothing has been sent yet, is called off by its client.

    That the next one runs at once when a slot gets free shows that it has not kept a place.
    """
    engine = box.engines["random"]
    before = engine.metric("prompt_tokens_total")
    with raw_request(box, long_request(stream=True)), ExitStack() as others:
        for _ in range(3):
            others.enter_context(raw_request(box, long_request(stream=True)))
        wait_until(lambda: engine.metric("requests_processing") == 4)
        with raw_request(box, long_request(messages=[{"role": "user", "content": "word " * 3000}], stream=streamed)):
            pass
        assert engine.metric("requests_deferred") == 0
        others.close()
        with box.openai() as client:
            assert client.chat.completions.create(**long_request(max_tokens=3)).choices
    wait_until(lambda: running(box) == 0)
    assert engine.metric("prompt_tokens_total") - before < 3000


def test_an_engine_that_dies_in_mid_stream_is_an_error_and_comes_back(client: openai.OpenAI, box: ServingBox) -> None:
    """Mid-stream: an error that the client raises. Down: 503, to be tried again. Restarted: all is well."""
    chunks = client.chat.completions.create(**long_request(stream=True))
    next(chunks)
    box.engines["random"].kill()
    with pytest.raises(openai.APIError) as broken:
        list(chunks)
    assert broken.value.code == "engine_unavailable"

    for streamed in (False, True):
        with pytest.raises(openai.InternalServerError) as down:
            client.chat.completions.create(**long_request(stream=streamed))
        assert (down.value.status_code, down.value.code) == (503, "engine_unavailable")
        assert int(down.value.response.headers["retry-after"]) > 0
    with box.http() as monitor:
        assert monitor.get("/readyz").json()["error"]["code"] == "engine_unavailable"

        box.engines["random"].start()
        assert client.chat.completions.create(**long_request(max_tokens=3)).choices
        assert monitor.get("/readyz").status_code == 200


def test_a_client_that_tries_again_by_itself_gets_over_a_restart(box: ServingBox) -> None:
    """OpenAI's client does, with its default settings, and finds the engine back."""
    box.engines["random"].stop()
    attempts: list[int] = []

    def seen(response: httpx.Response) -> None:
        attempts.append(response.status_code)
        if len(attempts) == 1:
            box.engines["random"].start()

    session = openai.DefaultHttpxClient(verify=box.trust, trust_env=False, event_hooks={"response": [seen]})
    with openai.OpenAI(api_key=box.api_key, base_url=f"{box.url}/v1", http_client=session) as client:
        assert client.chat.completions.create(**long_request(max_tokens=3)).choices
    assert attempts == [503, 200]


def test_a_crowd_is_served_whole(box: ServingBox) -> None:
    """Twenty streams at once over four slots: each gets all of its tokens and its end."""

    async def one(client: openai.AsyncOpenAI, number: int) -> int:
        tokens = 0
        stream = await client.chat.completions.create(
            **long_request(stream=True, max_tokens=40 + number, stream_options={"include_usage": True})
        )
        async for chunk in stream:
            tokens = chunk.usage.completion_tokens if chunk.usage else tokens
        return tokens

    async def crowd() -> list[int]:
        session = openai.DefaultAsyncHttpxClient(verify=box.trust, timeout=WAIT_S, trust_env=False)
        async with openai.AsyncOpenAI(
            api_key=box.api_key, base_url=f"{box.url}/v1", http_client=session, max_retries=0
        ) as client:
            return await asyncio.gather(*(one(client, number) for number in range(CROWD)))

    assert asyncio.run(crowd()) == [40 + number for number in range(CROWD)]


class Flood:
    """An engine that says more than any model, as fast as it is read; counts what it got rid of."""

    event = b'data: {"choices": [{"delta": {"content": "' + b"x" * 1000 + b'"}}]}\n\n'

    def __init__(self) -> None:
        self.sent = 0
        self.over = False

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request without end."""
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                writer.write(b"%x\r\n%s\r\n" % (len(self.event), self.event))
                await writer.drain()
                self.sent += len(self.event)
        self.over = True


def test_a_client_that_reads_nothing_holds_the_engine_back(box: ServingBox) -> None:
    """What the gateway keeps of a stream is bounded; the engine waits, and is let go with the client."""

    async def run() -> None:
        flood = Flood()
        place = box.paths.engine_socket("elsewhere")
        place.parent.mkdir(parents=True, exist_ok=True)
        server = await asyncio.start_unix_server(flood.answer, place)
        async with server:
            with raw_request(box, long_request(model="elsewhere", stream=True)):
                before = -1
                while flood.sent != before or before == 0:
                    before = flood.sent
                    await asyncio.sleep(1)
                assert flood.sent < MOST_BUFFERED
            while not flood.over:
                await asyncio.sleep(0.05)

    asyncio.run(asyncio.wait_for(run(), WAIT_S))
