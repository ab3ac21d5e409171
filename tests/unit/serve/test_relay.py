"""Replies end with their clients, with their time, and with their engines; nothing runs on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from sealwright_appliance.serve import relay
from sealwright_appliance.serve.errors import ApiError, engine_unavailable
from sealwright_appliance.serve.relay import EventStream, while_connected

FIRST, SECOND = b"data: 1\n\n", b"data: 2\n\n"


class Client:
    """A client at the ASGI interface: leaves and stops reading when it is told to."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.reads = asyncio.Event()
        self.reads.set()
        self.got: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.reads.wait()
        self.got.append(message)

    @property
    def text(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.got)

    @property
    def complete(self) -> bool:
        return bool(self.got) and self.got[-1].get("more_body") is False


class Source:
    """The rest of a stream; says whether it was closed."""

    def __init__(self, *, then: Exception | None = None, endless: bool = False) -> None:
        self.closed = False
        self.events = self._events(then, endless)

    async def _events(self, then: Exception | None, endless: bool) -> AsyncGenerator[bytes, None]:
        try:
            yield SECOND
            if then is not None:
                raise then
            if endless:
                await asyncio.Event().wait()
        finally:
            self.closed = True


async def streamed(client: Client, source: Source, *, seconds: float = 60) -> None:
    """Send a stream to the client."""
    until = asyncio.get_running_loop().time() + seconds
    await EventStream(FIRST, source.events, until=until, padding=0)({"type": "http"}, client.receive, client.send)


def test_a_stream_passes_whole() -> None:
    async def run() -> None:
        client, source = Client(), Source()
        await streamed(client, source)
        assert (client.got[0]["status"], client.text, client.complete) == (200, FIRST + SECOND, True)
        assert source.closed

    asyncio.run(run())


@pytest.mark.parametrize(
    ("source", "seconds", "code"),
    [({"then": engine_unavailable()}, 60.0, "engine_unavailable"), ({"endless": True}, 0.05, "request_too_long")],
    ids=["engine", "time"],
)
def test_a_broken_stream_ends_with_an_error_event(source: dict[str, Any], seconds: float, code: str) -> None:
    """And without [DONE]."""

    async def run() -> None:
        client, events = Client(), Source(**source)
        await streamed(client, events, seconds=seconds)
        error = client.text.removeprefix(FIRST + SECOND).removeprefix(b"data: ")
        assert json.loads(error)["error"]["code"] == code
        assert client.complete
        assert events.closed

    asyncio.run(run())


def test_a_client_that_leaves_closes_the_stream() -> None:
    async def run() -> None:
        client, source = Client(), Source(endless=True)
        sending = asyncio.create_task(streamed(client, source))
        while client.text != FIRST + SECOND:
            await asyncio.sleep(0)
        client.left.set()
        await sending
        assert source.closed

    asyncio.run(run())


def test_a_client_that_reads_nothing_for_too_long_loses_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """The response is not ended, so that the server closes the connection."""

    async def run() -> None:
        client, source = Client(), Source(endless=True)
        client.reads.clear()
        await anext(source.events)
        await streamed(client, source)
        assert not client.complete
        assert source.closed

    monkeypatch.setattr(relay, "STALLED_S", 0.05)
    asyncio.run(run())


@pytest.mark.parametrize("leaves", [True, False], ids=["client", "time"])
def test_work_is_over_when_client_or_time_is(leaves: bool) -> None:
    """Not only told to end: what it held is free again."""

    async def run() -> None:
        client, ended = Client(), False

        async def work() -> None:
            nonlocal ended
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.01)
                ended = True

        if leaves:
            client.left.set()
        with pytest.raises(ApiError) as caught:
            await while_connected(client.receive, work(), until=asyncio.get_running_loop().time() + 0.05)
        assert caught.value.status == (499 if leaves else 504)
        assert ended

    asyncio.run(run())
